//! What can go wrong with encoders.

use std::path::PathBuf;

use thiserror::Error;

use crate::{InputError, params::ParamsError};

/// Why an encoder could not be opened or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A configuration is not one of an encoder that is built here.
    #[error("`{path}` is not the configuration of an encoder that is built here: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tokenizer's file is damaged or of another kind.
    #[error("`{path}` is not a tokenizer: {problem}; give its `tokenizer.json` or `spiece.model`")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Texts are cut to fewer tokens than the tokenizer adds to each.
    #[error(
        "`tokens` is {tokens}, and the tokenizer `{path}` adds {marks} marks to every text: give at \
         least {}", .marks + 1
    )]
    Tokens {
        /// The tokenizer.
        path: PathBuf,
        /// Tokens per text.
        tokens: usize,
        /// Marks that it adds.
        marks: usize,
    },
    /// A folder holds none of the files that an encoder is made of.
    #[error("`{folder}` has no {what}")]
    Absent {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A text that cannot be tokenised.
    #[error("cannot tokenise {text:?}: {problem}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Bytes that are not a picture.
    #[error(transparent)]
    Picture(#[from] InputError),
    /// The tensors do not fit the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
