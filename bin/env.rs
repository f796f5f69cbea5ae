//! Everything that is read from the environment.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::UsageError;

/// Logs go to stderr; `CURATE_LOG` filters them (as `RUST_LOG` does elsewhere). By default only errors
/// are shown, and not those of FFmpeg and ONNX Runtime: a damaged file is reported by its unit, and
/// what ONNX Runtime refuses by whoever asked.
pub(crate) fn start_logging() {
    #[expect(clippy::disallowed_methods, reason = "this is the file that may read the environment")]
    let filter =
        std::env::var("CURATE_LOG").unwrap_or_else(|_unset| "error,ffmpeg=off,ort=off".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
}

/// The folder of the models: `CURATE_MODELS`, or `~/.cache/curate/models`.
pub(crate) fn models_dir() -> Result<PathBuf, UsageError> {
    #[expect(clippy::disallowed_methods, reason = "this is the file that may read the environment")]
    let chosen = std::env::var("CURATE_MODELS").ok().filter(|text| !text.is_empty());
    match chosen {
        Some(dir) => Ok(dir.into()),
        None => {
            std::env::home_dir().map(|home| home.join(".cache/curate/models")).ok_or_else(|| {
                UsageError(
                    "there is no home folder: say with CURATE_MODELS where models are".to_owned(),
                )
            })
        }
    }
}

/// An environment variable that a recipe names, such as the key of a service.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the file that may read the environment")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

/// Peak resident memory of this process in bytes, where the system tells (Linux).
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Memory this process may use in bytes, where the system tells (Linux): the machine's, or less
/// where a control group says so.
pub(crate) fn total_memory() -> Option<u64> {
    let about = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = about.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // Without a limit the first says `max` and the second an absurd number.
    let limits = groups.iter().filter_map(|file| {
        let limit = std::fs::read_to_string(file).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    limits.chain([kib * 1024]).min()
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
