//! Aesthetic scores: the picture as an image tower wants it ([`preprocess`]), the tower ([`tower`]) and
//! the head that scores its embedding ([`head`]); [`Predictor`] names what was published together.
//!
//! The towers are `graphs/clip_vit_l14.onnx` and `graphs/siglip_so400m_384.onnx`, written and compared
//! with transformers by `recipes/vision_graphs`; [`place`] writes into a graph where its weights lie in a
//! published file, so that the file can be mapped.

pub mod head;
pub mod place;
mod predictor;
pub mod preprocess;
pub mod tower;

pub use predictor::Predictor;
