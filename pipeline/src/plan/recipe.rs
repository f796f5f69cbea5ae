//! The stages of a recipe, read and checked against each other.
//!
//! A problem that goes away when another is mended is not reported: what depends on a setting that
//! could not be read, and what the other stages lack when the one that cuts is not the first.

use std::{collections::BTreeMap, sync::Arc};

use curate_schemas::columns::CLIPS;

use super::{Ingredients, Models};
use crate::{Document, Problems, Shape, StageConfig, Unread, suggest::closest};

/// A stage of a known kind.
pub(super) struct Parsed {
    /// Its place in the recipe, counted from 1.
    number: usize,
    pub(super) kind: &'static str,
    pub(super) config: Arc<dyn StageConfig>,
    /// Whether all of its settings could be read; the others have their defaults.
    pub(super) is_whole: bool,
}

impl Parsed {
    /// A stage that needs no reading.
    pub(super) fn whole(number: usize, kind: &'static str, config: Arc<dyn StageConfig>) -> Self {
        Self { number, kind, config, is_whole: true }
    }

    /// Where problems with it are.
    pub(super) fn place(&self) -> String {
        format!("stage {} ({})", self.number, self.kind)
    }

    fn splits(&self) -> bool {
        self.config.shape() == Shape::Split
    }
}

/// Reads every stage whose kind is known.
pub(super) fn read_stages(
    document: &Document,
    ingredients: &Ingredients<'_>,
    problems: &mut Problems,
) -> Vec<Parsed> {
    let tables = document.stages.iter().enumerate();
    tables
        .filter_map(|(index, table)| read_stage(index + 1, table, ingredients, problems))
        .collect()
}

fn read_stage(
    number: usize,
    table: &toml::Table,
    ingredients: &Ingredients<'_>,
    problems: &mut Problems,
) -> Option<Parsed> {
    let entries = ingredients.entries;
    let mut table = table.clone();
    problems.enter(format!("stage {number}"));
    let kinds = || entries.iter().map(|entry| entry.kind);
    let known = || format!("known kinds: {}", kinds().collect::<Vec<_>>().join(", "));
    let kind = match table.remove("kind") {
        Some(toml::Value::String(kind)) => kind,
        Some(_) => {
            problems.report("kind", "must be a word in quotes").help = Some(known());
            return None;
        }
        None => {
            problems.report("kind", "every stage says its kind").help = Some(known());
            return None;
        }
    };
    let Some(entry) = entries.iter().find(|entry| entry.kind == kind) else {
        problems.report("kind", format!("there is no stage \"{kind}\"")).help =
            Some(match closest(&kind, kinds()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => known(),
            });
        return None;
    };
    let place = format!("stage {number} ({kind})");
    let stated = table.clone();
    let (mut config, unread) =
        Unread::read((&place, &stated), problems, |problems| (entry.parse)(&mut table, problems));
    unread.check(&place, problems, |problems| {
        config.look_up(&ingredients.around, problems);
        config.validate(problems);
    });
    let is_whole = unread.is_empty();
    Some(Parsed { number, kind: entry.kind, config: config.into(), is_whole })
}

/// Checks that one stage cuts, the first one, and that no stage is there twice.
pub(super) fn check_places(stages: &[Parsed], problems: &mut Problems) {
    for (index, stage) in stages.iter().enumerate() {
        problems.enter(stage.place());
        if stages[..index].iter().any(|other| other.kind == stage.kind) {
            problems.report("kind", "this stage is there twice").help =
                Some("a column has one writer: remove one of the two".to_owned());
        } else if stage.splits() && stage.number > 1 {
            let fault = "must be the first stage: the others measure the clips that it cuts";
            problems.report("kind", fault).help =
                stages[..index].first().map(|first| format!("move it before \"{}\"", first.kind));
        }
    }
    if let Some(first) = stages.first().filter(|first| first.number == 1)
        && !stages.iter().any(Parsed::splits)
    {
        problems.enter(first.place());
        problems.report("kind", "the first stage must cut sources into clips").help =
            Some("put a stage of kind \"scenes\" first".to_owned());
    }
}

/// Checks that columns are written before they are read, and each by one stage. The stage that cuts
/// counts as the first, where [`check_places`] asks for it.
pub(super) fn check_columns(stages: &[Parsed], problems: &mut Problems) {
    let mut stages: Vec<&Parsed> = stages.iter().collect();
    stages.sort_by_key(|stage| !stage.splits());
    let has_split = stages.first().is_some_and(|stage| stage.splits());
    let mut writers: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        problems.enter(stage.place());
        // By the stage that writes them later, if any does.
        let mut early: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
        for column in stage.config.reads().iter().filter(|column| !writers.contains_key(*column)) {
            let later = stages[index..].iter().find(|other| other.config.writes().contains(column));
            let writer = later.map(|other| other.kind);
            // Without a stage that cuts, what it would write is missing everywhere.
            if writer.is_some() || has_split {
                early.entry(writer).or_default().push(format!("`{column}`"));
            }
        }
        for (writer, columns) in early {
            let pronoun = if columns.len() == 1 { "it is" } else { "they are" };
            let fault = format!("reads {} before {pronoun} written", columns.join(", "));
            problems.report("kind", fault).help = Some(match writer {
                Some(later) => {
                    format!("move \"{later}\", which does that, before \"{}\"", stage.kind)
                }
                None => "no stage of this recipe does that".to_owned(),
            });
        }
        for column in stage.config.writes() {
            if CLIPS.position(column).is_none() {
                problems
                    .report("kind", format!("writes `{column}`, which the table does not have"));
            }
            if let Some(other) = writers.insert(column, stage.kind)
                && other != stage.kind
            {
                problems.report("kind", format!("writes `{column}`, as \"{other}\" does")).help =
                    Some("a column has one writer: remove one of the two".to_owned());
            }
        }
    }
}

/// Checks that the models are there. Their checksums, by stage; a stage that could not be read as a
/// whole may want others, and is passed over.
pub(super) fn check_models(
    stages: &[Parsed],
    models: &Models<'_>,
    problems: &mut Problems,
) -> Vec<Vec<String>> {
    let hashes = stages.iter().map(|stage| {
        problems.enter(stage.place());
        let ids = if stage.is_whole { stage.config.models() } else { Vec::new() };
        let found = ids.into_iter().filter_map(|id| match (models.check)(id) {
            Ok(hash) => Some(hash),
            Err(error) => {
                problems.report("", error);
                None
            }
        });
        found.filter(|hash| !hash.is_empty()).collect()
    });
    hashes.collect()
}
