//! Latents and text embeddings, made once and kept in the table.
