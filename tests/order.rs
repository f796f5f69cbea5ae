//! `[run] order = "cost"` as a user sees it.

use crate::util::{Folder, curate};

fn recipe(folder: &Folder, out: &str, run: &str) -> String {
    let recipe = folder.recipe(&format!("{out}.toml"), out, run);
    let text = std::fs::read_to_string(&recipe).unwrap();
    // The costly one first; the cheap one drops every clip of one video.
    let stages = "[[stage]]\nkind = \"motion\"\nmethod = \"dis\"\n\
                  [[stage]]\nkind = \"probe\"\nmin_width = 300\n";
    std::fs::write(&recipe, format!("{text}{stages}")).unwrap();
    recipe
}

#[test]
fn cost_changes_who_drops_a_clip_and_not_which_are_kept() {
    let folder = Folder::new();
    folder.video("a.mp4", &[4, 5, 3]);
    let narrow = crate::util::scenes_of(&[4, 4], "-c:v libx264 -g 50");
    curate_testing::make(&folder.path("videos"), "b.mp4", &narrow.replace("320x180", "160x90"));
    let file = curate(&["run", &recipe(&folder, "file", "")]);
    assert_eq!(file.code, Some(0), "{}", file.err);
    let by_cost = recipe(&folder, "cost", "order = \"cost\"");
    let cost = curate(&["run", &by_cost]);
    assert_eq!(cost.code, Some(0), "{}", cost.err);
    assert!(
        cost.err.contains("order by cost, from 5 clips (decoded for this alone): probe ("),
        "{}",
        cost.err
    );
    let kept =
        "select start_s, end_s, source_uri, motion from clips where status = 'kept' order by 3, 1";
    assert_eq!(folder.rows("cost", kept), folder.rows("file", kept));
    let probed = "select count(*) as n from clips where drop_stage = 'probe'";
    assert_eq!(folder.rows("cost", probed), "n\n2\n");
    // Those that the cheap filter drops are not measured by the other.
    let spared = "select count(*) as n from clips where drop_stage = 'probe' and motion is null";
    assert_eq!(folder.rows("cost", spared), "n\n2\n");
    // The order is the table's from now on.
    let again = curate(&["run", &by_cost]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("nothing was decoded"), "{}", again.err);
    assert_eq!(curate(&["check", &by_cost]).code, Some(0));
}
