//! Captions by BLIP on this machine: what single frames show, without a server.
//!
//! One thread owns the network (a gigabyte of weights) and describes clip after clip; inside, the work is
//! spread over the threads of a pool of its own, as many as the run may use.

use curate_models::{
    caption::{
        blip::{BLIP, Blip, BlipFiles, BlipOptions, Frame, Search},
        flags,
    },
    hub::Hub,
};
use curate_pipeline::{BatchMap, BuildContext, ClipError, Item, StageFault};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{CaptionConfig, PER_SECOND, Written, write};
use crate::sample::{rgb_at_most, some_of};

/// Frames are no larger than this before they are brought to the network's 384 pixels.
pub(super) const MAX_SIDE: u32 = 768;
/// Clips that wait for the network at most; it takes them one by one.
const BATCH: usize = 4;

/// The running half.
pub(super) struct Eyes {
    blip: Blip,
    pool: ThreadPool,
    frames: usize,
    limits: flags::Limits,
}

impl Eyes {
    pub(super) fn open(config: &CaptionConfig, context: &BuildContext<'_>) -> Result<Self, String> {
        let hub = Hub::open(context.models).map_err(|error| error.to_string())?;
        let files = BlipFiles::of_hub(&hub).map_err(|error| error.to_string())?;
        Self::of(&files, config, context.run.cpus)
    }

    pub(super) fn of(
        files: &BlipFiles,
        config: &CaptionConfig,
        threads: usize,
    ) -> Result<Self, String> {
        // The authors' search, which repeats itself less than the published configuration's.
        let options = BlipOptions { search: Some(Search::AUTHORS), ..BlipOptions::default() };
        let blip = Blip::load(files, &options).map_err(|error| error.to_string())?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("blip-{index}"))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { blip, pool, frames: config.local_frames(), limits: config.limits() })
    }

    /// What the frames of a clip show: each thing once, in the order in which it is seen.
    fn describe(&mut self, item: &Item) -> Result<Written, ClipError> {
        let Self { blip, pool, frames, .. } = self;
        let mut seen: Vec<String> = Vec::new();
        let mut is_cut = false;
        for frame in some_of(item, PER_SECOND, *frames)? {
            let picture = rgb_at_most(frame, MAX_SIDE)?;
            let (width, height) = (picture.width, picture.height);
            let frame = Frame { rgb: &picture.data, width, height };
            let said = pool
                .install(|| blip.describe(&frame))
                .map_err(|error| ClipError { kind: "model", message: error.to_string() })?;
            is_cut |= said.is_cut;
            if !seen.contains(&said.text) {
                seen.push(said.text);
            }
        }
        Ok(Written {
            text: seen.join("; "),
            raw: None,
            model: BLIP.to_owned(),
            prompt_hash: None,
            is_unchanged: false,
            is_cut,
        })
    }
}

impl BatchMap for Eyes {
    fn max_batch(&self) -> usize {
        BATCH
    }

    fn map_batch(
        &mut self,
        items: &mut [&mut Item],
    ) -> Result<Vec<Result<(), ClipError>>, StageFault> {
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let written = self.describe(item);
            results.push(written.map(|written| write(item, Some(written), &self.limits)));
        }
        Ok(results)
    }
}
