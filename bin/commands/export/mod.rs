//! `curate export`: a table's clips in the forms that other programs read.
//!
//! | form | what it is | read by |
//! |---|---|---|
//! | `webdataset` | tar shards of `ID.mp4`, `ID.txt`, `ID.json` | webdataset, and loaders built on it |
//! | `folder` | `clips/ID.mp4` and `ID.txt`, and `metadata.jsonl` | anything |
//! | `easyanimate` | `clips/ID.mp4`, and `train.json` as EasyAnimate's trainer reads it | EasyAnimate |
//! | `parquet` | `data/train-*.parquet` with a `video` column | Hugging Face datasets, pyarrow |
//! | `csv`, `jsonl` | the rows without bytes | anything |
//!
//! An export is of one version of the table, which `export.json` names. Each file is written aside and
//! renamed, and what is there is not written again, so an export that was stopped goes on where it was.
//! Names are clip ids, which are hexadecimal digits: nothing of the data gets into a path.

mod card;
mod rows;
mod write;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use arrow::{
    array::AsArray as _,
    datatypes::{Int64Type, UInt64Type},
};
use curate_schemas::ClipId;
use curate_store::{Query, Store};
use serde_json::{Value as Json, json};

use self::write::Writer;
use crate::{Exit, UsageError, cli::ExportForm, progress::say};

/// What to export, and how.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) form: ExportForm,
    /// Which clips, in SQL.
    pub(crate) filter: String,
    /// The version, by number or tag; the newest otherwise.
    pub(crate) version: Option<String>,
    /// Bytes of a shard.
    pub(crate) shard_bytes: u64,
}

/// The file that says what an export is of.
const STATE: &str = "export.json";

/// A file that was half written this long ago is nobody's any more.
const STALE: Duration = Duration::from_secs(600);

/// Clips that go into one file together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shard {
    ids: Vec<ClipId>,
    bytes: u64,
}

pub(crate) async fn export(out: &Path, folder: &Path, choice: &Choice) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let version = match &choice.version {
        Some(word) => Some(store.version_of(word).await?),
        None => earlier(folder, choice),
    };
    let query = Query::open(&store, version).await?;
    let version = query.version();
    let clips = chosen(&query, choice).await?;
    if clips.is_empty() {
        let words =
            format!("no clip of {} is chosen by --where \"{}\"", out.display(), choice.filter);
        return Err(UsageError(words).into());
    }
    let lacking = clips.iter().filter(|(_, bytes)| bytes.is_none()).count();
    if lacking > 0 && choice.form.has_bytes() {
        return Err(UsageError(format!(
            "{lacking} of {} chosen clips have no bytes in the table: choose others with --where \
             (\"video_bytes is not null\"), fill them in with `curate run RECIPE --backfill`, or \
             export --format jsonl",
            clips.len()
        ))
        .into());
    }
    state(folder, &description(choice, version))?;
    sweep(folder);
    let silent = without_caption(&query, choice).await?;
    if silent > 0 {
        say(&format!(
            "{silent} of {} clips have no caption; they are exported with an empty one",
            clips.len()
        ));
    }
    let shards = shards(&clips, choice.shard_bytes);
    let writer = Writer { store: &store, version, folder, form: choice.form };
    let written = writer.write(&query, &shards, choice).await?;
    let card = card::card(&store, &query, out, choice, &clips).await?;
    write::whole(&folder.join("README.md"), card.as_bytes())?;
    say(&format!(
        "{} clips of version {version} are in {} ({} files written, {} were there)",
        clips.len(),
        folder.display(),
        written.new,
        written.old
    ));
    Ok(Exit::Complete)
}

/// How many of the chosen clips have no caption.
async fn without_caption(query: &Query, choice: &Choice) -> anyhow::Result<i64> {
    let sql = format!("select count(*) from clips where ({}) and caption is null", choice.filter);
    let batches = query.sql(&sql).await?.collect().await?;
    Ok(batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0)))
}

/// Removes what exports that died have left half written. A younger file may be another export's.
fn sweep(folder: &Path) {
    for folder in [folder.to_owned(), folder.join("data"), folder.join("clips")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_part = entry.file_name().to_str().is_some_and(|name| name.starts_with(".part-"));
            let age = entry.metadata().and_then(|about| about.modified());
            let is_old = age.is_ok_and(|age| age.elapsed().is_ok_and(|age| age > STALE));
            if is_part && is_old {
                fs::remove_file(entry.path()).unwrap_or_default();
            }
        }
    }
}

/// What makes two exports the same.
fn description(choice: &Choice, version: u64) -> Json {
    json!({
        "form": format!("{:?}", choice.form).to_lowercase(),
        "where": choice.filter,
        "version": version,
        "shard_bytes": choice.shard_bytes,
    })
}

/// The version of an export of the same choice that was begun here.
fn earlier(folder: &Path, choice: &Choice) -> Option<u64> {
    let text = fs::read_to_string(folder.join(STATE)).ok()?;
    let known: Json = serde_json::from_str(&text).ok()?;
    let version = known["version"].as_u64()?;
    (known == description(choice, version)).then_some(version)
}

/// Begins an export in a folder, or goes on with the one that is there.
fn state(folder: &Path, description: &Json) -> anyhow::Result<()> {
    let path = folder.join(STATE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let known: Json = serde_json::from_str(&text).unwrap_or_default();
            if known == *description {
                return Ok(());
            }
            Err(UsageError(format!(
                "{} holds another export ({known}): choose another folder, or remove it",
                folder.display()
            ))
            .into())
        }
        Err(_absent) => {
            let mut there = fs::read_dir(folder).into_iter().flatten();
            if there.next().is_some() {
                let words = format!("{} is not empty: choose another folder", folder.display());
                return Err(UsageError(words).into());
            }
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            write::whole(&path, format!("{description:#}\n").as_bytes())
        }
    }
}

/// The chosen clips in the order of their ids, with the sizes of their bytes.
async fn chosen(query: &Query, choice: &Choice) -> anyhow::Result<Vec<(ClipId, Option<u64>)>> {
    let sql = format!(
        "select clip_id, cast(video_bytes as bigint unsigned) from clips where ({}) order by clip_id",
        choice.filter
    );
    let mut found = Vec::new();
    for batch in query.sql(&sql).await?.collect().await? {
        let (ids, sizes) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<UInt64Type>());
        for (id, size) in ids.iter().flatten().zip(sizes) {
            found.push((ClipId::parse(id)?, size));
        }
    }
    Ok(found)
}

/// Consecutive clips of at most so many bytes together; a larger one is alone.
fn shards(clips: &[(ClipId, Option<u64>)], most: u64) -> Vec<Shard> {
    let mut shards: Vec<Shard> = Vec::new();
    for (id, bytes) in clips {
        let bytes = bytes.unwrap_or(0);
        match shards.last_mut() {
            Some(last) if last.bytes + bytes <= most => {
                last.ids.push(id.clone());
                last.bytes += bytes;
            }
            _ => shards.push(Shard { ids: vec![id.clone()], bytes }),
        }
    }
    shards
}

/// A shard's name, such as `clips-000003.tar`.
fn numbered(stem: &str, index: usize, ending: &str) -> PathBuf {
    PathBuf::from(format!("{stem}-{index:06}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_is_in_one_shard() {
        let id = |number: u8| ClipId::parse(&format!("{number:032x}")).unwrap();
        let sizes = [3, 4, 20, 1, 0, 9, 2];
        let clips: Vec<_> = (0..).zip(sizes).map(|(n, size)| (id(n), Some(size))).collect();
        let found = shards(&clips, 10);
        let together: Vec<ClipId> = found.iter().flat_map(|shard| shard.ids.clone()).collect();
        assert!(together.iter().eq(clips.iter().map(|(id, _)| id)));
        assert_eq!(found.iter().map(|shard| shard.bytes).collect::<Vec<_>>(), [7, 20, 10, 2]);
        assert!(shards(&[], 10).is_empty());
    }
}
