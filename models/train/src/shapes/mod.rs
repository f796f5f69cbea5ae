//! Procedural clips whose captions are known to be right: the set that proves that training works.
//!
//! A coloured shape moves over a muted background. [`Scene`] is one clip as a description: it draws
//! itself, says itself in words, and says what a judge must find. [`write_set`] makes a folder of
//! clips with a manifest out of many, [`draw_prompts`] the prompts that a trained model is asked,
//! [`Judge`] looks at a clip, knowing nothing of its prompt, and says what moves where, and [`Score`]
//! compares a folder of clips with what was asked for.
//!
//! Decided against: several objects, textures and camera motion. They would make the set prettier
//! and the proof weaker, since a judge without a model of its own would be wrong now and then.

mod caption;
mod error;
mod judge;
mod oklab;
mod paint;
mod prompts;
mod scene;
mod score;
mod segment;
mod set;
mod words;

pub use self::{
    error::ShapesError,
    judge::{Film, Judge, Seen},
    prompts::{Prompt, draw_prompts, read_prompts, write_prompts},
    scene::Scene,
    score::{Answer, Rate, Score},
    set::{Row, SetSpec, Written, write_set},
    words::{Background, Color, Direction, Shape, Speed},
};
