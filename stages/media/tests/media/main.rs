//! The crate's promises, on real and on generated files, through its public functions only.
//!
//! Files are made with the `ffmpeg` program, which is also the judge of frame counts and pixels.
//! Tests over the shared sample files say "skipped: fixtures absent" where there are none, unless
//! `CURATE_REQUIRE_SHARED=1`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and report as tests do"
)]

mod clips;
mod colors;
mod copier;
mod counts;
mod hdr;
mod limits;
mod parts;
mod pictures;
mod sources;
mod stills;
mod support;
mod transcode;
