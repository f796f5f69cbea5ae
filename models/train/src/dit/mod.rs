//! Training the diffusion transformer.
