//! The contract test of stages: what every stage must do, checked on any of them.
//!
//! A stage's own tests call [`assert_stage_contract`] with a few clips.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use curate_schemas::{Clip, SourceId, UnitId, columns::CLIPS};

use crate::{
    BuildContext, ClipError, Frames, Item, Problems, RunConfig, SourceRef, Stage, StageConfig,
    StageEntry, Stop, Unit,
};

/// An item around `clip` and `frames`, in a unit of a made-up source.
#[must_use]
pub fn item(clip: Clip, frames: Frames) -> Item {
    let id = SourceId::from_content(&[0; 32]);
    let source = SourceRef {
        id: id.clone(),
        uri: "file:///test.mp4".to_owned(),
        path: "/test.mp4".into(),
        bytes: 1,
        mtime: None,
        reading: crate::Reading::default(),
        caption: None,
        extra: None,
    };
    let unit = Unit {
        id: UnitId::new(&id, 0),
        source: Arc::new(source),
        units_in_source: 1,
        start: None,
        end: None,
    };
    Item {
        clip,
        frames,
        dropped: None,
        unit: Arc::new(unit),
        frames_again: 0,
        blocked: Duration::ZERO,
    }
}

/// Checks a `Map` or `Batch` stage against the contract:
///
/// * it is described, parses `settings` (TOML) without problems, and has them in its schema;
/// * it writes only columns it declares, each declared in the table with this stage as its writer;
/// * measuring the same clip twice gives the same values, on another worker too;
/// * a batch gives what its clips give alone, in the same order;
/// * judging changes nothing;
/// * its stored settings (measuring and judging together) make the same stage again.
///
/// # Panics
/// When the stage breaks the contract; the message says which rule.
pub fn assert_stage_contract(entry: &StageEntry, settings: &str, make: impl Fn() -> Vec<Item>) {
    assert!(!entry.summary.is_empty(), "`{}` has no summary", entry.kind);
    assert!(entry.example.contains(entry.kind), "`{}` has no example", entry.kind);
    let mut problems = Problems::default();
    let mut table: toml::Table = match settings.parse() {
        Ok(table) => table,
        Err(error) => panic!("the test's settings are not TOML: {error}"),
    };
    let schema = (entry.schema)();
    for key in table.keys() {
        let setting = &schema["properties"][key];
        assert!(setting.is_object(), "the schema of `{}` has no `{key}`", entry.kind);
    }
    let config = (entry.parse)(&mut table, &mut problems);
    config.validate(&mut problems);
    assert!(problems.is_empty(), "settings are refused: {:?}", problems.into_errors());
    for column in config.writes() {
        let Some(position) = CLIPS.position(column) else { panic!("`{column}` is not a column") };
        let writer = CLIPS.columns[position].writer;
        assert_eq!(writer, entry.kind, "columns.rs says that `{column}` is written by `{writer}`");
    }

    let (measuring, judging) = (config.measuring(), config.judging());
    let mut stored = crate::config::settings_table(&[&measuring, &judging]);
    let mut problems = Problems::default();
    let again = (entry.parse)(&mut stored, &mut problems);
    assert!(problems.is_empty(), "stored settings are refused: {:?}", problems.into_errors());
    assert_eq!((again.measuring(), again.judging()), (measuring, judging), "settings are lost");

    let first = measure(config.as_ref(), make());
    let second = measure(config.as_ref(), make());
    assert_eq!(first, second, "`{}` gives different values for the same clips", entry.kind);
    for (index, expected) in first.iter().enumerate() {
        let Some(single) = make().into_iter().nth(index) else {
            panic!("`make` gives different numbers of clips")
        };
        let alone = measure(config.as_ref(), vec![single]);
        assert_eq!(alone.first(), Some(expected), "clip {index} differs alone and in a batch");
    }
    let declared: BTreeSet<&str> = config.writes().iter().copied().collect();
    for (before, after) in make().iter().zip(&first) {
        let Ok(after) = after else { continue };
        for (position, spec) in CLIPS.columns.iter().enumerate() {
            let changed = before.clip.row().cell(position) != after.row().cell(position);
            assert!(
                !changed || declared.contains(spec.name),
                "`{}` changed `{}`",
                entry.kind,
                spec.name
            );
        }
        assert_eq!(config.judge(after), config.judge(after), "judging is not stable");
    }
}

fn measure(config: &dyn StageConfig, mut items: Vec<Item>) -> Vec<Result<Clip, ClipError>> {
    let mut run = RunConfig::default();
    run.resolve(1, &mut Problems::default());
    let stop = Stop::default();
    let context = BuildContext {
        run: &run,
        split_id: "",
        need: config.frames(),
        stop: &stop,
        base: Path::new("."),
        models: Path::new("."),
    };
    let results = match config.build(&context) {
        Ok(Stage::Map(mut map)) => items.iter_mut().map(|item| map.map(item)).collect(),
        Ok(Stage::Batch(mut batch)) => {
            let mut results = Vec::new();
            for chunk in items.chunks_mut(batch.max_batch().max(1)) {
                let mut chunk: Vec<&mut Item> = chunk.iter_mut().collect();
                match batch.map_batch(&mut chunk) {
                    Ok(some) => results.extend(some),
                    Err(fault) => panic!("the stage gave up: {fault}"),
                }
            }
            results
        }
        Ok(Stage::Split(_)) => panic!("the contract test is for stages that measure clips"),
        Err(error) => panic!("the stage cannot be built: {error}"),
    };
    assert_eq!(results.len(), items.len(), "one result for each clip");
    items.into_iter().zip(results).map(|(item, result)| result.map(|()| item.clip)).collect()
}
