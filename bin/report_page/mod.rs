//! The report: one HTML file with everything in it that a person looks at before moving a threshold.
//!
//! The page draws itself from data that it carries (`wire.rs`), with hand-written SVG and controls of
//! the browser: no library, since what is drawn is bars, and sliders of the browser are understood by
//! keyboards and screen readers already. Nothing in the data is ever taken for markup: it stands as JSON
//! in a `script` element in which `<`, `>` and `&` are escapes, and the scripts write it with
//! `textContent` only. Should both fail, the page's policy lets nothing run that lacks its nonce and
//! nothing be fetched at all. The nonce is a hash of the data, so who writes a caption cannot know it,
//! and the same table makes the same file.
//!
//! Size: at most 10 MB for 10 000 clips. Values and rows come first, with a budget for texts
//! (`wire.rs`); pictures get what is left of [`MOST_BYTES`], [`THUMB_BYTES`] at most.

mod data;
mod gather;
mod limits;
mod wire;

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    data::{
        BadUnit, ClipRow, Limit, ModelLine, ReportData, RunLine, Score, Side, StageLine, StageTime,
        VerdictCount, wanted_thumbnails,
    },
    gather::{Gather, Judged},
};

/// Size of the whole file for 10 000 clips.
const MOST_BYTES: usize = 9_800_000;

/// All pictures together, in base64. Pictures of 160 x 120 pixels at quality 60 take 3 to 6 kB.
const THUMB_BYTES: usize = 4_500_000;

/// Larger tables are shown by every n-th clip; what the page counts are estimates then, and it says so.
pub(crate) const MOST_CLIPS: u64 = 50_000;

/// Which of a table's clips the report takes: every n-th.
pub(crate) fn every(clips: u64) -> u64 {
    clips.div_ceil(MOST_CLIPS).max(1)
}

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
/// In the order in which they build on each other; one scope.
const SCRIPTS: [&str; 4] = [
    include_str!("model.js"),
    include_str!("scores.js"),
    include_str!("clips.js"),
    include_str!("page.js"),
];

/// The page.
pub(crate) fn render(data: &ReportData) -> String {
    let json = wire::json(data);
    let script = SCRIPTS.join("\n");
    let rest = HTML.len() + CSS.len() + script.len() + json.len();
    let room = MOST_BYTES.saturating_sub(rest).min(THUMB_BYTES);
    let thumbs = wire::thumbs(data, &wanted_thumbnails(data), room);
    let nonce = blake3::hash(json.as_bytes()).to_hex();
    let title = escape(&data.table);
    let sum = escape(&summary(data));
    // In one pass: what is put in is not looked through again.
    let mut page = String::with_capacity(rest + thumbs.len() + 1024);
    for (index, piece) in HTML.split("{{").enumerate() {
        let (name, after) = match piece.split_once("}}") {
            Some(parts) if index > 0 => parts,
            _ => ("", piece),
        };
        page.push_str(match name {
            "title" => &title,
            "summary" => &sum,
            "nonce" => &nonce,
            "css" => CSS,
            "script" => &script,
            "data" => &json,
            "thumbs" => &thumbs,
            _ => "",
        });
        page.push_str(after);
    }
    page
}

/// The table in a sentence, for readers without scripts.
fn summary(data: &ReportData) -> String {
    let count = |status: &str| -> u64 {
        data.verdicts.iter().filter(|line| line.status == status).map(|line| line.clips).sum()
    };
    let [kept, dropped, failed] = ["kept", "dropped", "failed"].map(count);
    let all = kept + dropped + failed;
    format!("{all} clips: {kept} kept, {dropped} dropped, {failed} failed.")
}

/// Text for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}
