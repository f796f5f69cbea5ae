//! Memory for clips that are transcoded at the same time.
//!
//! A decoder and an encoder hold tens of pictures, so that one of each for each core of a large machine
//! would fill it. Who needs more than is left waits for others to end, in the order of asking, so that a
//! large clip gets its turn among many small ones. What needs more than there is at all has it alone.

use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Access, MediaError};

/// How often who waits looks whether the run is to end.
const LOOK: Duration = Duration::from_millis(100);

/// So many bytes, shared by all that transcode in a run.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// Who waits; the first one is next.
    queue: VecDeque<u64>,
    tickets: u64,
    shortage: Shortage,
}

/// What a [`Room`] was too small for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// How long was waited, by all together.
    pub waited: Duration,
    /// The most bytes that one clip needed, be it one that waited or not.
    pub largest: u64,
}

impl Room {
    /// Room for `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        let shortage = Shortage { waited: Duration::ZERO, largest: 0 };
        let state = State { used: 0, queue: VecDeque::new(), tickets: 0, shortage };
        Self { bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// What it was too small for since this was last asked.
    #[must_use]
    pub fn shortage(&self) -> Shortage {
        mem::take(&mut self.lock().shortage)
    }

    /// Waits until `bytes` bytes are free, or all are, and takes them.
    ///
    /// # Errors
    /// `cancelled`. The deadline of `access` is for work, not for waiting.
    pub fn take(&self, bytes: u64, access: &Access) -> Result<Taken<'_>, MediaError> {
        let mut state = self.lock();
        state.shortage.largest = state.shortage.largest.max(bytes);
        let ticket = state.tickets;
        state.tickets += 1;
        state.queue.push_back(ticket);
        let since = Instant::now();
        let fits = |state: &State| {
            let is_next = state.queue.front() == Some(&ticket);
            is_next && (state.used == 0 || state.used.saturating_add(bytes) <= self.bytes)
        };
        let is_free = fits(&state);
        while !fits(&state) {
            if access.is_cancelled() {
                state.queue.retain(|other| *other != ticket);
                self.changed.notify_all();
                return Err(MediaError::Cancelled);
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let waited = if is_free { Duration::ZERO } else { since.elapsed() };
        state.shortage.waited += waited;
        state.queue.pop_front();
        state.used = state.used.saturating_add(bytes);
        // The next one may fit too.
        self.changed.notify_all();
        Ok(Taken { room: self, bytes, waited })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a [`Room`], given back when dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
    /// How long was waited for it.
    pub waited: Duration,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.used = state.used.saturating_sub(self.bytes);
        drop(state);
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        thread,
    };

    use proptest::prelude::*;

    use super::*;

    fn used(room: &Room) -> u64 {
        room.lock().used
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_more_is_taken_than_there_is_and_all_get_theirs(
            needs in proptest::collection::vec(1..150_u64, 1..40), threads in 1..6_usize,
        ) {
            let (room, next) = (Room::new(100), AtomicU64::new(0));
            let done = AtomicU64::new(0);
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some(need) = needs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                            let taken = room.take(*need, &Access::default()).unwrap();
                            let now = used(&room);
                            assert!(now <= 100 || now == *need, "{now} with one of {need}");
                            thread::yield_now();
                            drop(taken);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            prop_assert_eq!(done.into_inner(), needs.len() as u64);
            prop_assert_eq!(used(&room), 0);
            let shortage = room.shortage();
            prop_assert_eq!(shortage.largest, needs.iter().copied().max().unwrap());
            prop_assert!(threads > 1 || shortage.waited.is_zero());
            prop_assert_eq!(room.shortage(), Shortage::default());
        }
    }

    #[test]
    fn a_large_one_is_not_overtaken_and_one_that_gives_up_lets_the_next_one_in() {
        let room = Room::new(100);
        let small = room.take(60, &Access::default()).unwrap();
        let cancel = Arc::new(AtomicBool::new(false));
        let access = Access { cancel: Some(Arc::clone(&cancel)), ..Access::default() };
        let is_in = AtomicBool::new(false);
        let queued = |wanted| {
            while room.lock().queue.len() < wanted {
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            let large = scope.spawn(|| room.take(90, &access).map(|_taken| ()));
            queued(1);
            scope.spawn(|| {
                let _taken = room.take(30, &Access::default()).unwrap();
                is_in.store(true, Ordering::Relaxed);
            });
            queued(2);
            thread::sleep(2 * LOOK);
            assert!(!is_in.load(Ordering::Relaxed), "it would fit, but another came first");
            cancel.store(true, Ordering::Relaxed);
            assert!(matches!(large.join().unwrap(), Err(MediaError::Cancelled)));
        });
        assert!(is_in.into_inner());
        drop(small);
        assert_eq!(used(&room), 0);
        let shortage = room.shortage();
        assert_eq!(shortage.largest, 90);
        assert!(shortage.waited >= 2 * LOOK);
    }
}
