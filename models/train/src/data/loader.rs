//! The loader: plans batches, has them read ahead, hands them out in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use super::{
    Batch, DataConfig, DataError, LoaderState, Report, RowSource, Rows, Wanted,
    order::{Order, Plan},
    sample::Reader,
    work::Pool,
};

/// After this many batches in a row without a clip that can be read, a run ends.
const EMPTY_BATCHES: u64 = 64;

/// Clips that could not be read are kept by name up to so many.
const NAMED_FAILURES: usize = 10_000;

/// Gives batches without end. See [the module](super).
#[derive(Debug)]
pub struct Loader {
    rows: Arc<Rows>,
    order: Order,
    pool: Pool,
    /// The plan that did not fit into memory yet.
    next: Option<Plan>,
    state: LoaderState,
    report: Report,
    opened: Instant,
    empty: u64,
}

impl Loader {
    /// Looks at the rows and begins to read, from the beginning or from where a loader was. Frames
    /// only: a row needs no caption, and nothing that is cached is used.
    ///
    /// # Errors
    /// Those of [`Loader::open_for`].
    pub fn open(
        source: Arc<dyn RowSource>,
        config: &DataConfig,
        seed: u64,
        resume: Option<&LoaderState>,
    ) -> Result<Self, DataError> {
        Self::open_for(source, config, &Wanted::default(), seed, resume)
    }

    /// As [`Loader::open`], for a trainer that wants captions, or can do with what is cached.
    ///
    /// # Errors
    /// When the configuration is wrong, the rows cannot be read, none is of use, or the state is of
    /// other rows or settings.
    pub fn open_for(
        source: Arc<dyn RowSource>,
        config: &DataConfig,
        wanted: &Wanted,
        seed: u64,
        resume: Option<&LoaderState>,
    ) -> Result<Self, DataError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(DataError::Config { problems });
        }
        let rows = Arc::new(Rows::read(&*source, config, wanted)?);
        let order = Order::new(Arc::clone(&rows), config, source.version(), seed, resume)?;
        let reader = Reader {
            source,
            rows: Arc::clone(&rows),
            config: config.clone(),
            seed: Some(seed),
            has_pixels: true,
            cancel: Arc::new(AtomicBool::new(false)),
        };
        let tokens = wanted.text.as_ref().map_or(0, |text| text.tokens);
        let mut loader = Self {
            state: order.state().clone(),
            pool: Pool::new(&reader, tokens)?,
            report: Report::of(&rows, wanted),
            rows,
            order,
            next: None,
            opened: Instant::now(),
            empty: 0,
        };
        loader.read_ahead()?;
        Ok(loader)
    }

    /// Begins as many batches as there is memory for.
    fn read_ahead(&mut self) -> Result<(), DataError> {
        loop {
            let plan = match self.next.take() {
                Some(plan) => plan,
                None => self.order.next_plan(),
            };
            if !self.pool.has_room(&plan) {
                self.next = Some(plan);
                return Ok(());
            }
            self.pool.push(plan)?;
        }
    }

    /// The next batch. It has fewer samples than the others where clips cannot be read and neither
    /// can those drawn in their place.
    ///
    /// # Errors
    /// [`DataError::AllFailed`] when no clip can be read any more.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends, and does not end with an error"
    )]
    pub fn next(&mut self) -> Result<Batch, DataError> {
        loop {
            self.read_ahead()?;
            let asked = Instant::now();
            let ready = self.pool.pop()?;
            self.report.wait_s += asked.elapsed().as_secs_f64();
            for (clip, reason) in &ready.faults {
                if self.report.failures.len() < NAMED_FAILURES
                    && !self.report.failures.contains_key(clip)
                {
                    tracing::warn!(clip, reason, "a clip cannot be read; another takes its place");
                    self.report.failures.insert(clip.clone(), reason.clone());
                }
            }
            let (batches, samples) = (self.state.batches, self.state.samples);
            self.state = LoaderState { batches, samples, ..ready.plan.state };
            let Some(content) = ready.content else {
                self.empty += 1;
                if self.empty >= EMPTY_BATCHES {
                    let (clip_id, reason) =
                        ready.faults.into_iter().next_back().unwrap_or_default();
                    return Err(DataError::AllFailed { batches: self.empty, clip_id, reason });
                }
                continue;
            };
            self.empty = 0;
            let count = content.clips.len() as u64;
            self.state.batches += 1;
            self.state.samples += count;
            self.report.batches += 1;
            self.report.samples += count;
            self.report.epoch = ready.plan.epoch;
            return Ok(Batch {
                number: batches,
                epoch: ready.plan.epoch,
                bucket: ready.plan.shape,
                clips: content.clips,
                pixels: content.pixels,
                text: content.text,
            });
        }
    }

    /// Where it is: what goes on with the batch after the last one handed out.
    #[must_use]
    pub const fn state(&self) -> &LoaderState {
        &self.state
    }

    /// How reading went so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { elapsed_s: self.opened.elapsed().as_secs_f64(), ..self.report.clone() }
    }

    /// The rows that are used.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Rows in each bucket.
    #[must_use]
    pub fn buckets(&self) -> BTreeMap<super::Bucket, usize> {
        let counts = self.rows.members.iter().map(Vec::len);
        self.rows.buckets.iter().copied().zip(counts).collect()
    }
}
