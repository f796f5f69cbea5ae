//! `curate run` as a user sees it.

use std::time::Duration;

use crate::util::{Folder, curate, start};

fn rows(folder: &Folder, sql: &str) -> String {
    let said = curate(&["query", &folder.text("out"), sql, "--format", "csv"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

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
        rows(&folder, sql),
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
fn a_clip_can_be_explained_and_taken_out() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4]);
    let recipe = folder.recipe("p.toml", "out", "");
    assert_eq!(curate(&["run", &recipe]).code, Some(0));
    let id = rows(&folder, "select clip_id from clips").lines().nth(1).unwrap().to_owned();
    let why = curate(&["why", &folder.text("out"), &id, "--recipe", &recipe]);
    assert!(why.out.contains("at least 3") && why.out.contains("passes"), "{}{}", why.out, why.err);
    let file = folder.text("clip.mp4");
    let extract = curate(&["extract", &folder.text("out"), &id, "--output", &file]);
    assert_eq!(extract.code, Some(0), "{}", extract.err);
    assert!(std::fs::metadata(&file).unwrap().len() > 1000);
    let unknown = curate(&["why", &folder.text("out"), &"0".repeat(32), "--recipe", &recipe]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
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
    let units = rows(&folder, "select status, count(*) as n from units group by 1 order by 1");
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
    std::fs::write(&recipe, format!("{text}min_s = 2.0\n")).unwrap();
    let said = curate(&["run", &recipe]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("--judge file"), "{}", said.err);
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

    let four = folder.recipe("four.toml", "four", "workers = 4");
    assert_eq!(curate(&["run", &four]).code, Some(0));
    assert_eq!(folder.canonical("four"), reference);

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

/// Kills runs at many moments; afterwards the table equals that of a run that was left alone.
#[test]
fn soak_kills_change_nothing() {
    #[expect(clippy::disallowed_methods, reason = "the soak test is told how long it may take")]
    let kills: u64 =
        std::env::var("CURATE_SOAK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = Folder::new();
    for index in 0..6_usize {
        folder.video(&format!("{index}.mp4"), &[4, 3, 5][..=index % 3]);
    }
    let calm = folder.recipe("calm.toml", "calm", "commit_units = 1");
    assert_eq!(curate(&["run", &calm]).code, Some(0));
    let recipe = folder.recipe("p.toml", "out", "commit_units = 1");
    for kill in 0..kills {
        let mut child = start(&["run", &recipe]);
        // Spread over the length of a run, in an order that is the same every time.
        std::thread::sleep(Duration::from_millis(40 + kill * 137 % 700));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = curate(&["run", &recipe]);
    assert_eq!(last.code, Some(0), "{}", last.err);
    assert_eq!(folder.canonical("out"), folder.canonical("calm"));
    assert_eq!(curate(&["gc", &folder.text("out")]).code, Some(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let left = runtime.block_on(async {
        let store = curate_store::Store::open(&folder.path("out")).await.unwrap();
        store.unreferenced_files().await.unwrap()
    });
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(folder.canonical("out"), folder.canonical("calm"));
}
