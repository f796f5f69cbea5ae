//! User-level tests: everything here goes through the real `curate` binary, on media that the
//! tests make with the `ffmpeg` program and on the shared sample files.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod aesthetic;
mod architecture;
mod backfill;
mod captions;
mod commands;
mod cuts;
mod dataset;
mod dedup;
mod doctor;
mod editors;
mod files;
mod generate;
mod keyframes;
mod kills;
mod media;
mod models;
mod motion;
mod order;
mod pylance;
mod raft;
mod refilter;
mod report;
mod retries;
mod runs;
mod scenes;
mod shots;
mod story;
mod synth;
mod text;
mod training;
mod training_data;
mod training_dit;
mod training_images;
mod training_page;
mod training_vae;
mod util;
