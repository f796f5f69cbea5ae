//! Which clips are copies of which, settled over the whole table: at the end of a run, and when
//! thresholds move.
//!
//! Clips that pass every other stage are compared, in the order of their sources and starts; the
//! first of a group stays ([`curate_stages::dedup::near`]). The result depends on what is in the table and on nothing
//! else, so it is the same however many runs, processes and kills it took to fill it. Each process that
//! has committed settles once more, one at a time, so the last one sees everything.

use std::{collections::HashMap, sync::Arc};

use arrow::{array::AsArray as _, datatypes::Int64Type};
use curate_schemas::{Clip, columns as c};
use curate_stages::dedup::{
    self,
    near::{Copies as Near, Limits, Row},
    print_of,
};
use curate_store::{Changes, Query, Store};
use serde_json::Value as Json;

use crate::judges::Judge;

/// What settling may change.
pub(crate) const SETTLED: [&str; 5] = [
    c::STATUS.name(),
    c::DROP_STAGE.name(),
    c::DROP_REASON.name(),
    c::DUP_OF.name(),
    c::DUP_DISTANCE.name(),
];

/// What comparing reads of each clip, beside what judging does.
pub(crate) const COMPARED: [&str; 9] = [
    c::TECHNICAL_CONTRAST.name(),
    c::TECHNICAL_EXPOSURE.name(),
    c::CLIP_ID.name(),
    c::SOURCE_URI.name(),
    c::START_S.name(),
    c::END_S.name(),
    c::PHASH.name(),
    c::PACKET_HASH.name(),
    c::STATUS.name(),
];

/// Clips that are copies: of which, and how far from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies(HashMap<String, (String, f32)>);

/// A clip's place in the order. The id tells spans apart that begin together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    source: Arc<str>,
    start_us: i64,
    id: String,
}

/// Collects the clips that are compared.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Their names, which many clips share, and numbers.
    sources: HashMap<String, (Arc<str>, u64)>,
    rows: Vec<Row<Place>>,
}

impl Candidates {
    /// Adds a clip, if there is anything to compare it by.
    pub(crate) fn push(&mut self, clip: &Clip) {
        let Some(print) = print_of(clip) else { return };
        let Some(id) = clip.get(c::CLIP_ID).cloned() else { return };
        let uri = clip.get(c::SOURCE_URI).map_or("", String::as_str);
        let number = self.sources.len() as u64;
        let known = self.sources.entry(uri.to_owned());
        let (source, number) = known.or_insert_with(|| (uri.into(), number)).clone();
        let second = |column| clip.get(column).copied().unwrap_or_default();
        let (start, end): (f64, f64) = (second(c::START_S), second(c::END_S));
        let key = Place { source, start_us: (start * 1e6).round() as i64, id };
        let looks =
            [c::TECHNICAL_CONTRAST, c::TECHNICAL_EXPOSURE].map(|column| clip.get(column).copied());
        self.rows.push(Row { key, print, seconds: end - start, source: number, looks });
    }

    /// Which of them are copies.
    pub(crate) fn copies(self, bits: u32) -> Copies {
        let mut near = Near::new(Limits { bits, ..Limits::default() });
        near.add(self.rows);
        let copies = (0..near.len()).filter_map(|row| {
            let original = near.original(row)?;
            Some((near.key(row)?.id.clone(), (original.key.id.clone(), original.bits as f32)))
        });
        Copies(copies.collect())
    }
}

impl Copies {
    /// Writes into a clip what it is a copy of. Whether that is news.
    pub(crate) fn note(&self, clip: &mut Clip) -> bool {
        let known = clip.get(c::CLIP_ID).and_then(|id| self.0.get(id));
        let before = (clip.get(c::DUP_OF).cloned(), clip.get(c::DUP_DISTANCE).copied());
        let after = (known.map(|(of, _)| of.clone()), known.map(|(_, bits)| *bits));
        let is_news = before != after;
        clip.put(c::DUP_OF, after.0);
        clip.put(c::DUP_DISTANCE, after.1);
        is_news
    }
}

const DEDUP: &str = dedup::ENTRY.kind;

/// The settings by which a table tells copies; `None` where it does not look for any.
fn settings(judge: &Json) -> Option<&Json> {
    let mut stages = judge.as_array()?.iter();
    stages.find(|stage| stage["stage"] == DEDUP).map(|stage| &stage["settings"])
}

/// The bits that copies may differ in; `None` where a table does not look for any.
pub(crate) fn bits_of(judge: &Json) -> Option<u32> {
    settings(judge)?["bits"].as_u64().and_then(|bits| u32::try_from(bits).ok())
}

/// Whether copies are dropped.
fn drops(judge: &Json) -> bool {
    settings(judge).is_some_and(|settings| settings["drop"] == true)
}

/// The stages but this one.
pub(crate) fn without_dedup(judges: &[Judge]) -> Vec<Judge> {
    judges.iter().filter(|judge| judge.kind != DEDUP).cloned().collect()
}

/// What settling has changed, and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Clips dropped as copies.
    pub(crate) dropped: u64,
    /// Clips that are no longer copies.
    pub(crate) let_in: u64,
    /// What the table holds in the end.
    pub(crate) table: Holds,
}

/// What a table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nobody looked: a person in a hurry is not made to wait for it.
    #[default]
    Unseen,
    /// Kept clips, among others perhaps.
    Kept,
    /// No kept clip: what became of how many, most first.
    NoneKept(Vec<(u64, String)>),
}

/// Settles which clips are copies, by the table's own threshold, and looks what is kept in the end.
pub(crate) async fn settle(store: &Store) -> anyhow::Result<Settled> {
    let mut settled = Settled::default();
    if bits_of(&store.meta().await?.judge).is_some() {
        compare(store, &mut settled).await?;
    }
    settled.table = holds(store).await?;
    Ok(settled)
}

/// Whether a table holds kept clips, and what became of the others where it does not.
async fn holds(store: &Store) -> anyhow::Result<Holds> {
    let query = Query::open(store, None).await?;
    let kept = query.sql("select 1 from clips where status = 'kept' limit 1").await?;
    if kept.collect().await?.iter().any(|batch| batch.num_rows() > 0) {
        return Ok(Holds::Kept);
    }
    let sql = "select status, coalesce(drop_stage, ''), coalesce(drop_reason, error_kind, ''), \
               count(*) as clips from clips group by 1, 2, 3 order by 4 desc, 1, 2, 3";
    let mut fates = Vec::new();
    for batch in query.sql(sql).await?.collect().await? {
        let text = |column: usize, row| batch.column(column).as_string::<i32>().value(row);
        let clips = batch.column(3).as_primitive::<Int64Type>();
        fates.extend((0..batch.num_rows()).map(|row| {
            let (status, stage, reason) = (text(0, row), text(1, row), text(2, row));
            let by = if stage.is_empty() { String::new() } else { format!(" by {stage}") };
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            (clips.value(row).unsigned_abs(), format!("{status}{by}{why}"))
        }));
    }
    Ok(Holds::NoneKept(fates))
}

/// Compares clips by the table's threshold. What other stages have said of a clip stays as it is,
/// whatever their thresholds are now.
async fn compare(store: &Store, settled: &mut Settled) -> anyhow::Result<()> {
    let _turn = store.turn().await?;
    let judge = store.meta().await?.judge;
    let Some(bits) = bits_of(&judge) else { return Ok(()) };
    let drops = drops(&judge);
    let is_copy = |clip: &Clip| clip.get(c::DROP_STAGE).is_some_and(|stage| stage == DEDUP);
    // What passes everything else: clips that are kept, or would be.
    let is_compared =
        |clip: &Clip| clip.get(c::STATUS).is_some_and(|status| status == "kept") || is_copy(clip);
    let mut names: Vec<&str> = COMPARED.into_iter().chain(SETTLED).collect();
    names.sort_unstable();
    names.dedup();

    let mut candidates = Candidates::default();
    let mut clips = store.clips(&names, None).await?;
    while let Some(batch) = clips.next_batch().await? {
        batch.iter().filter(|clip| is_compared(clip)).for_each(|clip| candidates.push(clip));
    }
    let copies = candidates.copies(bits);
    let mut changes = Changes::of(&SETTLED);
    let mut clips = store.clips(&names, None).await?;
    while let Some(mut batch) = clips.next_batch().await? {
        batch.retain_mut(|clip| {
            let mut is_news = copies.note(clip);
            let (was, is) = (is_copy(clip), drops && clip.get(c::DUP_OF).is_some());
            if is_compared(clip) && was != is {
                is_news = true;
                settled.dropped += u64::from(is);
                settled.let_in += u64::from(was);
                clip.set(c::STATUS, if is { "dropped" } else { "kept" }.to_owned());
                clip.put(c::DROP_STAGE, is.then(|| DEDUP.to_owned()));
                clip.put(c::DROP_REASON, is.then(|| dedup::REASON.to_owned()));
            }
            is_news
        });
        let changed: Vec<Clip> = batch.iter().map(only_settled).collect();
        changes.push(&changed)?;
    }
    if !changes.is_empty() {
        store.patch(&changes).await?;
    }
    Ok(())
}

/// The id of a clip and the columns that settling writes.
pub(crate) fn only_settled(clip: &Clip) -> Clip {
    let mut row = Clip::default();
    row.put(c::CLIP_ID, clip.get(c::CLIP_ID).cloned());
    row.put(c::STATUS, clip.get(c::STATUS).cloned());
    row.put(c::DROP_STAGE, clip.get(c::DROP_STAGE).cloned());
    row.put(c::DROP_REASON, clip.get(c::DROP_REASON).cloned());
    row.put(c::DUP_OF, clip.get(c::DUP_OF).cloned());
    row.put(c::DUP_DISTANCE, clip.get(c::DUP_DISTANCE).copied());
    row
}
