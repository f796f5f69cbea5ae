//! What moving a threshold costs on large tables, through the real binary.
//!
//! `make bench-refilter`. Two tables are made: 10,000 clips with 256 KiB of bytes each, and 100,000
//! without. On each a threshold is moved that changes half of the verdicts. Printed are the
//! seconds, the bytes that were written, whether any file that was there changed, and whether
//! anything but verdicts is different.

#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(clippy::disallowed_methods, reason = "it runs the real binary")]

mod rows;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use curate_store::Store;

/// Every file below a folder, with its size and age.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            files(&entry.path(), found);
        } else if let Ok(age) = about.modified() {
            found.insert(entry.path(), (about.len(), age));
        }
    }
}

/// The measured columns of all rows, in the order of their ids.
async fn scores(out: &Path) -> anyhow::Result<Vec<String>> {
    let store = Store::open(out).await?;
    let names = ["clip_id", "motion", "stage_keys", "start_pts", "run_id"];
    let mut clips = store.clips(&names, None).await?;
    let mut rows = Vec::new();
    while let Some(batch) = clips.next_batch().await? {
        rows.extend(batch.iter().map(|clip| format!("{clip:?}")));
    }
    rows.sort_unstable();
    Ok(rows)
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (clips, bytes) in [(10_000, 256 << 10), (100_000, 0)] {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("out");
        runtime.block_on(rows::make(&out, clips, bytes, |_, clip| clip))?;
        let before_rows = runtime.block_on(scores(&out))?;
        let mut before = BTreeMap::new();
        files(&out, &mut before);
        let started = Instant::now();
        let done = Command::new(env!("CARGO_BIN_EXE_curate"))
            .args([
                "refilter".as_ref(),
                out.as_os_str(),
                "--set".as_ref(),
                "motion.min=0.5".as_ref(),
            ])
            .output()?;
        let took = started.elapsed().as_secs_f64();
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut after = BTreeMap::new();
        files(&out, &mut after);
        // All that holds rows or bytes; beside it lies a hint at the newest version, which moves on.
        let data = out.join("clips.lance/data");
        let mut data = before.iter().filter(|(path, _)| path.starts_with(&data));
        let kept = data.all(|(path, about)| after.get(path) == Some(about));
        let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
        let written: u64 = new.map(|(_, (bytes, _))| bytes).sum();
        let same = before_rows == runtime.block_on(scores(&out))?;
        println!(
            "{clips} clips of {} KiB: {took:.2} s, {:.2} MB written, data and blob files unchanged: \
             {kept}, all but verdicts unchanged: {same}",
            bytes >> 10,
            written as f64 / 1e6
        );
        print!("{}", String::from_utf8_lossy(&done.stdout));
    }
    Ok(())
}
