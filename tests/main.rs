//! User-level tests: everything here goes through the real `curate` binary, on media that the
//! tests make with the `ffmpeg` program.

mod architecture;
mod runs;
mod util;
