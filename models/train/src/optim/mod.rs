//! What moves weights: groups of them, schedules, clipping, averages.
