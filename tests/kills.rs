//! What a run leaves when it is killed or told to stop, and that the next one mends it.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use crate::util::{CURATE, Folder, curate, said, start};
use curate_testing::{program, rounds};

/// Six short videos and the table of a run that was left alone.
fn undisturbed() -> (Folder, String, Vec<String>) {
    let folder = Folder::new();
    for index in 0..6_usize {
        folder.video(&format!("{index}.mp4"), &[4, 3, 5][..=index % 3]);
    }
    let calm = folder.recipe("calm.toml", "calm", "commit_units = 1");
    assert_eq!(curate(&["run", &calm]).code, Some(0));
    let recipe = folder.recipe("p.toml", "out", "commit_units = 1");
    let expected = folder.canonical("calm");
    (folder, recipe, expected)
}

/// Waits until the run's log says that it works on something.
fn until_a_unit_is_begun(folder: &Folder, child: &mut Child) {
    let runs = folder.path("out/_runs");
    let has_begun = || {
        let runs = std::fs::read_dir(&runs).into_iter().flatten().flatten();
        let mut logs =
            runs.filter_map(|run| std::fs::read_to_string(run.path().join("events.jsonl")).ok());
        logs.any(|log| log.contains("unit_started"))
    };
    let started = Instant::now();
    while !has_begun() {
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
        assert!(started.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills runs at many moments; afterwards table and ledger equal those of a run that was left
/// alone, and nothing is left over. `make soak` does it fifty times.
#[test]
fn soak_kills_change_nothing() {
    let kills = rounds("CURATE_SOAK_KILLS", 5);
    let (folder, recipe, expected) = undisturbed();
    // The whole run is hit: from opening the table to the last commit, which is found by measuring.
    let timed = folder.recipe("timed.toml", "timed", "commit_units = 1");
    let started = Instant::now();
    assert_eq!(curate(&["run", &timed]).code, Some(0));
    let mut whole = started.elapsed().max(Duration::from_millis(100));
    let (mut met, mut tries) = (0, 0_u32);
    while met < kills {
        tries += 1;
        assert!(u64::from(tries) < 20 * kills, "only {met} of {tries} kills met a living run");
        // Begin anew now and then: a finished table has nothing left to hit.
        if tries % 5 == 1 && folder.path("out").exists() {
            assert_eq!(curate(&["run", &recipe]).code, Some(0));
            assert_eq!(folder.canonical("out"), expected, "after {met} kills");
            std::fs::remove_dir_all(folder.path("out")).unwrap();
        }
        let mut child = start(&["run", &recipe]);
        // Spread over the run by a step that meets every part of it, the same every time.
        let part = (f64::from(tries) * 0.618_034).fract();
        std::thread::sleep(whole.mul_f64(part));
        if child.try_wait().unwrap().is_none() {
            met += 1;
        } else {
            // The machine has become faster than it was when the whole was timed.
            whole = whole.mul_f64(0.9).max(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = curate(&["run", &recipe]);
    assert_eq!(last.code, Some(0), "{}", last.err);
    assert_eq!(folder.canonical("out"), expected);
    let gc = curate(&["gc", &folder.text("out")]);
    assert_eq!(gc.code, Some(0), "{}", gc.err);
    assert_eq!(folder.unreferenced("out"), Vec::<std::path::PathBuf>::new());
    assert_eq!(folder.canonical("out"), expected);
    assert!(last.err.contains("table:"), "{}", last.err);
}

#[test]
fn the_first_signal_drains_and_the_next_run_goes_on() {
    let folder = Folder::new();
    for index in 0..8 {
        folder.video(&format!("{index}.mp4"), &[8, 9, 7, 8]);
    }
    let calm = folder.recipe("calm.toml", "calm", "");
    assert_eq!(curate(&["run", &calm]).code, Some(0));
    let recipe = folder.recipe("p.toml", "out", "workers = 1");
    let mut child = start(&["run", &recipe]);
    until_a_unit_is_begun(&folder, &mut child);
    let sent = program("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(1), "a drained run says that it can be resumed");
    let units: usize = folder.canonical("out").iter().filter(|l| l.starts_with("units")).count();
    assert!(units < 8, "everything was done before the signal came");
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(folder.canonical("out"), folder.canonical("calm"));
}

#[test]
fn a_query_answers_while_a_run_goes_on() {
    let folder = Folder::new();
    for index in 0..8 {
        folder.video(&format!("{index}.mp4"), &[4, 3, 6]);
    }
    let recipe = folder.recipe("p.toml", "out", "workers = 1\ncommit_units = 1");
    let mut child = start(&["run", &recipe]);
    until_a_unit_is_begun(&folder, &mut child);
    let sql = "select status, drop_stage, count(*) as n from clips group by 1, 2";
    let mut answers = 0;
    while child.try_wait().unwrap().is_none() {
        let said = curate(&["query", &folder.text("out"), sql]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let status = curate(&["status", &folder.text("out")]);
        assert_eq!(status.code, Some(0), "{}", status.err);
        answers += u32::from(child.try_wait().unwrap().is_none());
    }
    assert!(answers > 0, "no answer came while the run was alive");
    let rows =
        folder.rows("out", "select status, drop_stage, count(*) as n from clips group by 1, 2");
    assert_eq!(rows, "status,drop_stage,n\nkept,,24\n");
}

/// A signal that comes while the recipe is still being read is not lost: the run stops in order.
#[test]
fn a_signal_before_the_run_has_begun_stops_it_in_order() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    for run in ["", "order = \"cost\""] {
        let recipe = folder.recipe("p.toml", "out", run);
        // Whoever opens a pipe waits for the other end: the run is held where it reads.
        let pipe = folder.text("pipe.toml");
        assert!(program("mkfifo").arg(&pipe).status().unwrap().success());
        let child = program(CURATE)
            .args(["run", &pipe])
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until_it_listens(child.id());
        std::thread::sleep(Duration::from_millis(20));
        let id = child.id().to_string();
        assert!(program("kill").args(["-TERM", &id]).status().unwrap().success());
        std::fs::write(&pipe, std::fs::read_to_string(&recipe).unwrap()).unwrap();
        let said = said(&child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("run the same command again"), "{}", said.err);
        std::fs::remove_file(&pipe).unwrap();
        assert_eq!(curate(&["run", &recipe]).code, Some(0));
        assert_eq!(folder.rows("out", "select count(*) as n from clips"), "n\n1\n");
        std::fs::remove_dir_all(folder.path("out")).unwrap();
    }
}

/// Waits until a process catches SIGTERM, as the system says.
fn until_it_listens(id: u32) {
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0
    };
    let started = Instant::now();
    while !catches() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never listens");
        std::thread::sleep(Duration::from_millis(2));
    }
}
