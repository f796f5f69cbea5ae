//! `curate cuts`: the spans of a table's clips as cut lists, one for each source, called as
//! PySceneDetect calls them.
//!
//! All clips are listed, also those that were dropped or failed, so that a list made of a run gives
//! the same clips again (`detectors = [{ kind = "list" }]`). Times count from the start of the
//! video stream, and so do frame numbers, by the average rate: what PySceneDetect does. Adding up
//! the clips' frames was decided against: where the rate varies the sums name another moment than
//! the times beside them, and edges that were trimmed or damaged would shift what follows.
//!
//! The table does not say where a stream starts. It is its first clip's start, except in streams
//! that begin with frames which nobody can decode, so the source is asked while it is there.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use curate_media::{Access, probe};
use curate_schemas::{Clip, Span, columns as c};
use curate_stages::{
    scenes::{
        cuts::{Form, Scene},
        span,
    },
    sources::uri,
};
use curate_store::Store;

use crate::{Exit, UsageError, cli::CutFormat, progress::say};

/// How long looking at a source may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl From<CutFormat> for Form {
    fn from(format: CutFormat) -> Self {
        match format {
            CutFormat::Csv => Self::Csv,
            CutFormat::Edl => Self::Edl,
        }
    }
}

/// What to write.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) form: Form,
    /// The only source, by URI, path or id.
    pub(crate) source: Option<String>,
    /// Where to; standard output if there is one source.
    pub(crate) folder: Option<PathBuf>,
}

/// What the table says of a source.
#[derive(Debug, Default)]
struct Listed {
    uri: String,
    spans: Vec<Span>,
    frames: u64,
    fps: Option<f64>,
    /// PTS of the clip that the source begins with, if it is there.
    first: Option<i64>,
}

impl Listed {
    fn add(&mut self, clip: &Clip) {
        let Some(span) = span(clip) else { return };
        self.spans.push(span);
        self.frames += clip.get(c::NUM_FRAMES).map_or(0, |frames| u64::from(frames.unsigned_abs()));
        self.fps = self.fps.or(clip.get(c::FPS).copied().filter(|fps| *fps > 0.0));
        if clip.get(c::CUT_IN).is_some_and(|edge| edge == "source") {
            self.first = Some(span.start);
        }
    }

    /// PTS of the start of the stream.
    fn start_pts(&self) -> Option<i64> {
        if self.first == Some(0) {
            return self.first;
        }
        let time_base = self.spans.first()?.time_base;
        let path = uri::to_path(&self.uri);
        let info = path.and_then(|path| probe(&path, &Access::within(PATIENCE)).ok());
        let stated = info.map(|info| info.video).filter(|video| video.time_base == time_base);
        stated.map(|video| video.start_pts).or(self.first)
    }

    /// The average rate: the stream's, or that of its clips where it states none.
    fn fps(&self) -> f64 {
        let seconds: f64 = self.spans.iter().map(Span::seconds).sum();
        let of_clips = if seconds > 0.0 { self.frames as f64 / seconds } else { 0.0 };
        self.fps.unwrap_or(if of_clips > 0.0 { of_clips } else { 1.0 })
    }

    /// The scenes, if it is known where the stream starts.
    fn scenes(&mut self) -> Option<Vec<Scene>> {
        let start = self.start_pts()?;
        self.spans.sort_unstable_by_key(|span| (span.start, span.end));
        let scenes = self.spans.iter().map(|span| {
            let seconds = |pts: i64| span.time_base.seconds(pts.saturating_sub(start)).max(0.0);
            Scene { start_s: seconds(span.start), end_s: seconds(span.end) }
        });
        Some(scenes.collect())
    }

    /// The file's name without its ending.
    fn stem(&self) -> Option<OsString> {
        uri::to_path(&self.uri)?.file_stem().map(OsStr::to_owned)
    }
}

pub(crate) async fn cuts(out: &Path, choice: &Choice) -> anyhow::Result<Exit> {
    let mut sources = read(&Store::open(out).await?).await?;
    let names = names(&sources);
    if let Some(wanted) = &choice.source {
        let path = std::fs::canonicalize(wanted).ok().map(|path| uri::from_path(&path));
        sources.retain(|id, listed| {
            id == wanted || listed.uri == *wanted || path.as_ref() == Some(&listed.uri)
        });
    }
    if sources.is_empty() {
        let what = choice.source.as_deref().unwrap_or("any source");
        let out = out.display();
        return Err(UsageError(format!(
            "{out} has no clips of {what}; `curate query {out} \"select distinct source_uri, \
             source_id from clips\"` lists the sources"
        ))
        .into());
    }
    if choice.folder.is_none() && sources.len() > 1 {
        return Err(UsageError(format!(
            "{} sources are {} lists: name a folder with --output, or one source with --source",
            sources.len(),
            sources.len()
        ))
        .into());
    }
    if let Some(folder) = &choice.folder {
        std::fs::create_dir_all(folder)
            .map_err(|error| UsageError(format!("cannot make {}: {error}", folder.display())))?;
    }
    let mut exit = Exit::Complete;
    let mut stdout = std::io::stdout().lock();
    for (id, mut listed) in sources {
        let Some(scenes) = listed.scenes() else {
            say(&format!(
                "{}: left out, since its first clip is not in the table and it cannot be read, so \
                 nothing says where its times count from",
                listed.uri
            ));
            exit = Exit::Partial;
            continue;
        };
        let name = names.get(&id).map_or(OsStr::new(&id), OsString::as_os_str);
        let text = choice.form.write(&name.to_string_lossy(), &scenes, listed.fps());
        let Some(folder) = &choice.folder else {
            stdout.write_all(text.as_bytes())?;
            continue;
        };
        let path = folder.join(choice.form.file_name(name));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(stdout, "{}", path.display())?;
    }
    Ok(exit)
}

/// The sources of all clips, by id; still pictures are no clips.
async fn read(store: &Store) -> anyhow::Result<BTreeMap<String, Listed>> {
    let columns = [
        c::SOURCE_ID.name(),
        c::SOURCE_URI.name(),
        c::START_PTS.name(),
        c::END_PTS.name(),
        c::TB_NUM.name(),
        c::TB_DEN.name(),
        c::NUM_FRAMES.name(),
        c::FPS.name(),
        c::CUT_IN.name(),
    ];
    let mut clips = store.clips(&columns, Some("kind = 'video'")).await?;
    let mut sources: BTreeMap<String, Listed> = BTreeMap::new();
    while let Some(batch) = clips.next_batch().await? {
        for clip in &batch {
            let text = |column| clip.get(column).map_or("", String::as_str);
            let listed = sources.entry(text(c::SOURCE_ID).to_owned()).or_insert_with(|| Listed {
                uri: text(c::SOURCE_URI).to_owned(),
                ..Listed::default()
            });
            listed.add(clip);
        }
    }
    Ok(sources)
}

/// What the sources' lists are called after: the file's name, or the id where several files share
/// a name. The split looks for both.
fn names(sources: &BTreeMap<String, Listed>) -> BTreeMap<String, OsString> {
    let mut counts: BTreeMap<OsString, usize> = BTreeMap::new();
    for stem in sources.values().filter_map(Listed::stem) {
        *counts.entry(stem).or_default() += 1;
    }
    let name = |(id, listed): (&String, &Listed)| {
        let only = listed.stem().filter(|stem| counts.get(stem) == Some(&1));
        (id.clone(), only.unwrap_or_else(|| OsString::from(id)))
    };
    sources.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use curate_schemas::TimeBase;

    use super::*;

    fn clip(start: i64, end: i64, cut_in: &str) -> Clip {
        Clip::default()
            .with(c::TB_NUM, 1)
            .with(c::TB_DEN, 1000)
            .with(c::START_PTS, start)
            .with(c::END_PTS, end)
            .with(c::NUM_FRAMES, 50)
            .with(c::CUT_IN, cut_in.to_owned())
    }

    #[test]
    fn times_count_from_the_first_clip_of_a_source_that_is_gone() {
        let mut listed = Listed { uri: "file:///gone/a.mp4".to_owned(), ..Listed::default() };
        listed.add(&clip(3400, 5400, "cut"));
        assert_eq!(listed.scenes(), None);
        listed.add(&clip(1400, 3400, "source"));
        let scene = |start_s, end_s| Scene { start_s, end_s };
        assert_eq!(listed.scenes(), Some(vec![scene(0.0, 2.0), scene(2.0, 4.0)]));
        assert_eq!(listed.fps(), 25.0);
        assert_eq!(listed.spans[0].time_base, TimeBase { num: 1, den: 1000 });
    }

    #[test]
    fn files_with_the_same_name_are_called_by_their_ids() {
        let listed = |uri: &str| Listed { uri: uri.to_owned(), ..Listed::default() };
        let sources = BTreeMap::from([
            ("1".to_owned(), listed("file:///x/a.mp4")),
            ("2".to_owned(), listed("file:///y/a.mkv")),
            ("3".to_owned(), listed("file:///y/b%20c.mp4")),
            ("4".to_owned(), listed("s3://bucket/d.mp4")),
        ]);
        let named: Vec<OsString> = names(&sources).into_values().collect();
        assert_eq!(named, ["1", "2", "b c", "4"]);
    }
}
