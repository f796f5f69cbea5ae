//! `curate run` as a user sees it.

use crate::util::{Folder, curate, start};

#[test]
fn scenes_become_rows_and_a_rerun_decodes_nothing() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 14, 2]);
    std::fs::write(folder.path("videos/notes.txt"), "not a video").unwrap();
    let recipe = folder.recipe("p.toml", "out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("= 1.00;"), "{}", said.err);
    assert!(said.err.contains("1 other_type"), "{}", said.err);
    let sql = "select start_s, end_s, num_frames, status, drop_reason, cut_in, cut_out from clips order by 1";
    assert_eq!(
        folder.rows("out", sql),
        "start_s,end_s,num_frames,status,drop_reason,cut_in,cut_out\n\
         0.0,4.0,100,kept,,source,cut\n\
         4.0,14.0,250,kept,,cut,length\n\
         14.0,18.0,100,kept,,length,cut\n\
         18.0,20.0,50,dropped,too_short,cut,source\n"
    );
    let before = folder.canonical("out");
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("nothing was decoded"), "{}", again.err);
    assert_eq!(folder.canonical("out"), before);
}

#[test]
fn a_broken_file_is_recorded_and_stops_nobody() {
    let folder = Folder::new();
    folder.video("good.mp4", &[4]);
    std::fs::write(folder.path("videos/bad.mp4"), "this is no video").unwrap();
    std::fs::write(folder.path("videos/empty.mp4"), "").unwrap();
    let recipe = folder.recipe("p.toml", "out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let units = folder.rows("out", "select status, count(*) as n from units group by 1 order by 1");
    assert_eq!(units, "status,n\nfailed,2\nok,1\n");
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(3), "{}", again.err);
    assert!(again.err.contains("nothing was decoded"), "{}", again.err);
}

#[test]
fn a_wrong_recipe_is_reported_whole() {
    let folder = Folder::new();
    let text =
        "[input]\npaths = [\"nowhere\"]\n[output]\npth = \"out\"\n[[stage]]\nkind = \"scnes\"\n";
    std::fs::write(folder.path("p.toml"), text).unwrap();
    let said = curate(&["check", &folder.text("p.toml")]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    for words in ["did you mean `path`?", "did you mean \"scenes\"?", "nowhere"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let text = text.replace("pth = \"out\"", "path = \"s3://bucket/out\"");
    std::fs::write(folder.path("p.toml"), text).unwrap();
    let said = curate(&["check", &folder.text("p.toml")]);
    assert!(said.err.contains("object stores are not supported yet"), "{}", said.err);
}

#[test]
fn another_split_into_the_same_table_is_refused() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{text}max_s = 5.0\n")).unwrap();
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("another recipe"), "{}", said.err);
    let difference = "\n  scenes.max_s: table has 10.0, file has 5.0\n";
    assert!(said.err.contains(difference), "{}", said.err);
    assert!(!said.err.contains('{'), "only what differs is shown: {}", said.err);
    std::fs::write(&recipe, format!("{text}min_s = 2.0\n")).unwrap();
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("--judge file"), "{}", said.err);
    assert_eq!(curate(&["check", &recipe]).code, Some(2), "a check looks at the table");
    // By the table: the new clip of 2.5 s is too short, though the recipe would keep it.
    let line = crate::util::scenes_of(&[5], "-c:v libx264");
    let short = folder.path("videos");
    curate_testing::make(&short, "b.mp4", &line.replace("-t 5", "-t 2.5"));
    let said = curate(&["run", &recipe, "--judge", "table"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let sql = "select num_frames, status from clips order by 1";
    assert_eq!(folder.rows("out", sql), "num_frames,status\n63,dropped\n100,kept\n");
    assert_eq!(curate(&["run", &recipe, "--judge", "file"]).code, Some(0));
    assert_eq!(
        curate(&["check", &recipe]).code,
        Some(0),
        "the recipe's thresholds are the table's"
    );
}

/// What is tried again is only what this run is going to do; everything else stays.
#[test]
fn retrying_takes_out_only_what_it_does_again() {
    let folder = Folder::new();
    folder.video("good.mp4", &[4]);
    for name in ["a.mp4", "b.mp4", "c.mp4"] {
        std::fs::write(folder.path("videos").join(name), "no video").unwrap();
    }
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(3));
    let before = folder.canonical("out");
    // Mended, and gone.
    std::fs::remove_file(folder.path("videos/c.mp4")).unwrap();
    for share in ["0/3", "1/3", "2/3"] {
        let said = curate(&["run", &recipe, "--retry", "failed", "--shard", share]);
        assert_eq!(said.code.map(|code| code == 0 || code == 3), Some(true), "{}", said.err);
    }
    assert_eq!(folder.canonical("out"), before, "the same units failed in the same way");
    let said = curate(&["run", &recipe, "--retry", "failed", "--limit", "1"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert_eq!(folder.canonical("out"), before);
    folder.video("a.mp4", &[4]);
    let said = curate(&["run", &recipe, "--retry", "failed"]);
    assert!(said.err.contains("1 sources have changed"), "{}", said.err);
    let said = curate(&["run", &recipe]);
    assert!(!said.err.contains("have changed"), "it was read as it is now: {}", said.err);
    let sql = "select count(*) as n from clips where status = 'kept'";
    assert_eq!(folder.rows("out", sql), "n\n2\n");
}

/// What a decoder fills in for damage does not depend on its threads, nor on what else is decoded.
#[test]
fn damaged_files_give_the_same_rows_with_any_number_of_threads() {
    let folder = Folder::new();
    folder.video("whole.mp4", &[3]);
    let mut bytes = std::fs::read(folder.video("damaged.mp4", &[4, 3, 5])).unwrap();
    let start = bytes.windows(4).position(|four| four == b"mdat").unwrap() + 4;
    // As a worn disk does: a bit here and there.
    let places = (0..60).map(|n: usize| start + 997 + n * 7919 % (bytes.len() - start - 997));
    for place in places.collect::<Vec<_>>() {
        bytes[place] ^= 0x10;
    }
    std::fs::write(folder.path("videos/damaged.mp4"), bytes).unwrap();
    let rest = "[[stage]]\nkind = \"quality\"\n";
    let rows = |name: &str, settings: &str| {
        let recipe = folder.recipe(&format!("{name}.toml"), name, settings);
        let text = std::fs::read_to_string(&recipe).unwrap();
        std::fs::write(&recipe, format!("{text}\n{rest}")).unwrap();
        assert_eq!(curate(&["run", &recipe]).code, Some(3));
        folder.canonical(name)
    };
    let reference = rows("one", "decode_threads = 1");
    let units = folder.rows("one", "select status from units order by 1");
    assert_eq!(units, "status\nok\npartial\n");
    for (name, settings) in
        [("four", "decode_threads = 4"), ("usual", ""), ("alone", "workers = 1")]
    {
        assert_eq!(rows(name, settings), reference, "{settings}");
    }
}

/// The table is the same for any number of workers, for processes started together, and in shares.
#[test]
fn workers_processes_and_shares_give_the_same_table() {
    let folder = Folder::new();
    for (index, scenes) in [&[4, 5][..], &[3], &[2, 6, 3], &[4]].iter().enumerate() {
        folder.video(&format!("{index}.mp4"), scenes);
    }
    let one = folder.recipe("one.toml", "one", "workers = 1");
    assert_eq!(curate(&["run", &one]).code, Some(0));
    let reference = folder.canonical("one");
    assert!(reference.len() > 8, "{reference:?}");

    for workers in ["2", "4"] {
        let recipe = folder.recipe("more.toml", workers, &format!("workers = {workers}"));
        assert_eq!(curate(&["run", &recipe]).code, Some(0));
        assert_eq!(folder.canonical(workers), reference, "{workers} workers");
    }

    let both = folder.recipe("both.toml", "both", "commit_units = 1");
    let mut children = [start(&["run", &both]), start(&["run", &both])];
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(folder.canonical("both"), reference);

    let shares = folder.recipe("shares.toml", "shares", "");
    for share in ["0/3", "1/3", "2/3"] {
        assert_eq!(curate(&["run", &shares, "--shard", share]).code, Some(0));
    }
    assert_eq!(folder.canonical("shares"), reference);
}

#[test]
fn a_limit_leaves_the_rest_for_later() {
    let folder = Folder::new();
    for name in ["a.mp4", "b.mp4", "c.mp4"] {
        folder.video(name, &[4]);
    }
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe, "--limit", "2"]).code, Some(0));
    assert_eq!(folder.rows("out", "select count(*) as n from clips"), "n\n2\n");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    assert_eq!(folder.rows("out", "select count(*) as n from clips"), "n\n3\n");
}

/// The table of a folder inside that folder is never taken for input, on the rerun neither.
#[test]
fn the_output_may_lie_inside_the_input() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    std::os::unix::fs::symlink("a.mp4", folder.path("videos/link.mp4")).unwrap();
    let recipe = folder.recipe("p.toml", "videos/out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("sources 1"), "{}", said.err);
    assert!(said.err.contains("1 duplicate"), "{}", said.err);
    let again = curate(&["run", &recipe]);
    assert!(again.err.contains("nothing was decoded"), "{}", again.err);
    assert_eq!(folder.rows("videos/out", "select count(*) as n from clips"), "n\n1\n");
}

#[test]
fn no_clips_and_no_sources_are_loud() {
    let folder = Folder::new();
    let recipe = folder.recipe("p.toml", "out", "");
    std::fs::write(folder.path("videos/readme.txt"), "nothing here").unwrap();
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("NO SOURCES"), "{}", said.err);
    folder.video("short.mp4", &[1]);
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("NO CLIP WAS KEPT"), "{}", said.err);
    assert!(said.err.contains("1 dropped: too_short"), "{}", said.err);
    // It is as loud when there is nothing left to do, and no longer once a clip is kept.
    let again = curate(&["run", &recipe]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(
        again.err.contains("NO CLIP WAS KEPT. The table has 1 dropped by scenes: too_short;"),
        "{}",
        again.err
    );
    folder.video("long.mp4", &[4]);
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let again = curate(&["run", &recipe]);
    assert!(again.err.contains("nothing to do"), "{}", again.err);
    assert!(!again.err.contains("NO CLIP"), "{}", again.err);
    // What a resumed run adds may be short without the table being empty.
    folder.video("short2.mp4", &[2]);
    let more = curate(&["run", &recipe]);
    assert!(!more.err.contains("NO CLIP"), "{}", more.err);
    assert!(more.err.contains("no clip of this run was kept"), "{}", more.err);
}

/// A file that was missing when it was first named, by a path with `..`, is not failed for good.
#[test]
fn the_failure_of_a_missing_file_goes_when_the_file_comes() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("lists")).unwrap();
    std::fs::write(folder.path("lists/l.csv"), "path\n../videos/a.mp4\n").unwrap();
    let recipe = folder.recipe_over("p.toml", "lists/l.csv", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(3));
    let units = "select status, error_kind from units";
    assert_eq!(folder.rows("out", units), "status,error_kind\nfailed,missing\n");
    folder.video("a.mp4", &[4]);
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(folder.rows("out", units), "status,error_kind\nok,\n");
}

/// One mistake is one problem, and every mistake is named.
#[test]
fn a_check_names_every_mistake_once() {
    let folder = Folder::new();
    folder.video("a.mp4", &[1]);
    let problems = |text: &str| {
        std::fs::write(folder.path("p.toml"), text).unwrap();
        let said = curate(&["check", &folder.text("p.toml")]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        let mut lines = said.err.lines();
        let first = lines.next().unwrap().to_owned();
        let lines = lines.filter(|line| !line.starts_with("    "));
        let found: Vec<String> =
            lines.map(|line| line.trim().split_once(": ").unwrap().0.to_owned()).collect();
        let s = if found.len() == 1 { "" } else { "s" };
        assert!(first.ends_with(&format!(" has {} problem{s}:", found.len())), "{}", said.err);
        found
    };
    let stages =
        |stages: &str| format!("[input]\npaths = [\"videos\"]\n[output]\npath = \"out\"\n{stages}");
    let scenes = "[[stage]]\nkind = \"scenes\"\n";
    assert_eq!(
        problems(&format!(
            "[input]\npaths = 3\n[output]\npath = 3\nform = 3\ntranscode.crf = 20\n{scenes}"
        )),
        ["[input] paths", "[output] form", "[output] path"]
    );
    // What fits one codec may not fit another: with an unknown one nothing is said of it.
    let transcode = "form = \"transcode\"\n[output.transcode]\npreset = \"8\"\n";
    let with = |lines: &str| problems(&stages(&format!("{transcode}{lines}\n{scenes}")));
    assert_eq!(with(""), ["[output.transcode] preset"]);
    assert_eq!(
        with("codec = \"h266\"\ncrff = 3\nkey_every = -1"),
        ["[output] transcode.codec", "[output] transcode.crff", "[output] transcode.key_every"]
    );
    assert_eq!(
        problems(&format!(
            "[input]\npath = [\"videos\"]\n[outptu]\npath = \"out\"\n{scenes}max_s = \"10\"\nmin_s = 20"
        )),
        ["outptu", "[input] path", "stage 1 (scenes) max_s"]
    );
    assert_eq!(problems(&stages("[[stages]]\nkind = \"scenes\"\n")), ["stages"]);
    let passes = "detectors = [{ kind = \"contnt\" }, { kind = \"hash\", sise = 1, threshold = \"x\" }, \
                  { kind = \"fixed\" }, { kind = \"content\", threshold = -1 }]\n";
    assert_eq!(
        problems(&stages(&format!(
            "{scenes}{passes}[[stage]]\nkind = \"nothing\"\n[[stage]]\nkind = \"probe\"\nmin_fps = -1\n"
        ))),
        [
            "stage 1 (scenes) detectors[0].kind",
            "stage 1 (scenes) detectors[1].sise",
            "stage 1 (scenes) detectors[1].threshold",
            "stage 1 (scenes) detectors[2]",
            "stage 1 (scenes) detectors[3]",
            "stage 2 kind",
            "stage 3 (probe) min_fps",
        ]
    );
    let probe = "[[stage]]\nkind = \"probe\"\n";
    assert_eq!(problems(&stages(&format!("{probe}{scenes}"))), ["stage 2 (scenes) kind"]);
    assert_eq!(problems(&stages(probe)), ["stage 1 (probe) kind"]);
}

#[test]
fn a_file_in_the_place_of_the_table_is_refused() {
    let folder = Folder::new();
    folder.video("a.mp4", &[1]);
    std::fs::write(folder.path("taken"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path("link")).unwrap();
    for (out, way) in [("taken", "taken"), ("taken/deep/out", "taken"), ("link", "link")] {
        let recipe = folder.recipe("p.toml", out, "");
        for command in ["check", "run"] {
            let said = curate(&[command, &recipe]);
            assert_eq!(said.code, Some(2), "{command}: {}{}", said.out, said.err);
            let words = format!("[output] path: `{}` is there and is no folder", folder.text(way));
            assert!(said.err.contains(&words), "{command}: {}", said.err);
        }
    }
    assert_eq!(std::fs::read_to_string(folder.path("taken")).unwrap(), "mine");
}

/// A long source is worked on in units, and every frame is still in exactly one clip.
#[test]
fn units_of_a_long_source_join_without_a_seam() {
    let folder = Folder::new();
    folder.video("long.mp4", &[7, 9, 8, 6]);
    let recipe = folder.recipe("p.toml", "out", "");
    let text = std::fs::read_to_string(&recipe).unwrap();
    let units = "path = \"out\"\nunit_minutes = 0.1";
    std::fs::write(&recipe, text.replace("path = \"out\"", units)).unwrap();
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(folder.rows("out", "select count(*) as n from units"), "n\n5\n");
    let sql = "select sum(num_frames) as n, min(frames) as m from clips, \
               (select sum(frames_source) as frames from units)";
    assert_eq!(folder.rows("out", sql), "n,m\n750,750\n");
    let spans = folder.spans("out");
    assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{spans:?}");
    // Done units are not opened again, whichever way they were shared out.
    let again = curate(&["run", &recipe]);
    assert!(again.err.contains("5 done before"), "{}", again.err);
}

/// Captions and other columns of a manifest stay with their clips.
#[test]
fn a_manifest_brings_captions_and_columns_along() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    folder.video("b.mp4", &[4]);
    let lines =
        "path,caption,licence\nvideos/b.mp4,\"bars, and more\",CC0\nvideos/a.mp4,colours,MIT\n";
    std::fs::write(folder.path("list.csv"), lines).unwrap();
    let recipe = folder.recipe_over("p.toml", "list.csv", "out", "");
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let sql = "select split_part(source_uri, '/', -1) as file, caption, caption_model, extra \
               from clips order by 1";
    assert_eq!(
        folder.rows("out", sql),
        "file,caption,caption_model,extra\n\
         a.mp4,colours,source,\"{\"\"licence\"\":\"\"MIT\"\"}\"\n\
         b.mp4,\"bars, and more\",source,\"{\"\"licence\"\":\"\"CC0\"\"}\"\n"
    );
    // A folder that holds the same files, and is named first, takes nothing away.
    let text = std::fs::read_to_string(&recipe).unwrap();
    let both =
        text.replace("\"list.csv\"", "\"videos\", \"list.csv\"").replace("\"out\"", "\"both\"");
    std::fs::write(&recipe, both).unwrap();
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    assert_eq!(folder.rows("both", sql), folder.rows("out", sql));
}
