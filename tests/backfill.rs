//! `curate run --backfill` as a user sees it: what a recipe measures otherwise is measured again,
//! exactly that, and the table ends as if it had been made that way.

use std::path::Path;

use crate::util::{Folder, curate, start};

/// A recipe of scenes and motion over `videos`.
fn recipe(folder: &Folder, name: &str, out: &str, stages: &str) -> String {
    let recipe = folder.recipe(name, out, "commit_units = 1");
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{text}{stages}")).unwrap();
    recipe
}

fn motion(settings: &str) -> String {
    format!("[[stage]]\nkind = \"motion\"\nmethod = \"dis\"\n{settings}\n")
}

fn videos(folder: &Folder) {
    folder.video("a.mp4", &[4, 13, 2]);
    folder.video("b.mp4", &[3, 5]);
    folder.video("c.mp4", &[2, 6]);
}

fn run(recipe: &str, more: &[&str]) -> crate::util::Said {
    curate(&[&["run", recipe][..], more].concat())
}

fn data_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            if about.is_dir() { data_bytes(&entry.path()) } else { about.len() }
        })
        .sum()
}

#[test]
fn a_new_stage_is_measured_on_clips_that_are_there() {
    let folder = Folder::new();
    videos(&folder);
    let bare = recipe(&folder, "bare.toml", "out", "");
    assert_eq!(run(&bare, &[]).code, Some(0));
    let full = recipe(&folder, "full.toml", "out", &motion(""));
    let refused = run(&full, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("motion: 6 clips not measured"), "{}", refused.err);
    assert!(refused.err.contains("--backfill"), "{}", refused.err);
    let filled = run(&full, &["--backfill"]);
    assert_eq!(filled.code, Some(0), "{}", filled.err);
    let fresh = recipe(&folder, "fresh.toml", "fresh", &motion(""));
    assert_eq!(run(&fresh, &[]).code, Some(0));
    // Clips that motion drops have their bytes already; that is all that may differ.
    let sql = "select * exclude (video_bytes, video_form, video_skip_frames, stage_keys, run_id, created_at) \
               from clips order by clip_id";
    assert_eq!(folder.rows("out", sql), folder.rows("fresh", sql));
    let again = run(&full, &["--backfill"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("every clip has been measured"), "{}", again.err);
    assert_eq!(run(&full, &[]).code, Some(0), "table and recipe agree");
}

#[test]
fn only_what_a_setting_affects_is_measured_again() {
    let folder = Folder::new();
    videos(&folder);
    let first = recipe(&folder, "p.toml", "out", &motion(""));
    assert_eq!(run(&first, &[]).code, Some(0));
    let before = data_bytes(&folder.path("out/clips.lance/data"));
    let moved = recipe(&folder, "p.toml", "out", &motion("pairs = 2"));
    let refused = run(&moved, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("measured with other settings"), "{}", refused.err);
    let filled = run(&moved, &["--backfill"]);
    assert_eq!(filled.code, Some(0), "{}", filled.err);
    let fresh = recipe(&folder, "fresh.toml", "fresh", &motion("pairs = 2"));
    assert_eq!(run(&fresh, &[]).code, Some(0));
    assert_eq!(folder.canonical("out"), folder.canonical("fresh"));
    let added = data_bytes(&folder.path("out/clips.lance/data")) - before;
    assert!(added < 100_000, "{added} bytes for a few numbers: the clips' bytes were copied");
}

#[test]
fn clips_that_a_moved_threshold_lets_in_are_filled_in() {
    let folder = Folder::new();
    videos(&folder);
    // Everything is too short at first: nothing later was measured, and there are no bytes.
    let strict = "min_s = 8.0\n";
    let run_strict = recipe(&folder, "p.toml", "out", &format!("{strict}{}", motion("")));
    assert_eq!(run(&run_strict, &[]).code, Some(0));
    let out = folder.text("out");
    let said = curate(&["refilter", &out, "--set", "scenes.min_s=3"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("lacks motion, bytes"), "{}", said.out);
    let loose = recipe(&folder, "p.toml", "out", &motion(""));
    let plain = run(&loose, &[]);
    assert_eq!(plain.code, Some(3), "{}", plain.err);
    assert!(plain.err.contains("have not been through every stage"), "{}", plain.err);
    let filled = run(&loose, &["--backfill"]);
    assert_eq!(filled.code, Some(0), "{}", filled.err);
    let fresh = recipe(&folder, "fresh.toml", "fresh", &motion(""));
    assert_eq!(run(&fresh, &[]).code, Some(0));
    // The ledger counts what was kept when a unit was written.
    let clips = |out: &str| -> Vec<String> {
        folder.canonical(out).into_iter().filter(|line| line.starts_with("clips")).collect()
    };
    assert_eq!(clips("out"), clips("fresh"));
}

#[test]
fn kills_leave_whole_units_and_the_rerun_completes() {
    let folder = Folder::new();
    videos(&folder);
    let first = recipe(&folder, "first.toml", "out", &motion("pairs = 1"));
    let fresh = recipe(&folder, "fresh.toml", "fresh", &motion("pairs = 3"));
    assert_eq!(run(&fresh, &[]).code, Some(0));
    let wanted = folder.canonical("fresh");
    assert_eq!(run(&first, &[]).code, Some(0));
    let old = folder.canonical("out");
    let second = recipe(&folder, "second.toml", "out", &motion("pairs = 3"));
    let started = std::time::Instant::now();
    assert_eq!(run(&second, &["--backfill"]).code, Some(0));
    let whole = started.elapsed();
    assert_eq!(folder.canonical("out"), wanted);
    for kill in 1..=curate_testing::rounds("CURATE_SOAK_KILLS", 4) {
        assert_eq!(run(&first, &["--backfill"]).code, Some(0));
        assert_eq!(folder.canonical("out"), old);
        let mut child = start(&["run", &second, "--backfill"]);
        std::thread::sleep(whole.mul_f64((kill as f64 * 0.618_034).fract()));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in folder.canonical("out") {
            assert!(old.contains(&line) || wanted.contains(&line), "neither old nor new: {line}");
        }
        let again = run(&second, &["--backfill"]);
        assert_eq!(again.code, Some(0), "{}", again.err);
        assert_eq!(folder.canonical("out"), wanted, "after kill {kill}");
    }
}

#[test]
fn a_new_stage_that_only_judges_is_pointed_out_and_judges_every_clip() {
    let folder = Folder::new();
    videos(&folder);
    let bare = recipe(&folder, "bare.toml", "out", "");
    assert_eq!(run(&bare, &[]).code, Some(0));
    let probe = "[[stage]]\nkind = \"probe\"\nmin_fps = 30\n";
    let full = recipe(&folder, "full.toml", "out", probe);
    let refused = run(&full, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(
        refused.err.contains("probe: 6 clips not measured (it only judges)"),
        "{}",
        refused.err
    );
    let filled = run(&full, &["--backfill"]);
    assert_eq!(filled.code, Some(0), "{}", filled.err);
    assert!(filled.err.contains("0 frames decoded"), "{}", filled.err);
    let sql = "select status, drop_stage, count(*) as n from clips group by 1, 2 order by 1, 2";
    let rows = folder.rows("out", sql);
    assert!(rows.contains("dropped,probe,6") && !rows.contains("kept"), "{rows}");
    let again = run(&full, &[]);
    assert_eq!(again.code, Some(0), "{}", again.err);
}

#[test]
fn clips_that_were_measured_although_rejected_do_not_make_the_recipe_another() {
    let folder = Folder::new();
    videos(&folder);
    let path = folder.recipe("all.toml", "out", "score = \"all\"");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{}", motion("keep = { min = 9.0 }"))).unwrap();
    assert_eq!(run(&path, &[]).code, Some(0));
    let said = curate(&["refilter", &folder.text("out"), "--set", "motion.min=0"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = run(&path, &["--judge", "table"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("clip: 6 clips not measured"), "{}", said.err);
    let said = run(&path, &["--judge", "table", "--backfill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn another_file_of_the_same_size_is_not_measured_in_the_place_of_the_first() {
    let folder = Folder::new();
    let first = folder.video("a.mp4", &[9]);
    let bare = recipe(&folder, "bare.toml", "out", "");
    assert_eq!(run(&bare, &[]).code, Some(0));
    let size = std::fs::read(&first).unwrap().len();
    let mut other = std::fs::read(folder.video("a.mp4", &[4])).unwrap();
    // Padded with a box that readers pass over.
    let room = size - other.len();
    other.extend(u32::try_from(room).unwrap().to_be_bytes());
    other.extend(b"free");
    other.resize(size, 0);
    std::fs::write(&first, other).unwrap();
    let full = recipe(&folder, "full.toml", "out", &motion(""));
    let filled = run(&full, &["--backfill"]);
    assert_eq!(filled.code, Some(3), "{}", filled.err);
    assert!(filled.err.contains("it is not the file they were cut from"), "{}", filled.err);
    let measured = "select count(*) from clips where motion_method is not null";
    assert_eq!(folder.rows("out", measured).lines().nth(1), Some("0"));
}
