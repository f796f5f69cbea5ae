//! What a stage is: a declarative half that is checked before anything loads, and a running half
//! in one of three shapes.
//!
//! Implement the narrowest shape that fits: [`Map`] (a clip at a time, on as many workers as the
//! CPU budget allows) before [`BatchMap`] (one owner thread, many clips at once: a model session
//! or a remote service) before [`Split`] (a unit of a source to clips).
//!
//! # Invariants
//! * A stage **measures**: it writes the columns it declares and nothing else. Thresholds live in
//!   [`StageConfig::checks`], which only read, so that they can be moved without measuring again.
//! * The same input gives the same output, alone or in a batch, on any worker.
//! * A clip that cannot be measured is a [`ClipError`]; it never takes others with it.

use std::{fmt, path::Path, time::Duration};

use curate_schemas::Clip;
use serde_json::Value as Json;

use crate::{
    BuildError, ClipError, FrameNeed, Frames, Problems, RunConfig, StageFault, Stop, Unit,
    UnitError,
};

/// A clip on its way through the stages, with the frames that were picked for it.
#[derive(Debug)]
pub struct Item {
    /// The row being filled in.
    pub clip: Clip,
    /// Frames from the one analysis decode.
    pub frames: Frames,
    /// Why an earlier stage dropped the clip, when the recipe measures rejected clips too.
    pub dropped: Option<(&'static str, &'static str)>,
    /// The unit it belongs to, with its source.
    pub unit: std::sync::Arc<Unit>,
    /// Frames that stages decoded for it once more, for the report; what was decoded before it failed
    /// need not be counted.
    pub frames_again: u64,
    /// How long stages of the shape [`Map`] waited with it for memory, which is no work.
    pub blocked: Duration,
}

/// What a filter made of a clip. Rejection is a result, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The clip goes on.
    Keep,
    /// The clip is stored as `dropped`.
    Drop {
        /// A stable word such as `too_short`.
        reason: &'static str,
    },
}

/// On which side of a threshold a value must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The value must not be smaller.
    AtLeast(f64),
    /// The value must not be larger.
    AtMost(f64),
}

/// One measured value against one threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is compared: a column, or a value derived from columns.
    pub what: &'static str,
    /// The measured value; `None` when it was not measured, which passes.
    pub value: Option<f64>,
    /// The threshold.
    pub bound: Bound,
    /// The stable word stored when it fails.
    pub reason: &'static str,
}

impl Check {
    /// Whether the value is on the right side.
    #[must_use]
    pub fn passes(&self) -> bool {
        match (self.value, self.bound) {
            (None, _) => true,
            (Some(value), Bound::AtLeast(min)) => value >= min,
            (Some(value), Bound::AtMost(max)) => value <= max,
        }
    }
}

/// The shape of a stage, known from its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A unit to clips.
    Split,
    /// A clip at a time.
    Map,
    /// Clips in batches.
    Batch,
}

/// What a stage occupies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU threads that one worker keeps busy.
    pub threads: usize,
    /// Upper limit on workers, whatever the CPU budget allows.
    pub max_workers: usize,
}

impl Resources {
    /// One worker keeps `threads` CPU threads busy; as many workers as fit the budget.
    #[must_use]
    pub fn cpu(threads: usize) -> Self {
        Self { threads: threads.max(1), max_workers: usize::MAX }
    }
}

/// What a stage is given when its running half is made.
#[derive(Clone, Copy, Debug)]
pub struct BuildContext<'a> {
    /// The run's settings.
    pub run: &'a RunConfig,
    /// Fingerprint of what decides which clips exist.
    pub split_id: &'a str,
    /// Frames that the stages after the split need, merged.
    pub need: FrameNeed,
    /// For interrupting calls into native libraries.
    pub stop: &'a Stop,
    /// The folder of the recipe: relative paths start here.
    pub base: &'a Path,
    /// The folder of models.
    pub models: &'a Path,
}

/// What a recipe's stages may look up outside of it, while it is read.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The recipe's folder: relative paths start here.
    pub base: &'a Path,
    /// The value of an environment variable. Keys of services come from there: a recipe is handed
    /// around, and its settings are stored in the table.
    pub variable: fn(&str) -> Option<String>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The declarative half of a stage: what the recipe says, checked before anything is loaded.
pub trait StageConfig: fmt::Debug + Send + Sync {
    /// The stage's shape.
    fn shape(&self) -> Shape;
    /// Columns it reads.
    fn reads(&self) -> &'static [&'static str] {
        &[]
    }
    /// Columns it reads where some stage writes them, and does without elsewhere.
    fn may_read(&self) -> &'static [&'static str] {
        &[]
    }
    /// Columns it writes. A column has exactly one writer.
    fn writes(&self) -> &'static [&'static str];
    /// Frames it needs.
    fn frames(&self) -> FrameNeed {
        FrameNeed::default()
    }
    /// Whether it has work to do on clips that an earlier stage dropped, even where those are not
    /// measured any further.
    fn wants_dropped(&self) -> bool {
        false
    }
    /// What it occupies.
    fn resources(&self) -> Resources {
        Resources::cpu(1)
    }
    /// Bytes of `memory` (`[run] memory`) that it may fill beside frames and clips in flight. Asked of
    /// the stage that every plan ends with.
    fn holds(&self, _memory: u64) -> u64 {
        0
    }
    /// Models it needs, by their ids; whether they are there is checked before anything runs.
    fn models(&self) -> Vec<&'static str> {
        Vec::new()
    }
    /// Bumped when the meaning of its output changes.
    fn revision(&self) -> u32 {
        1
    }
    /// The settings that change what is measured (model hashes included).
    fn measuring(&self) -> Json;
    /// The settings that only judge.
    fn judging(&self) -> Json {
        Json::Null
    }
    /// Looks up what the settings name outside of the recipe, such as files whose content is measured
    /// by, and reports what is not there. Called once, before everything else; not for settings that
    /// a table stores.
    fn look_up(&mut self, _around: &Surroundings<'_>, _problems: &mut Problems) {}
    /// Checks the settings against each other and reports every problem. One that follows from another
    /// setting too names that in backquotes: it is not reported where the other could not be read.
    fn validate(&self, _problems: &mut Problems) {}
    /// Checks the settings of the split against the frames that the stages after it need.
    fn validate_need(&self, _need: &FrameNeed, _problems: &mut Problems) {}
    /// The thresholds, applied to a measured clip, in the order in which they decide.
    fn checks(&self, _clip: &Clip) -> Vec<Check> {
        Vec::new()
    }
    /// Makes the running half; called once for each worker.
    ///
    /// # Errors
    /// When something it needs is not there; the message says which command brings it.
    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError>;

    /// Whether it reads a column, be it that it must or may.
    fn looks_at(&self, column: &str) -> bool {
        self.reads().contains(&column) || self.may_read().contains(&column)
    }

    /// The first failed check decides.
    fn judge(&self, clip: &Clip) -> Verdict {
        match self.checks(clip).iter().find(|check| !check.passes()) {
            None => Verdict::Keep,
            Some(check) => Verdict::Drop { reason: check.reason },
        }
    }
}

/// The running half: a closed set of shapes.
pub enum Stage {
    /// See [`Split`].
    Split(Box<dyn Split>),
    /// See [`Map`].
    Map(Box<dyn Map>),
    /// See [`BatchMap`].
    Batch(Box<dyn BatchMap>),
}

/// Measures a clip at a time.
pub trait Map: Send {
    /// Measures one clip.
    ///
    /// # Errors
    /// When this clip cannot be measured.
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError>;
}

/// Measures clips in batches, on one thread that owns a session or a connection.
pub trait BatchMap: Send {
    /// The most clips one call takes.
    fn max_batch(&self) -> usize;
    /// Measures a batch; the results are in the order of the clips.
    ///
    /// # Errors
    /// When the stage cannot go on at all. One clip's trouble is an `Err` in the list.
    fn map_batch(
        &mut self,
        items: &mut [&mut Item],
    ) -> Result<Vec<Result<(), ClipError>>, StageFault>;
}

/// The run was told to leave at once; give up the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Where a [`Split`] puts its clips.
pub trait Emit {
    /// Sends a clip on, waiting until there is room. A clip whose `stage_keys` are set comes out of
    /// a table: stages that have measured it under the same key are passed over.
    ///
    /// # Errors
    /// When the run is being abandoned.
    fn clip(&mut self, clip: Clip, frames: Frames) -> Result<(), Stopped>;
    /// Decoder threads for a unit that is opened now: its share of the cores. May wait a moment to
    /// hear whether there are other units.
    fn threads(&self) -> usize;
    /// Says how many frames have been decoded since the last call.
    fn decoded(&mut self, frames: u64);
}

/// What became of a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitReport {
    /// Frames decoded for analysis.
    pub frames_decoded: u64,
    /// Frames of the source that lie in the unit.
    pub frames_source: u64,
    /// Length of the stream in seconds, as the container says.
    pub duration_s: Option<f64>,
    /// What ended the unit early or damaged it; what could be decoded was emitted.
    pub damage: Option<UnitError>,
}

/// Cuts a unit of a source into clips.
pub trait Split: Send {
    /// Decodes `unit` once and emits its clips in time order.
    ///
    /// # Errors
    /// When nothing could be decoded. Damage that left something is in the report.
    fn split(&mut self, unit: &Unit, out: &mut dyn Emit) -> Result<SplitReport, UnitError>;
}

/// A kind of stage: the registry is an explicit, ordered slice of these.
#[derive(Clone, Copy)]
pub struct StageEntry {
    /// The word in the recipe.
    pub kind: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Reads the stage's table, reporting every problem.
    pub parse: fn(&mut toml::Table, &mut Problems) -> Box<dyn StageConfig>,
    /// What the table may say beside its kind: [`settings`](crate::schema::settings) of what `parse`
    /// reads.
    pub schema: fn() -> Json,
    /// The stage's part of the commented example.
    pub example: &'static str,
}

impl fmt::Debug for StageEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageEntry({})", self.kind)
    }
}
