//! Training the Slice VAE.
