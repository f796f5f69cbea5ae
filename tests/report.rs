//! `curate report` of a real table, used in a real browser.

use std::fs;

use curate_testing::python;

use crate::util::{Folder, curate, said};

#[test]
fn the_page_counts_as_the_table_does_and_is_used_by_keyboard() {
    let Some(samples) = curate_testing::samples() else { return };
    if curate_testing::models().is_none() {
        return;
    }
    let folder = Folder::new();
    let videos = folder.path("videos");
    let name = "bigbuckbunny.mp4";
    fs::copy(samples.join(name), videos.join(name)).unwrap();
    fs::copy(samples.join(name), videos.join("same again.mp4")).unwrap();
    folder.video("<b>\"a\" & 'b'.mp4", &[4, 5, 6, 4]);
    fs::write(videos.join("broken.mp4"), "no video").unwrap();
    let recipe = folder.recipe("p.toml", "out", "");
    let text = fs::read_to_string(&recipe).unwrap();
    let rest = "min_s = 2.0\n[[stage]]\nkind = \"motion\"\n[[stage]]\nkind = \"text\"\n\
                [[stage]]\nkind = \"quality\"\nsharpness = { min = 5.0 }\n\
                [[stage]]\nkind = \"dedup\"\n[[stage]]\nkind = \"caption\"\n";
    fs::write(&recipe, format!("{text}{rest}")).unwrap();
    let run = curate(&["run", &recipe]);
    assert_eq!(run.code, Some(3), "{}", run.err);
    let out = folder.text("out");
    let file = folder.text("report.html");
    let made = curate(&["report", &out, "-o", &file]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let page = fs::read_to_string(&file).unwrap();
    assert!(!page.contains("<b>\"a\""), "a name of a file is never markup");
    assert!(page.contains("broken.mp4"), "what failed is there");

    let kept = folder.rows("out", "select count(*) from clips where status = 'kept'");
    let kept = kept.lines().nth(1).unwrap().to_owned();
    let Some(mut browser) = python("report_browser.py") else { return };
    let ran = said(&browser.arg(&file).arg(folder.path("shots")).arg(&kept).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn a_table_without_clips_has_a_report() {
    let folder = Folder::new();
    folder.video("a.mp4", &[1]);
    let recipe = folder.recipe("p.toml", "out", "");
    curate(&["run", &recipe]);
    let made = curate(&["report", &folder.text("out")]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(folder.path("out/report.html").exists());
}
