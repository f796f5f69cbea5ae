//! A channel bounded by bytes.
//!
//! Frames vary from kilobytes to tens of megabytes, so a bound on the number of messages bounds
//! nothing. Every message says how many bytes it holds; a sender waits until they fit. The bytes
//! stay accounted for until the receiver lets go of its [`Held`] message, so what a batching
//! stage has gathered still counts: that is why such a stage must flush when
//! [`Receiver::upstream_blocked`], or it would wait for a message that can never come.
//!
//! A message larger than the whole bound passes alone: it waits until nothing else is held.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crossbeam::channel as transport;

/// Messages that wait are also bounded in number, for messages that hold next to nothing.
pub const MAX_MESSAGES: usize = 1024;

#[derive(Debug)]
struct Budget {
    limit: usize,
    state: Mutex<BudgetState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct BudgetState {
    used: usize,
    waiting: usize,
    closed: bool,
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` fit, or the receivers are gone (`false`).
    fn acquire(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let fits = |state: &BudgetState| {
            state.closed || state.used == 0 || state.used.saturating_add(bytes) <= self.limit
        };
        if !fits(&state) {
            state.waiting += 1;
            while !fits(&state) {
                state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
        }
        state.used += bytes;
        !state.closed
    }

    fn release(&self, bytes: usize) {
        self.lock().used -= bytes;
        self.freed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.freed.notify_all();
    }
}

/// The right to hold some bytes of a channel's bound; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    bytes: usize,
    budget: Arc<Budget>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// A message that still counts against its channel's bound until it is dropped.
#[derive(Debug)]
pub struct Held<T> {
    value: T,
    permit: Permit,
}

impl<T> Held<T> {
    /// Takes the message out and frees its bytes.
    #[must_use]
    pub fn release(self) -> T {
        self.value
    }

    /// Takes the message out; its bytes count until the permit is dropped.
    #[must_use]
    pub fn into_parts(self) -> (T, Permit) {
        (self.value, self.permit)
    }
}

impl<T> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// The sending half; clones share the channel.
#[derive(Debug)]
pub struct Sender<T> {
    queue: transport::Sender<Held<T>>,
    budget: Arc<Budget>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), budget: Arc::clone(&self.budget) }
    }
}

/// All receivers are gone; the message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl<T> Sender<T> {
    /// Sends a message that holds `bytes`, waiting until they fit.
    ///
    /// # Errors
    /// When all receivers are gone.
    pub fn send(&self, value: T, bytes: usize) -> Result<(), Disconnected> {
        let open = self.budget.acquire(bytes);
        let permit = Permit { bytes, budget: Arc::clone(&self.budget) };
        if !open {
            return Err(Disconnected);
        }
        self.queue.send(Held { value, permit }).map_err(|_gone| Disconnected)
    }
}

/// Tells blocked senders when the last receiver is gone.
#[derive(Debug)]
struct CloseOnDrop(Arc<Budget>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The receiving half; clones share the queue (each message goes to one of them).
#[derive(Debug)]
pub struct Receiver<T> {
    queue: transport::Receiver<Held<T>>,
    budget: Arc<Budget>,
    _close: Arc<CloseOnDrop>,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            budget: Arc::clone(&self.budget),
            _close: Arc::clone(&self._close),
        }
    }
}

/// What waiting with a deadline gave.
#[derive(Debug)]
pub enum Received<T> {
    /// A message.
    Message(Held<T>),
    /// None came in time.
    TimedOut,
    /// None will ever come.
    Closed,
}

impl<T> Receiver<T> {
    /// The next message, or `None` when all senders are gone and the queue is empty.
    #[must_use]
    pub fn recv(&self) -> Option<Held<T>> {
        self.queue.recv().ok()
    }

    /// The next message, waiting at most `timeout`.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Received<T> {
        match self.queue.recv_timeout(timeout) {
            Ok(held) => Received::Message(held),
            Err(transport::RecvTimeoutError::Timeout) => Received::TimedOut,
            Err(transport::RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }

    /// Whether a sender is waiting for bytes that are held on this side, with nothing left to
    /// receive: whoever gathers messages must let go of some.
    #[must_use]
    pub fn upstream_blocked(&self) -> bool {
        self.queue.is_empty() && self.budget.lock().waiting > 0
    }
}

/// A channel whose unreleased messages hold at most `limit` bytes together (one larger message
/// passes alone), and in which at most `waiting` messages (one at least) have not been received.
#[must_use]
pub fn bounded<T>(limit: usize, waiting: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = transport::bounded(waiting.clamp(1, MAX_MESSAGES));
    let budget = Arc::new(Budget {
        limit,
        state: Mutex::new(BudgetState::default()),
        freed: Condvar::new(),
    });
    (
        Sender { queue: sender, budget: Arc::clone(&budget) },
        Receiver {
            queue: receiver,
            budget: Arc::clone(&budget),
            _close: Arc::new(CloseOnDrop(budget)),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_oversize_message_passes_alone() {
        let (sender, receiver) = bounded(10, MAX_MESSAGES);
        sender.send("small", 3).unwrap();
        let worker = thread::Builder::new().spawn(move || sender.send("huge", 100)).unwrap();
        let small = receiver.recv().unwrap();
        while !receiver.upstream_blocked() {
            assert!(matches!(receiver.recv_timeout(Duration::from_millis(1)), Received::TimedOut));
        }
        drop(small);
        assert_eq!(receiver.recv().unwrap().release(), "huge");
        assert!(receiver.recv().is_none());
        worker.join().unwrap().unwrap();
    }

    #[test]
    fn a_blocked_sender_learns_that_nobody_listens() {
        let (sender, receiver) = bounded(10, MAX_MESSAGES);
        sender.send((), 10).unwrap();
        let worker = thread::Builder::new().spawn(move || sender.send((), 10)).unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(receiver);
        assert_eq!(worker.join().unwrap(), Err(Disconnected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn held_bytes_never_pass_the_bound(
            limit in 1..50_usize,
            waiting in 1..5_usize,
            sizes in proptest::collection::vec(1..80_usize, 1..60),
            are_small in any::<bool>(),
        ) {
            // Of messages that weigh next to nothing, only their number stops the sender.
            let sizes: Vec<usize> =
                sizes.into_iter().map(|size| if are_small { size % 2 } else { size }).collect();
            let (sender, receiver) = bounded::<usize>(limit, waiting);
            let (largest, count) = (sizes.iter().copied().max().unwrap_or(0), sizes.len());
            let (held, received) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let seen = thread::scope(|scope| {
                let received = &received;
                scope.spawn(move || {
                    for (sent, size) in (1..).zip(sizes) {
                        sender.send(size, size).unwrap();
                        // One may have been taken and not been counted yet.
                        assert!(sent <= received.load(Ordering::SeqCst) + waiting + 1);
                    }
                });
                let (mut seen, mut batch) = (0, Vec::new());
                loop {
                    match receiver.recv_timeout(Duration::from_millis(5)) {
                        Received::Message(message) => {
                            seen += 1;
                            received.store(seen, Ordering::SeqCst);
                            let now = held.fetch_add(*message, Ordering::SeqCst) + *message;
                            assert!(now <= limit.max(largest), "{now} bytes held, {limit} allowed");
                            batch.push(message);
                        }
                        Received::Closed => break seen,
                        Received::TimedOut => {}
                    }
                    // As a batching stage does: gather three, or what there is when upstream waits.
                    if batch.len() == 3 || receiver.upstream_blocked() {
                        for message in batch.drain(..) {
                            held.fetch_sub(*message, Ordering::SeqCst);
                        }
                    }
                }
            });
            prop_assert_eq!(seen, count, "every message arrives");
        }
    }
}
