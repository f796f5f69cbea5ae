//! The page as a file: that it says what the data say, that nothing breaks out of it, that it is small.

use std::{collections::BTreeSet, path::Path};

use curate_pipeline::{Bound, Check};
use curate_testing::{ffmpeg, python, skip};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{
    BadUnit, CSS, ClipRow, HTML, Limit, ReportData, SCRIPTS, Score, Side, every, render,
    synthetic::{Dice, HOSTILE, table},
    wanted_thumbnails,
};

/// Bytes that no compression of ours makes smaller, as many as a small JPEG has.
fn picture(row: usize) -> Vec<u8> {
    let mut dice = Dice(row as u64);
    (0..4500).map(|_| dice.next() as u8).collect()
}

/// What stands in one of the page's elements for data.
fn embedded(page: &str, id: &str) -> Json {
    let begin = page.find(&format!("<script type=\"application/json\" id=\"{id}\"")).unwrap();
    let begin = begin + page[begin..].find('>').unwrap() + 1;
    let end = begin + page[begin..].find("</script>").unwrap();
    serde_json::from_str(&page[begin..end]).unwrap()
}

fn words(json: &Json) -> BTreeSet<&str> {
    json["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn nothing_in_the_data_is_taken_for_markup() {
    let mut data = table(60, 5, &|_| Vec::new());
    data.table = HOSTILE[0].to_owned();
    data.split_id = HOSTILE[1].to_owned();
    for (clip, text) in data.clips.iter_mut().zip(HOSTILE.iter().cycle()) {
        let text = (*text).to_owned();
        *clip = ClipRow {
            id: clip.id.clone(),
            source: text.clone(),
            status: text.clone(),
            stage: Some(text.clone()),
            reason: Some(text.clone()),
            message: Some(text.clone()),
            caption: Some(text.clone()),
            caption_model: Some(text.clone()),
            flags: vec![text.clone()],
            lacks: vec![text],
            ..ClipRow::default()
        };
    }
    let page = render(&data);
    // Tags of the page's own, and no more of them whatever the data say.
    let plain = render(&ReportData::default());
    for tag in ["<script", "</script", "<img", "<!--", "<b>", "window.broken = 1</", "onerror=\""] {
        assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}");
    }
    // And they arrive whole.
    let read = embedded(&page, "data");
    for column in ["source", "status", "stage", "reason", "message", "caption"] {
        assert_eq!(words(&read["rows"][column]), HOSTILE.into_iter().collect(), "{column}");
    }
    assert_eq!((&read["table"], &read["split_id"]), (&HOSTILE[0].into(), &HOSTILE[1].into()));
    // Placeholders in data are data.
    let page = render(&ReportData { table: "{{script}}".to_owned(), ..ReportData::default() });
    assert_eq!(embedded(&page, "data")["table"], "{{script}}");
    assert_eq!(page.matches("JSON.parse").count(), plain.matches("JSON.parse").count());
}

#[test]
fn the_page_names_nothing_outside_of_it() {
    for (source, allowed) in SCRIPTS.iter().chain([&HTML, &CSS]).zip([0, 1, 0, 0, 0, 0]) {
        assert_eq!(source.matches("://").count(), allowed);
        assert!(
            !source.contains("url(") && !source.contains("@import") && !source.contains("import ")
        );
        assert!(!source.contains("innerHTML") && !source.contains("eval("));
    }
    // The one address is the name of SVG, which nothing opens.
    assert!(SCRIPTS[1].contains("http://www.w3.org/2000/svg"));
    assert!(HTML.contains("default-src 'none'"));
}

#[test]
fn ten_thousand_clips_take_less_than_ten_megabytes() {
    let usual = render(&table(10_000, 1, &picture));
    assert!(usual.len() < 10_000_000, "{}", usual.len());
    let pictures = embedded(&usual, "thumbs").as_object().unwrap().len();
    assert!(pictures > 600, "{pictures} pictures");

    // As bad as it gets: long texts that have to be escaped, all of them different, wide values.
    let mut data = table(10_000, 1, &picture);
    for (row, clip) in data.clips.iter_mut().enumerate() {
        let text = format!("{row}{}", "<&>\"\0\u{1f600}".repeat(1000));
        clip.source = text.clone();
        clip.message = Some(text.clone());
        clip.caption = Some(text);
    }
    data.recipe = Some("<".repeat(1_000_000));
    let unit = BadUnit {
        status: "failed".to_owned(),
        kind: "open".to_owned(),
        source: "<".repeat(10_000),
        message: "\0".repeat(10_000),
    };
    data.bad_units = vec![unit; 5000];
    for score in &mut data.scores {
        score.values[0] = Some(0.1);
    }
    let worst = render(&data);
    assert!(worst.len() < 10_000_000, "{}", worst.len());
    assert!(embedded(&worst, "thumbs").as_object().unwrap().len() > 100);
}

#[test]
fn tables_without_this_or_that_have_a_page() {
    let empty = render(&ReportData::default());
    assert_eq!(embedded(&empty, "data")["count"], 0);
    assert!(empty.contains("0 clips: 0 kept, 0 dropped, 0 failed."));

    let mut none_kept = table(50, 2, &|_| Vec::new());
    none_kept.scores[0].limits[0].value = Some(1e9);
    assert_eq!(none_kept.passing(), 0);
    render(&none_kept);

    // A column that is not there, or ends early: those clips were not measured, and pass.
    let mut short = table(50, 2, &|_| Vec::new());
    let before = short.passing();
    short.scores.iter_mut().for_each(|score| score.values.truncate(10));
    let all = short.clips.iter().filter(|clip| clip.status != "failed").count();
    assert!(before < short.passing() && short.passing() <= all);
    let read = embedded(&render(&short), "data");
    assert_eq!(
        read["scores"][0]["values"]["data"].as_str().unwrap().len(),
        (50 * 8_usize).div_ceil(3) * 4
    );
    short.scores.clear();
    assert_eq!(short.passing(), all);
    assert_eq!(wanted_thumbnails(&short).len(), 50);
}

/// In a real Chromium: no message on the console, no request, sliders, filters and search by keyboard,
/// light and dark, two widths. For a table of 10 000 clips, an empty one, and one that kept nothing.
#[test]
fn people_can_use_the_page() {
    if !["chromium", "chromedriver"].iter().all(|name| Path::new("/usr/bin").join(name).exists()) {
        return skip("Chromium", "Debian's packages chromium and chromium-driver have it");
    }
    let frame = |second: u32| {
        let source = format!("testsrc2=size=160x120:rate=1:duration=9,trim=start={second}");
        ffmpeg(["-f", "lavfi", "-i", &source, "-frames:v", "1", "-q:v", "6", "-f", "mjpeg", "-"])
    };
    let frames: Vec<Vec<u8>> = (0..8).map(frame).collect();
    let picture = |row: usize| frames[row % frames.len()].clone();
    let full = table(10_000, 1, &picture);
    let mut none_kept = table(40, 1, &picture);
    none_kept.clips.iter_mut().for_each(|clip| clip.status = "failed".to_owned());
    none_kept.verdicts.iter_mut().for_each(|line| line.status = "failed".to_owned());
    none_kept.scores.clear();
    none_kept.stages.clear();
    none_kept.runs.clear();
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in [("full", &full), ("empty", &ReportData::default()), ("none", &none_kept)] {
        let Some(mut browser) = python("report_browser.py") else { return };
        let file = folder.path().join(format!("{name}.html"));
        std::fs::write(&file, render(data)).unwrap();
        browser.arg(&file).arg(folder.path().join(name)).arg(data.passing().to_string());
        let ran = browser.output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_same_table_makes_the_same_page() {
    let page = || render(&table(300, 7, &picture));
    assert_eq!(page(), page());
}

#[test]
fn large_tables_are_thinned() {
    assert_eq!([0, 1, 50_000, 50_001, 1_000_000].map(every), [1, 1, 1, 2, 20]);
}

#[test]
fn pictures_are_of_the_clips_that_a_threshold_decides() {
    let data = table(2000, 3, &|_| Vec::new());
    let wanted = wanted_thumbnails(&data);
    let row = |id: &String| data.clips.iter().position(|clip| clip.id == *id).unwrap();
    assert_eq!(wanted.iter().collect::<BTreeSet<_>>().len(), wanted.len());
    // The first threshold is the least length of 3 s: the kept ones come first, nearest first.
    let length = |id: &String| data.scores[0].values[row(id)].unwrap();
    let (kept, dropped) = (&wanted[..10], &wanted[10..20]);
    let failures = data.failures();
    for (ids, fails, above) in [(kept, 0, true), (dropped, 1, false)] {
        assert!(ids.is_sorted_by(|a, b| (length(a) - 3.0).abs() <= (length(b) - 3.0).abs()));
        for id in ids {
            assert_eq!((failures[row(id)], length(id) >= 3.0), (fails, above));
        }
        let last = (length(&ids[9]) - 3.0).abs();
        let nearer = (0..data.clips.len()).filter(|&row| {
            let value = data.scores[0].values[row];
            failures[row] == fails
                && data.clips[row].status != "failed"
                && value.is_some_and(|v| (v >= 3.0) == above && (v - 3.0).abs() < last)
        });
        assert!(nearer.count() <= 10);
    }
    // Every verdict is shown.
    let shown: BTreeSet<_> = wanted.iter().map(|id| &data.clips[row(id)].reason).collect();
    assert_eq!(shown, data.clips.iter().map(|clip| &clip.reason).collect());
}

fn value() -> impl Strategy<Value = Option<f64>> {
    let odd = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.1)];
    prop_oneof![
        2 => Just(None),
        1 => odd.prop_map(Some),
        6 => (-4_i32..5).prop_map(|value| Some(f64::from(value) / 2.0)),
    ]
}

fn limit(side: Side) -> impl Strategy<Value = Limit> {
    let value = prop::option::of((-4_i32..5).prop_map(|value| f64::from(value) / 2.0));
    value.prop_map(move |value| Limit {
        key: Some("a.b".to_owned()),
        side,
        value,
        is_optional: true,
    })
}

proptest! {
    /// What is kept is what the engine's own checks keep, clip by clip.
    #[test]
    fn counts_equal_those_of_the_engine(
        columns in prop::collection::vec(
            (prop::collection::vec(value(), 40), limit(Side::AtLeast), limit(Side::AtMost)), 0..5),
        unjudged in prop::collection::vec(0..12_u8, 40),
    ) {
        let mut data = ReportData::default();
        for (values, min, max) in &columns {
            let limits = vec![min.clone(), max.clone()];
            data.scores.push(Score { values: values.clone(), limits, ..Score::default() });
        }
        for kind in &unjudged {
            let status = ["failed", "dropped"].get(usize::from(*kind)).unwrap_or(&"kept");
            let status = (*status).to_owned();
            data.clips.push(ClipRow { status, is_final: *kind == 1, ..ClipRow::default() });
        }
        let check = |value, limit: &Limit| {
            let bound = match limit.side {
                Side::AtLeast => Bound::AtLeast(limit.value?),
                Side::AtMost => Bound::AtMost(limit.value?),
            };
            Some(Check { what: "", value, bound, reason: "" })
        };
        let naive = (0..40).filter(|&row| {
            let mut checks = columns
                .iter()
                .flat_map(|(values, min, max)| [check(values[row], min), check(values[row], max)])
                .flatten();
            unjudged[row] > 1 && checks.all(|check| check.passes())
        });
        prop_assert_eq!(naive.count(), data.passing());
    }
}
