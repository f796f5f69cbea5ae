//! From a prompt to a clip.
