//! What a clip's row says of the stages that have measured it: read from clips that come out of a
//! table, written when a clip ends.

use curate_schemas::{Clip, columns as c};

use super::{Event, Left, Outlet, Shared, workers::send};
use crate::{Item, Plan, PlannedStage, Score};

/// The keys of the stages that have measured a clip, as far as its row says.
fn stage_keys(clip: &Clip) -> serde_json::Map<String, serde_json::Value> {
    let stored = clip.get(c::STAGE_KEYS);
    stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Whether a clip that came out of a table was measured by the same stage with the same settings.
/// If not, what the stage wrote then is cleared, so that nothing old can survive among the new.
pub(super) fn has_measured(shared: &Shared<'_>, index: usize, clip: &mut Clip) -> bool {
    if clip.get(c::STAGE_KEYS).is_none() {
        return false;
    }
    let stage = &shared.plan.stages[index];
    if stage_keys(clip).get(stage.kind).is_some_and(|key| *key == stage.key) {
        return true;
    }
    for column in stage.config.writes() {
        clip.clear(column);
    }
    false
}

/// Whether a clip that was dropped only passes by a stage: clips that are rejected are not measured,
/// and it does not ask for them.
pub(super) fn is_beside(
    plan: &Plan,
    index: usize,
    dropped: Option<(&'static str, &'static str)>,
) -> bool {
    let Some((by, _)) = dropped.filter(|_| plan.run.score == Score::Kept) else { return false };
    let is_later = plan.stages[..index].iter().any(|stage| stage.kind == by);
    is_later && !plan.stages[index].config.wants_dropped()
}

/// Writes the engine's own columns and sends the clip to the collector, with the last stage that
/// saw it and whether it failed there.
pub(super) fn finish(
    shared: &Shared<'_>,
    (index, failed): (usize, bool),
    outlet: &Outlet,
    ticket: u64,
    item: Item,
) {
    // In the funnel a dropped clip ends where it was dropped, even if its bytes are stored later.
    let beside = |stage| is_beside(shared.plan, stage, item.dropped);
    let was_dropped = |stage: &PlannedStage| item.dropped.is_some_and(|(by, _)| by == stage.kind);
    let last = match shared.plan.stages.iter().position(was_dropped) {
        Some(place) if shared.plan.run.score == Score::Kept && !failed => place,
        _ => index,
    };
    let left = Left { last, dropped: item.dropped, failed, frames_again: item.frames_again };
    let mut clip = item.clip;
    // A clip from a table may have been measured by later stages before.
    let mut keys = stage_keys(&clip);
    let seen = shared.plan.stages[..=index].iter().enumerate();
    for (_, stage) in seen.filter(|(place, _)| !beside(*place)) {
        keys.insert(stage.kind.to_owned(), stage.key.clone().into());
    }
    // A caption that came with the source is the clip's where no stage decides about captions.
    let decides = |stage: &PlannedStage| stage.config.writes().contains(&c::CAPTION.name());
    if !shared.plan.stages.iter().any(decides)
        && let (None, Some(caption)) = (clip.get(c::CAPTION), &item.unit.source.caption)
    {
        clip.set(c::CAPTION, caption.clone());
        clip.set(c::CAPTION_MODEL, "source".to_owned());
    }
    clip.set(c::SPLIT_ID, shared.plan.split_id.clone());
    clip.set(c::STAGE_KEYS, serde_json::Value::Object(keys).to_string());
    clip.set(c::RUN_ID, shared.provenance.run_id.clone());
    clip.set(c::CURATE_VERSION, shared.provenance.curate_version.clone());
    clip.set(c::CREATED_AT, (shared.provenance.now)());
    send(outlet, Event::Clip { ticket, clip: Box::new(clip), left });
}
