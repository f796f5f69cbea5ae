//! What an aesthetic score needs beside its image tower: the picture as the tower wants it
//! ([`preprocess`]) and the head that scores an embedding ([`head`]).
//!
//! The towers are `graphs/clip_vit_l14.onnx` and `graphs/siglip_so400m_384.onnx`, written and compared
//! with transformers by `recipes/vision_graphs`. No stage runs them yet.

pub mod head;
pub mod preprocess;
