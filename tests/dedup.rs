//! `dedup` through the real binary.

use std::{fs, path::Path};

use curate_testing::make;

use crate::util::{Folder, curate, start};

/// Films of which some are copies of others, by name in the order in which they are kept.
fn films(videos: &Path, samples: &Path) {
    let film = |name: &str, from: &str, seconds: u32, how: &str| {
        let from = samples.join(from);
        make(videos, name, &format!("-t {seconds} -i {} -an {how}", from.display()));
    };
    film("a.mp4", "bigbuckbunny.mp4", 4, "-c:v libx264 -crf 18");
    let first = videos.join("a.mp4");
    let again = |name: &str, how: &str| {
        make(videos, name, &format!("-i {} -an {how}", first.display()));
    };
    again("b_container.mkv", "-c copy");
    again("c_coarse.mp4", "-c:v libx264 -crf 36");
    again("d_small.mp4", "-vf scale=iw/2:ih/2 -c:v libx264 -crf 23");
    again("e_mirrored.mp4", "-vf hflip -c:v libx264 -crf 23");
    film("f_other.mp4", "carphone_pristine.mp4", 4, "-c:v libx264 -crf 18");
}

fn recipe(folder: &Folder, out: &str, run: &str, dedup: &str) -> String {
    let recipe = folder.recipe(&format!("{out}.toml"), out, run);
    let text = fs::read_to_string(&recipe).unwrap();
    let rest = format!(
        "detectors = [{{ kind = \"fixed\", seconds = 4.0 }}]\nmin_s = 2.0\n[[stage]]\nkind = \"dedup\"\n{dedup}\n"
    );
    fs::write(&recipe, format!("{text}{rest}")).unwrap();
    recipe
}

/// Source, verdict and what it is a copy of, by file name.
fn verdicts(folder: &Folder, out: &str) -> Vec<String> {
    let rows = folder.rows(
        out,
        "select c.source_uri, c.status, c.drop_reason, o.source_uri as of from clips c \
         left join clips o on c.dup_of = o.clip_id order by 1",
    );
    let name = |uri: &str| uri.rsplit('/').next().unwrap().to_owned();
    let row = |row: &str| row.split(',').map(name).collect::<Vec<_>>().join(" ");
    rows.lines().skip(1).map(row).collect()
}

const SETTLED: [&str; 6] = [
    "a.mp4 kept  ",
    "b_container.mkv dropped copy a.mp4",
    "c_coarse.mp4 dropped copy a.mp4",
    "d_small.mp4 dropped copy a.mp4",
    "e_mirrored.mp4 dropped copy a.mp4",
    "f_other.mp4 kept  ",
];

#[test]
fn copies_are_dropped_for_the_first_whatever_the_order_they_came_in() {
    let Some(samples) = curate_testing::samples() else { return };
    let folder = Folder::new();
    films(&folder.path("videos"), &samples);
    let whole = recipe(&folder, "whole", "", "");
    let run = curate(&["run", &whole]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("4 clips of the table look like another"), "{}", run.err);
    assert_eq!(verdicts(&folder, "whole"), SETTLED);
    let hashes = "select count(distinct packet_hash), count(packet_hash) from clips";
    assert!(
        folder.rows("whole", hashes).ends_with("5,6\n"),
        "the remuxed copy has the same packets"
    );

    // The copies first, what they are copies of later.
    let parts = recipe(&folder, "parts", "", "");
    let (first, aside) = (folder.path("videos/a.mp4"), folder.path("a.mp4"));
    fs::rename(&first, &aside).unwrap();
    assert_eq!(curate(&["run", &parts]).code, Some(0));
    assert_eq!(verdicts(&folder, "parts")[0], "b_container.mkv kept  ");
    fs::rename(&aside, &first).unwrap();
    let run = curate(&["run", &parts]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(verdicts(&folder, "parts"), SETTLED);
    // Nothing to do, and nothing is written.
    let versions = "select count(*) from clips where status = 'kept'";
    let again = curate(&["run", &parts]);
    assert!(again.err.contains("nothing to do"), "{}", again.err);
    assert!(!again.err.contains("copies  "), "{}", again.err);
    assert_eq!(folder.rows("parts", versions), "count(*)\n2\n");

    // Two processes at once, and one that was killed.
    let shared = recipe(&folder, "shared", "commit_units = 1", "");
    let mut both: Vec<_> =
        ["0/2", "1/2"].iter().map(|share| start(&["run", &shared, "--shard", share])).collect();
    for child in &mut both {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(folder.canonical("shared"), folder.canonical("whole"));
    let killed = recipe(&folder, "killed", "commit_units = 1", "");
    for wait in [300, 700, 1100] {
        let mut child = start(&["run", &killed]);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(curate(&["run", &killed]).code, Some(0));
    assert_eq!(folder.canonical("killed"), folder.canonical("whole"));
}

#[test]
fn the_threshold_moves_without_looking_at_anything_again() {
    let Some(samples) = curate_testing::samples() else { return };
    let folder = Folder::new();
    films(&folder.path("videos"), &samples);
    let recipe = recipe(&folder, "out", "", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let before = folder.canonical("out");
    let out = folder.text("out");
    let none = curate(&["refilter", &out, "--set", "dedup.drop=false"]);
    assert_eq!(none.code, Some(0), "{}", none.err);
    assert!(none.out.contains("4 newly kept"), "{}", none.out);
    let found = folder.rows("out", "select count(*) from clips where dup_of is not null");
    assert_eq!(found, "count(*)\n4\n", "which are copies is known all the same");
    // A run by the old recipe would drop them again, so it is refused.
    assert_eq!(curate(&["run", &recipe]).code, Some(2));
    let back = curate(&["refilter", &out, "--set", "dedup.bits=10", "--set", "dedup.drop=true"]);
    assert_eq!(back.code, Some(0), "{}", back.err);
    assert_eq!(folder.canonical("out"), before);
    let wrong = curate(&["refilter", &out, "--set", "dedup.bits=40"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("must be 0 to"), "{}", wrong.err);
}
