//! What can go wrong with BLIP.

use std::path::PathBuf;

use crate::{InputError, params::ParamsError};

/// Why BLIP could not be opened, or wrote no caption.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlipError {
    /// A folder lacks one of the files that the model is made of.
    #[error(
        "`{folder}` has no {what}; a captioner of BLIP is a folder as published on Hugging Face"
    )]
    Absent {
        /// The folder.
        folder: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration is not that of a captioner of BLIP.
    #[error("`{path}` is not the configuration of a captioner of BLIP: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ConfigProblem,
    },
    /// A tokenizer's file is damaged, or of another model.
    #[error(
        "`{path}` is not the tokenizer of this model: {problem}; give its `tokenizer.json` or `vocab.txt`"
    )]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: TokenizerProblem,
    },
    /// What is asked of the search cannot be done.
    #[error("captions cannot be searched for like this: {0}")]
    Search(#[from] SearchProblem),
    /// A prompt or caption that the tokenizer refuses.
    #[error("cannot turn {text:?} into tokens or back: {source}")]
    Text {
        /// The text, or the numbers of its tokens.
        text: String,
        /// What the tokenizer said.
        source: tokenizers::Error,
    },
    /// The picture handed in cannot be used.
    #[error(transparent)]
    Picture(#[from] InputError),
    /// The checkpoint cannot be read, or is not one of this network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// candle failed, usually for want of memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// It is no JSON, or lacks a key.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is of a model that does something else.
    #[error("it is of `{0}`, not of `BlipForConditionalGeneration`")]
    Kind(String),
    /// A function between layers that is not built here.
    #[error("`hidden_act` is `{0}`, not `gelu`")]
    Activation(String),
    /// Channels cannot be shared between heads.
    #[error("`{part}`: {width} channels cannot be divided among {heads} heads")]
    Heads {
        /// The part of the configuration.
        part: &'static str,
        /// Channels.
        width: usize,
        /// Heads.
        heads: usize,
    },
    /// A picture cannot be cut into patches.
    #[error("pictures of {side} pixels cannot be cut into patches of {patch}")]
    Patches {
        /// Pixels of a side of the picture.
        side: usize,
        /// Pixels of a side of a patch.
        patch: usize,
    },
    /// A mark that the vocabulary does not have.
    #[error("token {token} is used as a mark, the vocabulary has {vocabulary}")]
    Mark {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
}

/// Why a tokenizer is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerProblem {
    /// It cannot be read.
    #[error("{0}")]
    Damaged(tokenizers::Error),
    /// It knows tokens that the network does not.
    #[error("it has {tokens} tokens, the network knows {vocabulary}")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Tokens of the network.
        vocabulary: usize,
    },
    /// A list of words lacks one that the scheme needs.
    #[error("the word `{0}` is not in it")]
    Word(&'static str),
}

/// Why a search is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchProblem {
    /// No beam, or more than the vocabulary can fill.
    #[error("the number of beams is {beams}; it must be from 1 to {most}")]
    Beams {
        /// Beams asked for.
        beams: usize,
        /// Half of the vocabulary.
        most: usize,
    },
    /// More tokens than the network has places for, or not more than the prompt has.
    #[error(
        "the longest caption has {length} tokens; it must have more than the prompt's {prompt} and at most {places}"
    )]
    Length {
        /// Tokens asked for.
        length: usize,
        /// Tokens of the mark of the beginning and the prompt.
        prompt: usize,
        /// Places of the network.
        places: usize,
    },
    /// A penalty that is no positive number.
    #[error("the repetition penalty is {0}; it must be above 0, and 1 for none")]
    Penalty(f32),
    /// A preference that is no number.
    #[error("the length penalty is {0}; it must be a number, 0 for none")]
    Preference(f32),
}
