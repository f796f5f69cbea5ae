//! What can go wrong with a caption, by how far it reaches: one clip, or the run.
//!
//! A clip fault fails its clip and nothing else. A run fault makes going on pointless: wrong key, no
//! money, no server. It is remembered, so that whoever asks next gets it at once, and the run stops
//! where it can be taken up again; what was answered is in the cache.

use std::time::Duration;

use super::BudgetSpent;

/// Why there is no caption.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CaptionError {
    /// For one clip.
    #[error(transparent)]
    Clip(#[from] ClipFault),
    /// For any clip.
    #[error(transparent)]
    Run(#[from] RunFault),
}

/// Why one clip has no caption.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClipFault {
    /// The model or its filter does not want to describe it.
    #[error("the model refused to describe the clip: {reason}")]
    Refused {
        /// Its words, or the name of the filter.
        reason: String,
    },
    /// The server says that the request is wrong.
    #[error(
        "{endpoint} rejected the request ({status}): {message}; fewer or smaller frames, or a \
             shorter prompt, may fit the model"
    )]
    Rejected {
        /// The server.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is longer than it may be, so that its end is missing where it is needed.
    #[error("the answer did not end within {max_tokens} tokens: raise `max_tokens`")]
    CutShort {
        /// The tokens that were allowed.
        max_tokens: u32,
    },
    /// Answers came, and none could be used.
    #[error("{attempts} answers could not be used; the last one: {problem}")]
    BadReply {
        /// How many.
        attempts: u32,
        /// What was wrong with the last one.
        problem: String,
    },
    /// Answers came, and they were for other clips.
    #[error(
        "{attempts} answers were for another clip (the last one for `{found}`): {endpoint}, or a \
             proxy before it, mixes up its answers; do not trust captions from it"
    )]
    WrongClip {
        /// The server.
        endpoint: String,
        /// How many.
        attempts: u32,
        /// What the last answer said it was for.
        found: String,
    },
    /// Nothing came in time, however often it was tried.
    #[error(
        "no answer after {attempts} attempts in {} s; the last one: {problem}",
        .spent.as_secs_f64().round()
    )]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// Time spent asking and pausing.
        spent: Duration,
        /// What went wrong last.
        problem: String,
    },
}

impl ClipFault {
    /// A stable word for the table's `error_kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            Self::CutShort { .. } | Self::BadReply { .. } => "bad_reply",
            Self::WrongClip { .. } => "wrong_clip",
            Self::GaveUp { .. } => "remote",
        }
    }

    /// Whether asking again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::GaveUp { .. } | Self::BadReply { .. } | Self::WrongClip { .. })
    }
}

/// Why no clip can get a caption.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunFault {
    /// The server does not know us.
    #[error(
        "{endpoint} refused access ({status}): {message}; {}",
        match .key_name {
            Some(name) => format!("check the key in ${name}"),
            None => "name the environment variable that holds the key in `api_key_env`".to_owned(),
        }
    )]
    Access {
        /// The server.
        endpoint: String,
        /// The HTTP status, 401 or 403.
        status: u16,
        /// The server's words.
        message: String,
        /// The environment variable that holds the key.
        key_name: Option<String>,
    },
    /// The account is empty.
    #[error(
        "{endpoint} wants money ({status}): {message}; fill up the account and run again, what was \
             answered so far is kept"
    )]
    Account {
        /// The server.
        endpoint: String,
        /// The HTTP status, 402 or 429.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The server has no such call or no such model.
    #[error(
        "{endpoint} knows no model `{model}` or no such address ({status}): {message}; the address \
             should end in `/v1`, and `GET /v1/models` lists the models"
    )]
    Address {
        /// The server.
        endpoint: String,
        /// The model asked for.
        model: String,
        /// The HTTP status: 404, 405, or a redirection.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// The server has rejected every clip so far.
    #[error(
        "{endpoint} rejected each of the first {clips} clips ({status}): {message}; check that the \
             model `{model}` takes pictures (or video), and the preset"
    )]
    EveryClip {
        /// The server.
        endpoint: String,
        /// The model asked for.
        model: String,
        /// How many clips.
        clips: u32,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// No server has given an answer for a long time.
    #[error(
        "no server has answered for {} s ({}): {problem}; start the server and run again, what was \
             answered so far is kept",
        .waited.as_secs_f64().round(), .endpoints.join(", ")
    )]
    Unreachable {
        /// The servers.
        endpoints: Vec<String>,
        /// For how long.
        waited: Duration,
        /// What went wrong last.
        problem: String,
    },
    /// What the run may cost has been spent.
    #[error(transparent)]
    Budget(#[from] BudgetSpent),
}
