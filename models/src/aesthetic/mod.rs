//! What an aesthetic score needs beside its image tower: the picture as the tower wants it
//! ([`preprocess`]) and the head that scores an embedding ([`head`]).
//!
//! The towers are `graphs/clip_vit_l14.onnx` and `graphs/siglip_so400m_384.onnx`, written and compared
//! with transformers by `recipes/vision_graphs`; [`place`] writes into a graph where its weights lie in a
//! published file, so that the file can be mapped. No stage runs them yet; what the hub will need to fetch
//! them is in `recipes/vision_graphs/manifest_entries.toml`.

pub mod head;
pub mod place;
pub mod preprocess;
