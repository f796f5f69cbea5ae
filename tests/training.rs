//! What tests of training runs share: running them with so many threads, and killing them on the way.

use std::{
    hash::{BuildHasher as _, RandomState},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use curate_testing::program;

use crate::util::{CURATE, Said, said};

/// `curate train KIND FILE` on so many threads.
pub(crate) fn train(kind: &str, path: &str, threads: u32) -> Said {
    said(&command(kind, path, threads).output().unwrap())
}

fn command(kind: &str, path: &str, threads: u32) -> Command {
    let mut command = program(CURATE);
    command.args(["train", kind, path]).env("RAYON_NUM_THREADS", threads.to_string());
    command
}

/// Lines of a run's log: steps that it has made.
pub(crate) fn steps_of(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

/// Runs a training of so many steps and kills it (SIGKILL) so many times, each time after steps and
/// milliseconds that are drawn anew, then lets it end.
#[expect(clippy::print_stderr, reason = "shown when the test fails")]
pub(crate) fn train_with_kills(
    (kind, path): (&str, &str),
    run: &Path,
    (steps, kills): (usize, usize),
) -> Said {
    let drawn = |below: u64| RandomState::new().hash_one(0) % below;
    for _ in 0..kills {
        // Not in the later steps, or it might be over before it is killed.
        let (reached, pause) = (1 + drawn(steps as u64 / 2) as usize, drawn(60));
        eprintln!("killed {pause} ms after step {reached} of {steps}");
        let mut child = command(kind, path, 2);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while steps_of(run) < reached && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "no step is made");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(pause));
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    train(kind, path, 2)
}
