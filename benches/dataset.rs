//! What searching, comparing and exporting cost on a table of 100,000 clips, through the real binary.
//!
//! `make bench-dataset`. The rows have captions of a few dozen words and embeddings of 768 values, and
//! no bytes. Printed are the seconds of each command, start of the process included, medians of five,
//! and its peak memory.

#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(clippy::disallowed_methods, reason = "it runs the real binary")]

mod rows;

use std::{path::Path, process::Command, time::Instant};

use curate_schemas::{Clip, columns as c};

const CLIPS: i64 = 100_000;
const ROUNDS: usize = 5;

const WORDS: [&str; 40] = [
    "a", "the", "dog", "cat", "runs", "walks", "over", "under", "bridge", "meadow", "river",
    "city", "night", "morning", "light", "camera", "pans", "left", "right", "slowly", "quickly",
    "woman", "man", "child", "red", "blue", "green", "car", "train", "boat", "mountain", "snow",
    "rain", "forest", "street", "house", "window", "table", "hand", "bird",
];

/// Output number `k` of splitmix64 started at `seed`.
fn hash(seed: i64, k: u64) -> u64 {
    let mut z = (seed as u64).wrapping_add((k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn described(number: i64, clip: Clip) -> Clip {
    let words = (0..30).map(|k| WORDS[(hash(number, k) % WORDS.len() as u64) as usize]);
    let caption = words.collect::<Vec<_>>().join(" ");
    let value = |k| (hash(number, 100 + k) >> 40) as f32 / 16_777_216.0 - 0.5;
    let embedding: Vec<f32> = (0..c::EMBEDDING_LEN as u64).map(value).collect();
    clip.with(c::CAPTION, caption)
        .with(c::CAPTION_MODEL, "made up".to_owned())
        .with(c::EMBEDDING, embedding)
}

/// Runs the command a few times; prints what it took.
fn time(what: &str, args: &[&str], before: impl Fn()) {
    let mut seconds = Vec::new();
    let mut peak = String::new();
    for _ in 0..ROUNDS {
        before();
        let started = Instant::now();
        let ran = Command::new("/usr/bin/env")
            .args(["python3", "-c", PEAK, env!("CARGO_BIN_EXE_curate")])
            .args(args)
            .output()
            .expect("python3");
        seconds.push(started.elapsed().as_secs_f64());
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{what}: {said}");
        peak = said.lines().last().unwrap_or_default().to_owned();
    }
    seconds.sort_by(f64::total_cmp);
    println!("{what:<44}{:>7.2} s{peak:>8} MiB", seconds[ROUNDS / 2]);
}

/// Runs a command and prints the peak of its memory in MiB.
const PEAK: &str = "import resource, subprocess, sys\n\
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n\
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, file=sys.stderr)\n\
    sys.exit(code)";

fn id(out: &Path) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_curate"))
        .args(["query", out.to_str().unwrap_or_default()])
        .args(["select clip_id from clips limit 1", "--format", "csv"])
        .output()
        .expect("curate");
    String::from_utf8_lossy(&ran.stdout).lines().nth(1).unwrap_or_default().to_owned()
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    runtime.block_on(rows::make(&out, CLIPS, 0, described))?;
    let table = out.to_str().unwrap_or_default();
    let like = id(&out);
    let run = |what: &str, args: &[&str]| time(what, args, || ());
    for step in ["without an index", "with one"] {
        run(&format!("search dog bridge, {step}"), &["search", table, "dog", "bridge"]);
        let filtered = ["search", table, "dog", "--where", "motion > 0.5"];
        run(&format!("search dog --where, {step}"), &filtered);
        run(&format!("search --like, {step}"), &["search", table, "--like", &like]);
        if step == "without an index" {
            let started = Instant::now();
            let made =
                Command::new(env!("CARGO_BIN_EXE_curate")).args(["index", table]).status()?;
            assert!(made.success());
            println!("{:<44}{:>7.2} s", "index", started.elapsed().as_secs_f64());
        }
    }
    let tag = Command::new(env!("CARGO_BIN_EXE_curate")).args(["tag", table, "before"]).status()?;
    assert!(tag.success());
    let set = ["refilter", table, "--set", "motion.min=0.5"];
    let moved = Command::new(env!("CARGO_BIN_EXE_curate")).args(set).output()?;
    assert!(moved.status.success());
    run("diff of two versions, half of the verdicts", &["diff", &format!("{table}@before"), table]);
    let page = folder.path().join("report.html");
    run("report", &["report", table, "-o", page.to_str().unwrap_or_default()]);
    println!("{:<44}{:>7.1} MB", "report, size", std::fs::metadata(&page)?.len() as f64 / 1e6);
    let to = folder.path().join("export");
    let export = ["export", table, to.to_str().unwrap_or_default(), "--format", "jsonl"];
    time("export --format jsonl", &export, || {
        std::fs::remove_dir_all(&to).unwrap_or_default();
    });
    Ok(())
}
