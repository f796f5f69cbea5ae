//! Procedural clips whose captions are known to be right.
