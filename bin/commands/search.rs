//! `curate search` and `curate index`: clips by the words of their captions, or by likeness.

use std::{io::Write as _, path::Path};

use curate_schemas::{Clip, ClipId, columns as c};
use curate_store::{Query, Search, Store, Wanted};
use serde_json::json;

use crate::{Exit, UsageError, progress::say};

/// What to search for.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) words: Vec<String>,
    /// A clip whose like are wanted.
    pub(crate) like: Option<String>,
    pub(crate) filter: Option<String>,
    pub(crate) limit: usize,
    pub(crate) json: bool,
}

const SHOWN: [&str; 7] = [
    c::CLIP_ID.name(),
    c::SOURCE_URI.name(),
    c::START_S.name(),
    c::END_S.name(),
    c::STATUS.name(),
    c::CAPTION.name(),
    c::CAPTION_MODEL.name(),
];

pub(crate) async fn search(out: &Path, choice: &Choice) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let words = choice.words.join(" ");
    let vector = match &choice.like {
        None => Vec::new(),
        Some(id) => embedding(&store, id).await?,
    };
    let wanted = match (&choice.like, words.is_empty()) {
        (Some(_), true) => Wanted::Like(&vector),
        (None, false) => Wanted::Words(&words),
        _ => {
            let words = "say what to look for: words of captions, or --like CLIP_ID";
            return Err(UsageError(words.to_owned()).into());
        }
    };
    if let Some(filter) = &choice.filter {
        // As a condition it must make sense to SQL, which says better what is wrong with it.
        let sql = format!("select clip_id from clips where ({filter}) limit 1");
        Query::open(&store, None).await?.sql(&sql).await?;
    }
    let filter = choice.filter.as_deref();
    let hits =
        store.search(Search { wanted, filter, limit: choice.limit, columns: &SHOWN }).await?;
    let mut stdout = std::io::stdout().lock();
    for hit in &hits {
        if choice.json {
            writeln!(stdout, "{}", json(&hit.clip, hit.score))?;
        } else {
            writeln!(stdout, "{}", line(&hit.clip, hit.score))?;
        }
    }
    if hits.is_empty() {
        let captions = format!("{} is not null", c::CAPTION.name());
        let names = [c::CLIP_ID.name()];
        let mut any = store.clips(&names, Some(&captions)).await?;
        let has_captions = any.next_batch().await?.is_some_and(|batch| !batch.is_empty());
        say(if has_captions || choice.like.is_some() {
            "nothing found"
        } else {
            "nothing found: no clip of this table has a caption; a stage of kind \"caption\" writes them"
        });
    }
    Ok(Exit::Complete)
}

async fn embedding(store: &Store, id: &str) -> anyhow::Result<Vec<f32>> {
    let id = ClipId::parse(id).map_err(|error| UsageError(error.to_string()))?;
    let clip = store.clip(&id).await?.ok_or_else(|| {
        UsageError(format!("there is no clip {id}; `curate query` lists the ids"))
    })?;
    clip.get(c::EMBEDDING).cloned().ok_or_else(|| {
        let words = format!("clip {id} has no embedding; the stage `aesthetic` measures them");
        UsageError(words).into()
    })
}

fn line(clip: &Clip, score: f32) -> String {
    let text = |column| clip.get(column).map_or("", String::as_str);
    let second = |column| clip.get(column).copied().unwrap_or_default();
    let name = text(c::SOURCE_URI).rsplit('/').next().unwrap_or_default();
    format!(
        "{score:7.3}  {}  {:<7}  {name} {:.1}-{:.1} s  {}",
        text(c::CLIP_ID),
        text(c::STATUS),
        second(c::START_S),
        second(c::END_S),
        plain(text(c::CAPTION))
    )
}

/// At most so many characters of a caption are shown; `--json` has them all.
const SHOWN_CHARACTERS: usize = 300;

/// Text on one line of a terminal, without what would steer it.
fn plain(text: &str) -> String {
    let whole = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut shown: String = whole.take(SHOWN_CHARACTERS).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

fn json(clip: &Clip, score: f32) -> serde_json::Value {
    json!({
        "score": score,
        "clip_id": clip.get(c::CLIP_ID),
        "source_uri": clip.get(c::SOURCE_URI),
        "start_s": clip.get(c::START_S),
        "end_s": clip.get(c::END_S),
        "status": clip.get(c::STATUS),
        "caption": clip.get(c::CAPTION),
        "caption_model": clip.get(c::CAPTION_MODEL),
    })
}

pub(crate) async fn index(out: &Path) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let has_any = store.index().await?;
    store.optimize_indices().await?;
    say(if has_any {
        "the indices are up to date"
    } else {
        "there is nothing to index for searching yet: no captions, and too few embeddings for an index"
    });
    Ok(Exit::Complete)
}
