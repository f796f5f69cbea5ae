//! A training run as a folder: configuration, metrics, checkpoints.
