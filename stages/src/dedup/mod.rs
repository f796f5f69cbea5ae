//! `dedup`: drops clips that are copies of others.
//!
//! Measured per clip: a hash of its packets, which copies of a file share, and a perceptual hash of its
//! frames, which survives other codecs, sizes, borders, small crops and mirroring ([`hash`]). Which clip
//! is a copy of which is not of a clip but of the whole table; so it is settled when a run has
//! committed everything, and when thresholds move ([`near`]). Until then a clip passes.
//!
//! Only clips that pass everything else are compared: what a copy is dropped for is always kept.

pub mod hash;
pub mod near;

use curate_media::{Access, packet_hash};
use curate_pipeline::{
    Bound, BuildContext, BuildError, Check, ClipError, FrameNeed, Grid, Item, Map, Problems, Shape,
    Stage, StageConfig, StageEntry, config::read_table, schema::settings,
};
use curate_schemas::{Clip, columns as c};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    film::access,
    quality::Grey,
    sample::{bgr_at_most, some_of},
    scenes::span,
};

/// Frames are hashed no larger than this; they are reduced much further.
const MAX_SIDE: u32 = 256;
/// Frames are picked from a grid of so many a second.
const PER_SECOND: f64 = 2.0;

/// Settings of the `dedup` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// Clips whose perceptual hashes differ in so many bits or fewer are copies, the mirrored hash
    /// counting as well; of 64, where unrelated clips differ in 32. 0 is for the same hash only.
    pub bits: u32,
    /// Whether copies are dropped; else `dup_of` only says which they are.
    pub drop: bool,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self { bits: near::Limits::default().bits, drop: true }
    }
}

/// Why a copy is dropped.
pub const REASON: &str = "copy";

/// The registry entry.
pub const ENTRY: StageEntry = StageEntry {
    kind: "dedup",
    summary: "drop clips that are copies of others",
    parse: |table, problems| Box::new(read_table::<DedupConfig>(table, problems)),
    schema: settings::<DedupConfig>,
    example: "[[stage]]\nkind = \"dedup\"         # settled at the end of a run, over the whole table\n\
              # bits = 10               # of 64 that copies may differ in\n\
              # drop = false            # only say which they are\n",
};

impl StageConfig for DedupConfig {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn writes(&self) -> &'static [&'static str] {
        &["packet_hash", "phash"]
    }

    fn frames(&self) -> FrameNeed {
        let grid = Grid { per_second: PER_SECOND, max_side: MAX_SIDE };
        FrameNeed { grid: Some(grid), ..FrameNeed::default() }
    }

    fn measuring(&self) -> Json {
        json!({})
    }

    fn judging(&self) -> Json {
        json!({ "bits": self.bits, "drop": self.drop })
    }

    fn validate(&self, problems: &mut Problems) {
        let most = near::Limits::MOST_BITS;
        if self.bits > most {
            problems.report("bits", format!("must be 0 to {most}")).help = Some(
                "beyond that, clips that only look a little alike are taken for copies".into(),
            );
        }
    }

    fn checks(&self, clip: &Clip) -> Vec<Check> {
        if !self.drop {
            return Vec::new();
        }
        let copy = clip.get(c::DUP_OF).and_then(|_| clip.get(c::DUP_DISTANCE));
        vec![Check {
            what: "dup_distance",
            value: copy.map(|distance| f64::from(*distance)),
            bound: Bound::AtLeast(f64::from(self.bits + 1)),
            reason: REASON,
        }]
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Stage, BuildError> {
        Ok(Stage::Map(Box::new(Hashes { access: access(context, None) })))
    }
}

/// The running half.
struct Hashes {
    access: Access,
}

impl Map for Hashes {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let frames = some_of(item, PER_SECOND, hash::FRAMES)?;
        let mut greys = Vec::with_capacity(frames.len());
        for frame in frames {
            let picture = bgr_at_most(frame, MAX_SIDE)?;
            let (width, height) = (picture.width as usize, picture.height as usize);
            greys.extend(Grey::from_bgr(width, height, &picture.data));
        }
        let source = &item.unit.source;
        self.access.track = source.reading.track;
        let packets = match span(&item.clip) {
            Some(span) => packet_hash(&source.path, &span, &self.access)
                .map_err(|error| ClipError { kind: error.kind(), message: error.to_string() })?,
            None => None,
        };
        let clip = &mut item.clip;
        if let Some(seen) = hash::phash(&greys) {
            clip.set(c::PHASH, seen);
        }
        if let Some(packets) = packets {
            clip.set(c::PACKET_HASH, packets.to_hex().to_string());
        }
        Ok(())
    }
}

/// What a clip is compared by; `None` where nothing was measured.
#[must_use]
pub fn print_of(clip: &Clip) -> Option<near::Print> {
    if let Some(seen) = clip.get(c::PHASH) {
        return Some(near::Print::Seen(*seen));
    }
    let packets = clip.get(c::PACKET_HASH)?;
    u128::from_str_radix(packets.get(..32)?, 16).ok().map(near::Print::Packets)
}
