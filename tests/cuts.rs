//! Cut lists out of a table (`curate cuts`) and in place of detection (`kind = "list"`).

use std::path::Path;

use curate_testing::{make, python, shared};

use crate::util::{Folder, curate, said, scenes_of};

const SPANS: &str = "select source_uri, start_pts, end_pts, num_frames from clips order by 1, 2";

/// A recipe over a path into a table, with settings of `[output]` and of the split.
fn recipe(folder: &Folder, over: &str, out: &str, [output, split]: [&str; 2]) -> String {
    let recipe = folder.recipe_over(&format!("{out}.toml"), over, out, "");
    let text = std::fs::read_to_string(&recipe).unwrap();
    let text = text.replace("[run]\n", &format!("{output}\n[run]\n"));
    std::fs::write(&recipe, format!("{text}{split}\n")).unwrap();
    recipe
}

/// Runs a recipe over `videos`; gives the clips' spans.
fn spans(folder: &Folder, out: &str, settings: [&str; 2]) -> String {
    let said = curate(&["run", &recipe(folder, "videos", out, settings)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    folder.rows(out, SPANS)
}

/// In whole and in units, whatever the stream's time starts at and however its rate varies.
#[test]
fn the_list_of_a_run_gives_the_same_clips() {
    let folder = Folder::new();
    let source = folder.video("a.mp4", &[4, 13, 2]);
    let videos = folder.path("videos");
    let h264 = "-c:v libx264 -preset veryfast -g 50 -bf 2";
    make(&videos, "b.ts", &scenes_of(&[3, 5, 4], h264));
    let thinned = "-vf select='mod(n,3)*mod(n,7)' -fps_mode vfr -c:v libx264 -bf 2 -g 30";
    make(&videos, "c.mkv", &format!("-i {} {thinned}", source.display()));
    for (name, output) in [("whole", ""), ("parts", "unit_minutes = 0.1")] {
        let found = spans(&folder, name, [output, ""]);
        assert!(found.lines().count() > 10, "{found}");
        let lists = format!("{name}_cuts");
        let said = curate(&["cuts", &folder.text(name), "-o", &folder.text(&lists)]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(said.out.lines().count(), 3, "{}", said.out);
        assert!(folder.path(&lists).join("c-Scenes.csv").is_file());
        let split = format!("detectors = [{{ kind = \"list\", folder = \"{lists}\" }}]");
        assert_eq!(spans(&folder, &format!("{name}_again"), [output, &split]), found, "{name}");
    }
}

#[test]
fn one_source_goes_to_standard_output() {
    let folder = Folder::new();
    let path = folder.video("a.mp4", &[4, 2]);
    folder.video("b.mp4", &[3]);
    spans(&folder, "out", ["", ""]);
    let out = folder.text("out");
    let both = curate(&["cuts", &out]);
    assert_eq!(both.code, Some(2), "{}", both.out);
    assert!(both.err.contains("--output") && both.err.contains("--source"), "{}", both.err);
    let a = curate(&["cuts", &out, "--source", path.to_str().unwrap()]);
    assert_eq!(
        a.out,
        "Timecode List:,00:00:04.000\n\
         Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,\
         End Time (seconds),Length (frames),Length (timecode),Length (seconds)\n\
         1,1,00:00:00.000,0.000,100,00:00:04.000,4.000,100,00:00:04.000,4.000\n\
         2,101,00:00:04.000,4.000,150,00:00:06.000,6.000,50,00:00:02.000,2.000\n",
        "{}",
        a.err
    );
    let id = folder.rows("out", "select source_id from clips where source_uri like '%/b.mp4'");
    let id = id.lines().nth(1).unwrap();
    let b = curate(&["cuts", &out, "--source", id, "--format", "edl"]);
    let times = "00:00:00:00 00:00:03:00";
    let event = format!("001  AX       V     C        {times} {times}\n");
    assert_eq!(b.out, format!("TITLE: b\nFCM: NON-DROP FRAME\n\n{event}"), "{}", b.err);
    let other = curate(&["cuts", &out, "--source", "c.mp4"]);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("lists the sources"), "{}", other.err);
}

/// Whose list it is stays clear, and EDLs of a constant rate are exact.
#[test]
fn files_of_the_same_name_have_lists_of_their_own() {
    let folder = Folder::new();
    for (name, scenes) in [("x", [3, 4]), ("y", [5, 2])] {
        std::fs::create_dir(folder.path("videos").join(name)).unwrap();
        folder.video(&format!("{name}/film.mp4"), &scenes);
    }
    let found = spans(&folder, "out", ["", ""]);
    let lists = folder.text("lists");
    let said = curate(&["cuts", &folder.text("out"), "--format", "edl", "-o", &lists]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let ids = folder.rows("out", "select distinct source_id from clips order by 1");
    let names: Vec<String> = ids.lines().skip(1).map(|id| format!("{lists}/{id}.edl")).collect();
    assert_eq!(said.out.lines().collect::<Vec<_>>(), names);
    let list = "detectors = [{ kind = \"list\", folder = \"lists\" }]";
    assert_eq!(spans(&folder, "again", ["", list]), found);
}

#[test]
fn a_list_that_is_missing_or_wrong_fails_its_video_alone() {
    let folder = Folder::new();
    folder.video("a.mp4", &[7]);
    folder.video("b.mp4", &[4]);
    folder.video("c.mp4", &[4]);
    let videos = folder.path("videos");
    std::fs::write(videos.join("a.csv"), "Start Frame\n1\n76\n").unwrap();
    let wrong = videos.join("b-Scenes.csv");
    std::fs::write(&wrong, "Start Time (seconds)\n0\nlater\n").unwrap();
    let beside = ["", "detectors = [{ kind = \"list\" }]"];
    let said = curate(&["run", &recipe(&folder, "videos", "out", beside)]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let sql = "select status, error_kind, error_message from units order by source_uri";
    let units = folder.rows("out", sql);
    for words in ["\nok,,\n", "b-Scenes.csv, line 3: `later`", "no cut list `c-Scenes.csv`"] {
        assert!(units.contains(words), "{words} is not in {units}");
    }
    assert_eq!(units.matches("\nfailed,cut_list,").count(), 2, "{units}");
    let frames = "select num_frames from clips order by source_uri, start_pts";
    assert_eq!(folder.rows("out", frames), "num_frames\n75\n100\n");

    std::fs::remove_file(&wrong).unwrap();
    spans(&folder, "all", ["", "detectors = [{ kind = \"list\", missing = \"ignore\" }]"]);
    assert_eq!(folder.rows("all", frames), "num_frames\n75\n100\n100\n100\n");

    let absent = ["", "detectors = [{ kind = \"list\", folder = \"absent\" }]"];
    let said = curate(&["run", &recipe(&folder, "videos", "none", absent)]);
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("absent for the cut lists"), "{}", said.err);
}

/// What PySceneDetect's own code makes of a list, or the list it writes: its cuts as frame numbers
/// and seconds.
fn theirs(action: &str, video: &Path, place: &Path) -> Vec<(u64, f64)> {
    let mut command = python("cut_lists.py").unwrap();
    let answer = said(&command.arg(action).arg(video).arg(place).output().unwrap());
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    serde_json::from_str(&answer.out).unwrap()
}

#[test]
fn pyscenedetect_reads_our_lists() {
    if python("cut_lists.py").is_none() {
        return;
    }
    let folder = Folder::new();
    let video = folder.video("a.mp4", &[4, 5, 3]);
    spans(&folder, "out", ["", ""]);
    let said = curate(&["cuts", &folder.text("out"), "-o", &folder.text("lists")]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let read = theirs("read", &video, &folder.path("lists/a-Scenes.csv"));
    let frames: Vec<u64> = read.iter().map(|(frame, _)| *frame).collect();
    assert_eq!(frames, [100, 225]);
}

/// Also where the rate varies and the stream does not start at 0. Its EDLs are rounded down.
#[test]
fn pyscenedetects_lists_are_read() {
    if python("cut_lists.py").is_none() {
        return;
    }
    let folder = Folder::new();
    let mut videos = vec![folder.video("a.mp4", &[4, 5, 3])];
    let varies = "scenes/compose_hard17_vfr_drop3.mp4";
    videos.extend(shared("media").map(|media| media.join(varies)));
    let lists = folder.path("lists");
    std::fs::create_dir(&lists).unwrap();
    for (index, video) in videos.iter().enumerate() {
        let wanted = theirs("write", video, &lists);
        assert!(wanted.len() > 1, "{}: {wanted:?}", video.display());
        let csv = lists.join(video.with_extension("").file_name().unwrap());
        let csv = format!("{}-Scenes.csv", csv.display());
        for (form, off_s) in [("csv", 0.001), ("edl", 0.0601)] {
            let out = format!("{form}{index}");
            let split = "detectors = [{ kind = \"list\", folder = \"lists\" }]\nmax_s = 1e6";
            let over = video.to_str().unwrap();
            let said = curate(&["run", &recipe(&folder, over, &out, ["", split])]);
            assert_eq!(said.code, Some(0), "{}", said.err);
            let rows = folder.rows(&out, "select start_s from clips order by 1");
            let starts: Vec<f64> = rows.lines().skip(1).map(|row| row.parse().unwrap()).collect();
            let found: Vec<f64> = starts[1..].iter().map(|start| start - starts[0]).collect();
            let is_near = |(a, (_, b)): (&f64, &(u64, f64))| (a - b).abs() <= off_s;
            assert_eq!(found.len(), wanted.len(), "{form}: {found:?}, {wanted:?}");
            assert!(found.iter().zip(&wanted).all(is_near), "{form}: {found:?}, {wanted:?}");
            if form == "csv" {
                std::fs::remove_file(&csv).unwrap();
            }
        }
    }
}
