//! Latents and text embeddings, made once and kept in the table.

mod hash;

pub use self::hash::{hash_text_encoder, hash_vae};
