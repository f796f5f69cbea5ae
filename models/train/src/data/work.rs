//! Threads that read samples and put them together, ahead of whoever wants them.
//!
//! Samples are what threads take, not batches: the samples of one batch are read at the same time. The
//! thread that reads the last of a batch makes its tensors. Batches come out in the order in which
//! they went in. What is under way is bounded by bytes, by what the batches will hold; one that is
//! larger than the bound goes alone.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use candle_core::{Device, Tensor};
use crossbeam::channel::{Receiver, Sender, bounded};
use curate_models::encoders::Encoded;

use super::{
    ClipFault, ClipRef, DataError, Pixels,
    order::Plan,
    sample::{Outcome, Raw, RawText, Reader, Sample},
};

/// Batches under way at most, whatever their size.
const BATCHES: usize = 64;

/// A batch that was read.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) plan: Plan,
    /// `None`: no sample of it could be read.
    pub(crate) content: Option<Content>,
    /// Clips that could not be read, with the reason.
    pub(crate) faults: Vec<(String, String)>,
}

/// The samples of a batch.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) clips: Vec<ClipRef>,
    /// All captions of each sample's row, by column.
    pub(crate) captions: Vec<Vec<(&'static str, String)>>,
    pub(crate) pixels: Pixels,
    pub(crate) text: Option<Encoded>,
}

/// A batch under way.
struct Work {
    plan: Plan,
    done: Mutex<Vec<Option<Outcome>>>,
}

type Job = (Arc<Work>, usize);
type Made = Result<Ready, DataError>;

/// The threads.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Option<Sender<Job>>,
    made: Receiver<(u64, Made)>,
    threads: Vec<JoinHandle<()>>,
    cancel: Arc<AtomicBool>,
    memory: u64,
    tokens: usize,
    /// Bytes of each batch under way, by number; the first is the next to come out.
    under_way: BTreeMap<u64, u64>,
    early: BTreeMap<u64, Made>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("plan", &self.plan.number).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts the threads. `tokens` is the length that embeddings are padded to.
    pub(crate) fn new(reader: &Reader, tokens: usize) -> Result<Self, DataError> {
        let (jobs, to_do) = bounded::<Job>(BATCHES * reader.config.batch);
        let (to_make, made) = bounded(BATCHES);
        let mut pool = Self {
            jobs: Some(jobs),
            made,
            threads: Vec::new(),
            cancel: Arc::clone(&reader.cancel),
            memory: reader.config.memory,
            tokens,
            under_way: BTreeMap::new(),
            early: BTreeMap::new(),
        };
        for number in 0..reader.config.workers {
            let (reader, to_do, to_make) = (reader.clone(), to_do.clone(), to_make.clone());
            let thread = Builder::new().name(format!("data-{number}"));
            let thread = thread.spawn(move || work(&reader, &to_do, &to_make, tokens));
            pool.threads.push(thread.map_err(|source| DataError::Thread { source })?);
        }
        Ok(pool)
    }

    /// Whether a batch may be begun now.
    pub(crate) fn has_room(&self, plan: &Plan) -> bool {
        let held: u64 = self.under_way.values().sum();
        self.under_way.is_empty()
            || (self.under_way.len() < BATCHES && held + self.bytes(plan) <= self.memory)
    }

    /// What a batch holds when it is whole: bytes as they come from the decoder, and as floats.
    fn bytes(&self, plan: &Plan) -> u64 {
        let floats = plan.shape.values() * if plan.shape.has_latents { 1 } else { 5 };
        let text = if plan.shape.has_text { self.tokens * 4096 * 4 } else { 0 };
        ((floats + text) * plan.rows.len()) as u64
    }

    /// Begins a batch.
    pub(crate) fn push(&mut self, plan: Plan) -> Result<(), DataError> {
        let (number, count) = (plan.number, plan.rows.len());
        self.under_way.insert(number, self.bytes(&plan));
        let work = Arc::new(Work { plan, done: Mutex::new(vec![None; count]) });
        let jobs = self.jobs.as_ref().ok_or(DataError::Ended)?;
        for slot in 0..count {
            let sent = jobs.send((Arc::clone(&work), slot));
            sent.map_err(|_gone| DataError::Ended)?;
        }
        Ok(())
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next batch, in order.
    pub(crate) fn pop(&mut self) -> Made {
        let Some((&number, _)) = self.under_way.first_key_value() else {
            return Err(DataError::Ended);
        };
        let made = loop {
            if let Some(made) = self.early.remove(&number) {
                break made;
            }
            let (number, made) = self.made.recv().map_err(|_gone| DataError::Ended)?;
            self.early.insert(number, made);
        };
        self.under_way.remove(&number);
        made
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::SeqCst);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked outside of a sample has nothing to say that is not known by now.
            thread.join().ok();
        }
    }
}

fn work(reader: &Reader, to_do: &Receiver<Job>, made: &Sender<(u64, Made)>, tokens: usize) {
    while let Ok((work, slot)) = to_do.recv() {
        if reader.cancel.load(Ordering::SeqCst) {
            return;
        }
        let plan = &work.plan;
        let read = || reader.sample(plan.bucket, &plan.shape, plan.rows[slot]);
        let outcome = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
                .unwrap_or_default();
            let clip = reader.rows.entries[plan.rows[slot].row as usize].clip_id();
            let fault = ClipFault::Panic { what }.to_string();
            Outcome { sample: None, faults: vec![(clip, fault)] }
        });
        let whole = {
            let mut done = work.done.lock().unwrap_or_else(PoisonError::into_inner);
            done[slot] = Some(outcome);
            done.iter().all(Option::is_some).then(|| std::mem::take(&mut *done))
        };
        if let Some(whole) = whole {
            let outcomes = whole.into_iter().flatten().collect();
            let ready = ready(plan, outcomes, tokens);
            if made.send((plan.number, ready)).is_err() {
                return;
            }
        }
    }
}

/// Puts a batch together.
fn ready(plan: &Plan, outcomes: Vec<Outcome>, tokens: usize) -> Made {
    let (mut samples, mut faults) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        samples.extend(outcome.sample);
        faults.extend(outcome.faults);
    }
    let content = if samples.is_empty() { None } else { Some(content(plan, samples, tokens)?) };
    Ok(Ready { plan: plan.clone(), content, faults })
}

fn content(plan: &Plan, samples: Vec<Sample>, tokens: usize) -> candle_core::Result<Content> {
    let count = samples.len();
    let shape = &plan.shape;
    let (mut clips, mut captions, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut floats, mut latents) = (Vec::new(), None);
    for sample in samples {
        clips.push(sample.clip);
        captions.push(sample.captions);
        texts.extend(sample.text);
        match sample.raw {
            Raw::Frames(bytes) => {
                if floats.is_empty() {
                    floats.reserve_exact(bytes.len() * count);
                }
                floats.extend(bytes.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0));
            }
            Raw::Moments(values, of) => {
                latents = Some(of);
                floats.extend(values);
            }
        }
    }
    let cpu = &Device::Cpu;
    let pixels = match latents {
        Some([channels, frames, height, width]) => Pixels::Moments(Tensor::from_vec(
            floats,
            (count, channels, frames, height, width),
            cpu,
        )?),
        None if floats.is_empty() => {
            Pixels::Frames(Tensor::zeros((count, 0), candle_core::DType::F32, cpu)?)
        }
        None => Pixels::Frames(Tensor::from_vec(
            floats,
            (count, 3, shape.frames, shape.height, shape.width),
            cpu,
        )?),
    };
    let text = if shape.has_text { Some(encoded(&texts, tokens)?) } else { None };
    Ok(Content { clips, captions, pixels, text })
}

/// Embeddings of a batch, padded.
fn encoded(texts: &[RawText], tokens: usize) -> candle_core::Result<Encoded> {
    let channels = texts.first().map_or(0, |text| text.channels);
    let (mut values, mut mask) = (Vec::new(), Vec::new());
    for text in texts {
        let count = text.values.len() / channels.max(1);
        values.extend_from_slice(&text.values);
        values.resize(values.len() + (tokens - count.min(tokens)) * channels, 0.0);
        mask.extend((0..tokens).map(|token| f32::from(u8::from(token < count))));
    }
    let count = texts.len();
    Ok(Encoded {
        tokens: Tensor::from_vec(values, (count, tokens, channels), &Device::Cpu)?,
        mask: Tensor::from_vec(mask, (count, tokens), &Device::Cpu)?,
    })
}
