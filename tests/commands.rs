//! The commands around a run: `init`, `check`, `try`, `why`, `extract`, `query`, `schema`.

use crate::util::{Folder, curate, curate_in};

#[test]
fn a_clip_can_be_explained_and_taken_out() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 2]);
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let out = folder.text("out");
    let ids = folder.rows("out", "select clip_id from clips order by start_pts");
    let [_, kept, dropped] = ids.lines().collect::<Vec<_>>()[..] else { panic!("{ids}") };

    let why = curate(&["why", &out, kept]);
    assert!(why.out.contains("scenes  passes      length 4, at least 3"), "{}{}", why.out, why.err);
    let why = curate(&["why", &out, dropped]);
    assert!(why.out.contains("status  dropped scenes too_short"), "{}", why.out);
    assert!(why.out.contains("scenes  too_short   length 2, at least 3"), "{}", why.out);
    // Other thresholds may be tried on it.
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(folder.path("other.toml"), format!("{text}min_s = 1.5\n")).unwrap();
    let why = curate(&["why", &out, dropped, "--recipe", &folder.text("other.toml")]);
    assert!(why.out.contains("scenes  passes      length 2, at least 1.5"), "{}", why.out);

    let file = folder.text("clip.mp4");
    let extract = curate(&["extract", &out, kept, "--output", &file]);
    assert_eq!(extract.code, Some(0), "{}", extract.err);
    assert_eq!(curate_testing::ffmpeg_frames(folder.path("clip.mp4").as_ref(), 0), 100);
    let none = curate(&["extract", &out, dropped]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("has no bytes"), "{}", none.err);
    let unknown = curate(&["why", &out, &"0".repeat(32)]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
}

#[test]
fn what_init_writes_is_a_good_recipe() {
    let folder = Folder::new();
    let said = curate_in(&folder.path(""), &["init"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let check = curate_in(&folder.path(""), &["check", "pipeline.toml"]);
    assert_eq!(check.code, Some(0), "{}", check.err);
    assert!(check.out.contains("stage 1   scenes"), "{}", check.out);
    assert!(check.out.contains("measures"), "{}", check.out);
    let again = curate_in(&folder.path(""), &["init"]);
    assert_eq!(again.code, Some(2), "an existing recipe is never written over");
}

#[test]
fn what_is_in_the_way_of_a_table_is_told_by_check_as_by_run() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    std::fs::create_dir(folder.path("out")).unwrap();
    std::fs::write(folder.path("out/clips.lance"), "no table").unwrap();
    for command in ["check", "run", "check"] {
        let said = curate(&[command, &recipe]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("clips.lance` is no table: move it away"), "{}", said.err);
    }
}

#[test]
fn one_video_can_be_tried_without_a_recipe() {
    let folder = Folder::new();
    // Larger than the default recipe's least area.
    let line = "-f lavfi -t 4 -i testsrc2=size=960x540:rate=25 -f lavfi -t 1 -i \
                smptehdbars=size=960x540:rate=25 -filter_complex concat=n=2:v=1 -c:v libx264";
    curate_testing::make(&folder.path("videos"), "my film.mp4", line);
    let said = curate_in(&folder.path(""), &["try", "videos/my film.mp4"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.out,
        "   1      0.000 s to     4.000 s  kept\n   \
         2      4.000 s to     5.000 s  dropped by scenes: too_short (length 1, at least 3)\n"
    );
    let sheet = std::fs::read(folder.path("my film.sheet.jpg")).unwrap();
    assert!(sheet.starts_with(&[0xff, 0xd8, 0xff]) && sheet.len() > 3000);
    let mut left: Vec<_> = std::fs::read_dir(folder.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["my film.sheet.jpg", "videos"], "nothing else is left behind");

    let film = std::fs::read(folder.path("videos/my film.mp4")).unwrap();
    for sheet in ["videos/my film.mp4", "videos/../videos/my film.mp4"] {
        let said = curate_in(&folder.path(""), &["try", "videos/my film.mp4", "--sheet", sheet]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("--sheet"), "{}", said.err);
    }
    std::fs::hard_link(folder.path("videos/my film.mp4"), folder.path("my film.sheet.jpg2"))
        .unwrap();
    std::fs::rename(folder.path("my film.sheet.jpg2"), folder.path("my film.sheet.jpg")).unwrap();
    let said = curate_in(&folder.path(""), &["try", "videos/my film.mp4"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(film == std::fs::read(folder.path("videos/my film.mp4")).unwrap(), "it is as it was");

    std::fs::write(folder.path("broken.mp4"), "no video").unwrap();
    let said = curate_in(&folder.path(""), &["try", "broken.mp4"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("no clip came out of it"), "{}", said.err);
    assert_eq!(curate(&["try", &folder.text("absent.mp4")]).code, Some(2));
}

#[test]
fn answers_come_in_every_format() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let out = folder.text("out");
    let sql = "select status, num_frames from clips";
    let said = |format: &str| curate(&["query", &out, sql, "--format", format]).out;
    assert_eq!(said("csv"), "status,num_frames\nkept,100\n");
    assert_eq!(said("json"), "{\"status\":\"kept\",\"num_frames\":100}\n");
    assert!(said("table").contains("| kept   | 100        |"), "{}", said("table"));
    let text = curate(&["query", &out, sql, "--format", "parquet"]);
    assert_eq!(text.code, Some(2), "Parquet needs a file");
    let file = folder.text("rows.parquet");
    let parquet = curate(&["query", &out, sql, "--format", "parquet", "--output", &file]);
    assert_eq!(parquet.code, Some(0), "{}", parquet.err);
    assert!(std::fs::read(&file).unwrap().starts_with(b"PAR1"));
    let old = curate(&[
        "query",
        &out,
        "select count(*) as n from clips",
        "--version",
        "1",
        "--format",
        "csv",
    ]);
    assert_eq!(old.out, "n\n0\n", "{}", old.err);
    let wrong = curate(&["query", &out, "select nothing from nowhere"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    assert!(wrong.err.contains("nowhere") && wrong.err.contains("not found"), "{}", wrong.err);
    let absent = curate(&["query", &folder.text("absent"), sql]);
    assert_eq!(absent.code, Some(2), "{}", absent.err);
    assert!(absent.err.contains("absent"), "{}", absent.err);
    // Every column can be written as CSV, and no rows still have names.
    let all = curate(&["query", &out, "select * from clips", "--format", "csv"]);
    assert_eq!(all.out.lines().count(), 2, "{}", all.err);
    let none = format!("{sql} where false");
    let none = |format: &str| curate(&["query", &out, &none, "--format", format]).out;
    assert_eq!(none("csv"), "status,num_frames\n");
    assert!(none("table").contains("| status | num_frames |"), "{}", none("table"));
}

#[test]
fn the_schema_lists_every_column() {
    let said = curate(&["schema"]);
    assert_eq!(said.code, Some(0));
    for column in ["clip_id", "start_pts", "video_form", "stage_keys", "units_in_source"] {
        assert!(said.out.contains(column), "{column}");
    }
    let page = curate(&["schema", "--markdown"]);
    assert_eq!(page.out, include_str!("../docs/COLUMNS.md"));
}
