//! Captions: who writes them, and what makes sure that each one is of its own clip.
//!
//! * [`Client`] asks any server that speaks OpenAI's `/chat/completions` (vLLM, SGLang, llama.cpp,
//!   OpenAI itself) and is careful about it: it sends as much as the server takes, waits when told
//!   to, tries again, stops at a budget, and remembers answers on disk. Every request carries the id
//!   of its clip and every answer is checked to be for it.
//! * [`preset`] has what suits a family of models; [`summary`] is for models that see one picture at
//!   a time; [`rewrite`] is the second pass by a language model, and expands prompts for generation.
//! * [`blip`] describes pictures on this machine, without a server.
//! * [`attributes`] makes a sentence from measured values and needs no model; [`source`] takes the
//!   text that came with the data.
//! * [`flags`] says what is suspicious about a caption.
//!
//! Decided against: an OpenAI crate (each has its own retries, none checks whose answer came), and
//! streaming answers (a caption is short, and half of one is of no use).

pub mod attributes;
pub mod blip;
mod breaker;
mod budget;
mod cache;
mod captioner;
mod chat;
mod client;
mod course;
mod endpoint;
mod error;
pub mod flags;
mod flags_words;
mod gate;
mod limiter;
pub mod preset;
mod request;
mod retry;
pub mod rewrite;
mod server;
pub mod source;
pub mod summary;

pub use budget::{Budget, BudgetSpent, Price, Spent};
pub use cache::{Cache, CacheError};
pub use captioner::{Ask, Caption, Captioner, Question};
pub use client::{Client, ClientConfig, Stats};
pub use endpoint::{Endpoint, EndpointError, Secret};
pub use error::{CaptionError, ClipFault, RunFault};
pub use gate::Bounds;
pub use preset::{Preset, Style};
pub use request::{Answer, Media, Prompt, PromptError, Reply, Request, Sampling, Usage};
pub use retry::Retries;
