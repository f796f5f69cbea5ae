//! Doing bad units again, as a user sees it.

use std::time::Instant;

use crate::util::{Folder, curate, scenes_of, start};
use curate_testing::{make, rounds};

/// A video of which so many tenths are there.
fn cut_off(folder: &Folder, name: &str, tenths: usize) {
    let codec = "-c:v libx264 -preset veryfast -g 50 -bf 2 -movflags +faststart";
    let path = make(&folder.path("videos"), name, &scenes_of(&[4, 3, 5], codec));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 10 * tenths]).unwrap();
}

/// Runs that do bad units again are killed at many moments: the table is whole at every one of them, with
/// all rows that it had, and in the end what it is when nobody kills.
#[test]
fn kills_of_a_retry_lose_no_row() {
    let kills = rounds("CURATE_SOAK_KILLS", 5);
    let folder = Folder::new();
    folder.video("whole.mp4", &[4]);
    std::fs::write(folder.path("videos/none.mp4"), "this is no video").unwrap();
    for index in 0..3 {
        cut_off(&folder, &format!("{index}.mp4"), 7 + index);
    }
    let recipe = folder.recipe("p.toml", "out", "commit_units = 1");
    assert_eq!(curate(&["run", &recipe]).code, Some(3));
    let sql = "select status, count(*) as n, min(clips) > 0 as c from units group by 1 order by 1";
    let units = folder.rows("out", sql);
    assert_eq!(units, "status,n,c\nfailed,1,false\nok,1,true\npartial,3,true\n");
    let expected = folder.canonical("out");

    let started = Instant::now();
    assert_eq!(curate(&["run", &recipe, "--retry", "failed"]).code, Some(3));
    let whole = started.elapsed();
    assert_eq!(folder.canonical("out"), expected, "they fail in the same way");
    let sql = "select count(distinct run_id) as n from clips";
    assert_eq!(folder.rows("out", sql), "n\n2\n", "the bad ones were done again");
    let mut met = 0;
    for tries in 1..=20 * kills {
        let mut child = start(&["run", &recipe, "--retry", "failed"]);
        let part = (tries as f64 * 0.618_034).fract();
        std::thread::sleep(whole.mul_f64(part));
        met += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(folder.canonical("out"), expected, "after {tries} kills");
        if met == kills {
            break;
        }
    }
    assert_eq!(met, kills, "kills that met a living run");
    // Without `--retry` nothing is left to be done either.
    for options in [&["run", recipe.as_str()][..], &["run", &recipe, "--retry", "failed"]] {
        assert_eq!(curate(options).code, Some(3));
        assert_eq!(folder.canonical("out"), expected);
    }
}

/// A file that could not be read is recorded by its place alone. When it can be read, that row goes with
/// the first rows of its units, and at once where these are done already.
#[test]
fn what_could_not_be_read_once_leaves_no_row_behind() {
    let folder = Folder::new();
    let (place, aside) = (folder.video("a.mp4", &[4]), folder.path("aside.mp4"));
    std::fs::write(folder.path("list.csv"), "path\nvideos/a.mp4\n").unwrap();
    let recipe = folder.recipe_over("p.toml", "list.csv", "out", "");
    let states = || folder.rows("out", "select status, clips from units order by 1");
    for _ in 0..2 {
        std::fs::rename(&place, &aside).unwrap();
        assert_eq!(curate(&["run", &recipe]).code, Some(3));
        assert!(states().contains("failed,0\n"), "{}", states());
        std::fs::rename(&aside, &place).unwrap();
        let said = curate(&["run", &recipe]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(states(), "status,clips\nok,1\n");
    }
}

/// A unit that is tried again and comes to nothing keeps the clips that it had.
#[test]
fn trying_again_in_vain_takes_no_clip_away() {
    let folder = Folder::new();
    cut_off(&folder, "a.mp4", 8);
    std::fs::write(folder.path("videos/none.mp4"), "this is no video").unwrap();
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(3));
    let partial = || {
        let clips = "select clip_id, status, run_id from clips order by clip_id";
        let units = "select unit_id, clips, kept, run_id from units where status = 'partial'";
        (folder.rows("out", clips), folder.rows("out", units))
    };
    let (rows, before) = (folder.canonical("out"), partial());
    assert_eq!(before.1.lines().count(), 2, "{}", before.1);
    assert!(before.0.lines().count() > 1, "{}", before.0);

    folder.recipe("p.toml", "out", "unit_timeout_seconds = 0.000001");
    let said = curate(&["run", &recipe, "--retry", "failed"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let told = said.err.lines().filter(|line| line.contains(": trying again failed (timeout: "));
    let told: Vec<&str> = told.collect();
    assert!(
        matches!(told[..], [line] if line.ends_with(" clips stay as they were")),
        "{}",
        said.err
    );
    assert_eq!(partial(), before);
    assert_eq!(folder.canonical("out"), rows);

    folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe, "--retry", "failed"]).code, Some(3));
    assert_ne!(partial(), before, "they are replaced by what another attempt brings");
    assert_eq!(folder.canonical("out"), rows);
}
