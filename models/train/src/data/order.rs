//! In which order rows come, and which of them are a batch.
//!
//! Each stream (all rows, or images and videos apart) is a new permutation of its rows in each epoch.
//! Rows are taken one by one and put into their bucket; a bucket that has as many as a batch is a
//! batch. What is left when an epoch ends waits for the next, so every row comes once in each epoch
//! and none is dropped. This is the whole of it, and it is quick, so it runs in one place and the
//! threads that read know nothing of order.
//!
//! The released trainer drops what it had not reached when it is resumed ("rewinds" by what its
//! workers may have read ahead). Here the state after each batch is known, because it is made before
//! anything is read.

use std::sync::Arc;

use curate_ops::Rng;
use curate_schemas::stable_hash64;

use super::{
    Bucket, DataConfig, DataError, LoaderState, Rows, StreamState, Waiting,
    bucket::{random_frames, random_size},
};

/// A batch that is to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Plans before it.
    pub(crate) number: u64,
    /// The pass that its last row was taken in.
    pub(crate) epoch: u64,
    /// The number of the bucket that its rows are of.
    pub(crate) bucket: u32,
    /// That bucket, with the size that is wanted of this batch.
    pub(crate) shape: Bucket,
    /// Its rows.
    pub(crate) rows: Vec<Waiting>,
    /// Where the order is after it; counts of what was handed out are those before it.
    pub(crate) state: LoaderState,
}

/// A generator for one purpose.
pub(super) fn stream(seed: u64, purpose: &str) -> Rng {
    Rng::with_stream(seed, stable_hash64(purpose))
}

/// One stream of rows.
#[derive(Debug)]
struct Stream {
    /// Entries that belong to it.
    members: Vec<u32>,
    state: StreamState,
    /// The order of this epoch.
    order: Vec<usize>,
}

/// Makes plans.
#[derive(Debug)]
pub(crate) struct Order {
    rows: Arc<Rows>,
    config: DataConfig,
    seed: u64,
    streams: Vec<Stream>,
    state: LoaderState,
}

impl Order {
    /// Begins at the beginning, or after a batch.
    ///
    /// # Errors
    /// [`DataError::Changed`] when the state is of other rows, settings or another seed.
    pub(crate) fn new(
        rows: Arc<Rows>,
        config: &DataConfig,
        version: u64,
        seed: u64,
        resume: Option<&LoaderState>,
    ) -> Result<Self, DataError> {
        let all = 0..rows.entries.len() as u32;
        let of = |is_image: bool| {
            let is_member =
                |entry: &u32| rows.bucket(&rows.entries[*entry as usize]).is_image == is_image;
            all.clone().filter(is_member).collect::<Vec<u32>>()
        };
        let members = match config.image_share {
            None => vec![all.collect()],
            Some(_) => vec![of(false), of(true)],
        };
        let fresh = LoaderState {
            version,
            filter: config.filter.clone(),
            rows: rows.fingerprint(config),
            seed,
            plans: 0,
            batches: 0,
            samples: 0,
            streams: vec![StreamState::default(); members.len()],
        };
        let state = match resume {
            None => fresh,
            Some(state) => {
                check(state, &fresh)?;
                state.clone()
            }
        };
        let fits = |(stream, members): (&StreamState, &Vec<u32>)| {
            let is_row = |one: &Waiting| (one.row as usize) < rows.entries.len();
            stream.taken <= members.len() as u64 && stream.waiting.iter().all(is_row)
        };
        if state.streams.len() != members.len() || !state.streams.iter().zip(&members).all(fits) {
            return Err(DataError::Changed { what: "the state of the loader is".to_owned() });
        }
        let mut streams = Vec::with_capacity(members.len());
        for (number, (members, state)) in members.into_iter().zip(&state.streams).enumerate() {
            let order = permutation(seed, number, state.epoch, members.len());
            streams.push(Stream { members, state: state.clone(), order });
        }
        Ok(Self { rows, config: config.clone(), seed, streams, state })
    }

    /// Where it is.
    #[must_use]
    pub(crate) const fn state(&self) -> &LoaderState {
        &self.state
    }

    /// The next batch.
    pub(crate) fn next_plan(&mut self) -> Plan {
        let number = self.state.plans;
        let which = self.stream_of(number);
        let (bucket, rows) = self.take(which);
        let epoch = rows.last().map_or(0, |row| row.epoch);
        self.state.plans += 1;
        self.state.streams[which] = self.streams[which].state.clone();
        let mut shape = self.rows.buckets[bucket as usize];
        let mut rng = stream(self.seed, &format!("batch/{number}"));
        if self.config.random_ratio_crop {
            (shape.height, shape.width) = random_size(self.config.size, &mut rng);
        }
        if self.config.random_frame_crop && !shape.is_image {
            shape.frames = random_frames(&self.config, shape.frames, &mut rng);
        }
        Plan { number, epoch, bucket, shape, rows, state: self.state.clone() }
    }

    /// The stream that a batch is of: images are spread evenly.
    fn stream_of(&self, number: u64) -> usize {
        let Some(share) = self.config.image_share else { return 0 };
        let images = |batches: u64| (batches as f64 * share).floor();
        usize::from(images(number + 1) > images(number))
    }

    /// Takes rows of a stream until a bucket is full.
    fn take(&mut self, which: usize) -> (u32, Vec<Waiting>) {
        let Stream { members, state, order } = &mut self.streams[which];
        loop {
            if state.taken == order.len() as u64 {
                state.epoch += 1;
                state.taken = 0;
                *order = permutation(self.seed, which, state.epoch, members.len());
            }
            let row = members[order[state.taken as usize]];
            state.taken += 1;
            state.waiting.push(Waiting { row, epoch: state.epoch });
            let bucket_of = |waiting: &Waiting| self.rows.entries[waiting.row as usize].bucket;
            let bucket = self.rows.entries[row as usize].bucket;
            let count = state.waiting.iter().filter(|one| bucket_of(one) == bucket).count();
            if count >= self.config.batch {
                let (rows, rest) =
                    state.waiting.drain(..).partition(|one| bucket_of(one) == bucket);
                state.waiting = rest;
                return (bucket, rows);
            }
        }
    }
}

fn permutation(seed: u64, which: usize, epoch: u64, count: usize) -> Vec<usize> {
    stream(seed, &format!("order/{which}/{epoch}")).permutation(count)
}

/// Whether a state is of these rows and settings.
fn check(state: &LoaderState, fresh: &LoaderState) -> Result<(), DataError> {
    let mut changed = Vec::new();
    if state.version != fresh.version {
        changed.push(format!("data.version ({}, now {}) is", state.version, fresh.version));
    }
    if state.filter != fresh.filter {
        changed.push(format!("data.where (\"{}\", now \"{}\") is", state.filter, fresh.filter));
    }
    if state.seed != fresh.seed {
        changed.push(format!("the seed ({}, now {}) is", state.seed, fresh.seed));
    }
    if changed.is_empty() && state.rows != fresh.rows {
        changed.push("a setting of data, an encoder, or the rows themselves are".to_owned());
    }
    match changed.is_empty() {
        true => Ok(()),
        false => Err(DataError::Changed { what: changed.join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::data::Entry;

    /// Rows of some buckets, images among them.
    fn rows(buckets: &[usize]) -> Arc<Rows> {
        let kinds = buckets.iter().enumerate().map(|(number, _)| Bucket {
            is_image: number == 0,
            height: 64,
            width: 64,
            frames: if number == 0 { 1 } else { number * 8 },
            has_latents: false,
            has_text: false,
        });
        let mut rows = Rows { buckets: kinds.collect(), ..Rows::default() };
        for (number, count) in buckets.iter().enumerate() {
            let mut members = Vec::new();
            for _ in 0..*count {
                let id = rows.entries.len() as u128 + 1;
                members.push(rows.entries.len() as u32);
                let bucket = number as u32;
                rows.entries.push(Entry { row: id as u64, id, bucket, frames: 99, step: 1.0 });
            }
            rows.members.push(members);
        }
        Arc::new(rows)
    }

    fn config(batch: usize, image_share: Option<f64>) -> DataConfig {
        DataConfig {
            table: "t".into(),
            batch,
            image_share,
            frames: 24,
            random_frame_crop: true,
            random_ratio_crop: true,
            ..DataConfig::default()
        }
    }

    fn order(rows: &Arc<Rows>, config: &DataConfig, resume: Option<&LoaderState>) -> Order {
        Order::new(Arc::clone(rows), config, 7, 5, resume).unwrap()
    }

    proptest! {
        #[test]
        fn every_row_comes_once_in_each_epoch(
            buckets in proptest::collection::vec(0..20_usize, 1..4), batch in 1..6_usize,
        ) {
            prop_assume!(buckets.iter().sum::<usize>() > 0);
            let rows = rows(&buckets);
            let mut order = order(&rows, &config(batch, None), None);
            let mut seen: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
            let mut plan = order.next_plan();
            while plan.state.streams[0].epoch < 3 {
                prop_assert_eq!(plan.rows.len(), batch);
                for row in &plan.rows {
                    prop_assert_eq!(rows.entries[row.row as usize].bucket, plan.bucket);
                    prop_assert!(seen.entry(row.epoch).or_default().insert(row.row), "twice");
                }
                plan = order.next_plan();
            }
            // What has not come of the first two epochs still waits.
            for epoch in 0..2 {
                let waiting = plan.state.streams[0].waiting.iter().chain(&plan.rows);
                let waiting = waiting.filter(|one| one.epoch == epoch).map(|one| one.row);
                let mut all = seen.remove(&epoch).unwrap_or_default();
                all.extend(waiting);
                prop_assert_eq!(all.len(), rows.entries.len());
            }
        }

        #[test]
        fn an_order_goes_on_from_any_state(
            buckets in proptest::collection::vec(1..12_usize, 2..4), batch in 1..5_usize,
            share in proptest::option::of(0.1..0.9_f64), stop in 0..40_usize,
        ) {
            let rows = rows(&buckets);
            let config = config(batch, share);
            let mut straight = order(&rows, &config, None);
            let plans: Vec<Plan> = (0..60).map(|_| straight.next_plan()).collect();
            let state = if stop == 0 { None } else { Some(&plans[stop - 1].state) };
            let text = serde_json::to_string(&state).unwrap();
            let state: Option<LoaderState> = serde_json::from_str(&text).unwrap();
            let mut resumed = order(&rows, &config, state.as_ref());
            for plan in &plans[stop..] {
                prop_assert_eq!(&resumed.next_plan(), plan);
            }
        }
    }

    #[test]
    fn images_have_their_share_and_are_spread() {
        let rows = rows(&[5, 5, 5]);
        let mut order = order(&rows, &config(2, Some(0.3)), None);
        let images: Vec<bool> = (0..100).map(|_| order.next_plan().shape.is_image).collect();
        assert_eq!(images.iter().filter(|is_image| **is_image).count(), 30);
        let longest = images.split(|is_image| *is_image).map(<[bool]>::len).max();
        assert_eq!(longest, Some(3));
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let rows = rows(&[0, 30]);
        let ids = |seed, epoch| {
            let config = config(1, None);
            let mut order = Order::new(Arc::clone(&rows), &config, 7, seed, None).unwrap();
            let plans = (0..60).map(|_| order.next_plan().rows[0]);
            plans.filter(|row| row.epoch == epoch).map(|row| row.row).collect::<Vec<u32>>()
        };
        assert_eq!(ids(1, 0), ids(1, 0));
        assert_ne!(ids(1, 0), ids(2, 0));
        assert_ne!(ids(1, 0), ids(1, 1));
    }

    #[test]
    fn another_table_or_setting_is_refused_by_name() {
        let few = rows(&[3, 3]);
        let config = config(2, None);
        let state = order(&few, &config, None).next_plan().state;
        let says = |rows: &Arc<Rows>, config: &DataConfig, version, seed| {
            Order::new(Arc::clone(rows), config, version, seed, Some(&state))
                .unwrap_err()
                .to_string()
        };
        assert!(says(&few, &config, 8, 5).contains("data.version (7, now 8)"));
        assert!(says(&few, &config, 7, 6).contains("the seed (5, now 6)"));
        let other = DataConfig { filter: "true".to_owned(), ..config.clone() };
        assert!(says(&few, &other, 7, 5).contains("data.where"));
        assert!(says(&rows(&[3, 4]), &config, 7, 5).contains("rows themselves"));
        let other = DataConfig { batch: 3, ..config.clone() };
        assert!(says(&few, &other, 7, 5).contains("a setting of data"));
        // More threads or memory are no other run.
        let other = DataConfig { workers: 9, memory: 5, table: "moved".into(), ..config };
        Order::new(few, &other, 7, 5, Some(&state)).unwrap();
    }
}
