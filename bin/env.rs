//! Everything that is read from the environment.

use tracing_subscriber::EnvFilter;

/// Logs go to stderr; `CURATE_LOG` filters them (as `RUST_LOG` does elsewhere). By default only errors
/// are shown, and not those of FFmpeg: a damaged file is reported by its unit.
pub(crate) fn start_logging() {
    #[expect(clippy::disallowed_methods, reason = "this is the file that may read the environment")]
    let filter = std::env::var("CURATE_LOG").unwrap_or_else(|_unset| "error,ffmpeg=off".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
}

/// Peak resident memory of this process in bytes, where the system tells (Linux).
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
