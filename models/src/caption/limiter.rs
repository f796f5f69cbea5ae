//! How many requests a server is given at once: a little more as long as it keeps up, much less when
//! it does not (additive increase, multiplicative decrease, as in TCP; Chiu, Jain 1989).
//!
//! What the server can take is not known and changes: it may be shared, or batch on a GPU. Signs that
//! it has too much are 429, 5xx and answers that take several times as long as they did at best. Only
//! the first sign of a round counts: requests that were sent before the last decrease tell nothing
//! about the limit after it.
//!
//! Decided against a fixed number: one that suits vLLM on a GPU drowns llama.cpp on a laptop.

use std::time::Instant;

/// What is left of the limit after a sign of too much.
const DECREASE: f64 = 0.7;
/// Answers that take so many times the best time mean that they queue up.
const SLOW: f64 = 4.0;
/// Share of a new time in the smoothed one. Single captions differ in length; a drift shows anyway.
const SMOOTHING: f64 = 0.1;
/// The best time is forgotten this slowly, per answer: the work may have become harder.
const FORGET: f64 = 1.002;

/// The limit of one server.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    limit: f64,
    most: f64,
    /// When it was lowered last.
    lowered: Option<Instant>,
    smooth_s: Option<f64>,
    best_s: f64,
}

impl Limiter {
    /// Begins with `start` requests at once and never goes above `most`.
    pub(super) fn new(start: usize, most: usize) -> Self {
        let most = most.max(1) as f64;
        let limit = (start.max(1) as f64).min(most);
        Self { limit, most, lowered: None, smooth_s: None, best_s: f64::INFINITY }
    }

    /// Requests that may be under way.
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An answer came. `in_flight` is how many were under way: a limit that is not used is not
    /// raised, since nothing shows that the server could take more.
    pub(super) fn answered(&mut self, sent: Instant, now: Instant, in_flight: usize) {
        let took_s = now.duration_since(sent).as_secs_f64();
        let smooth_s = self.smooth_s.map_or(took_s, |old| old + SMOOTHING * (took_s - old));
        self.smooth_s = Some(smooth_s);
        self.best_s = (self.best_s * FORGET).min(smooth_s);
        if smooth_s > SLOW * self.best_s {
            if self.lower(sent, now) {
                // The new limit is judged by its own times.
                self.smooth_s = Some(self.best_s);
            }
        } else if in_flight as f64 >= 0.8 * self.limit.floor() {
            self.limit = (self.limit + 1.0 / self.limit).min(self.most);
        }
    }

    /// The server showed that it has too much. Gives whether that was news.
    pub(super) fn lower(&mut self, sent: Instant, now: Instant) -> bool {
        let is_news = self.lowered.is_none_or(|lowered| sent >= lowered);
        if is_news {
            self.limit = (self.limit * DECREASE).max(1.0);
            self.lowered = Some(now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(limiter: &mut Limiter, now: &mut Instant, took: Duration) {
        let (sent, count) = (*now, limiter.limit());
        *now += took;
        for _ in 0..count {
            limiter.answered(sent, *now, count);
        }
    }

    #[test]
    fn one_more_for_each_full_round_up_to_the_most() {
        let (mut limiter, mut now) = (Limiter::new(2, 6), Instant::now());
        let mut limits = Vec::new();
        for _ in 0..12 {
            round(&mut limiter, &mut now, Duration::from_millis(100));
            limits.push(limiter.limit());
        }
        assert!(limits.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{limits:?}");
        assert_eq!(limits.last(), Some(&6), "{limits:?}");
        // Used by one request at a time, it stays.
        let mut idle = Limiter::new(4, 100);
        for _ in 0..100 {
            idle.answered(now, now + Duration::from_millis(100), 1);
        }
        assert_eq!(idle.limit(), 4);
    }

    #[test]
    fn one_decrease_for_each_round() {
        let (mut limiter, now) = (Limiter::new(100, 100), Instant::now());
        let later = now + Duration::from_secs(1);
        assert!(limiter.lower(now, later));
        for _ in 0..50 {
            assert!(!limiter.lower(now, later + Duration::from_millis(1)));
        }
        assert_eq!(limiter.limit(), 70);
        assert!(limiter.lower(later, later + Duration::from_secs(1)));
        assert_eq!(limiter.limit(), 49);
        for round in 2..40 {
            limiter.lower(now + Duration::from_secs(round), now + Duration::from_secs(round + 1));
        }
        assert_eq!(limiter.limit(), 1);
    }

    #[test]
    fn queueing_lowers_the_limit() {
        let (mut limiter, mut now) = (Limiter::new(16, 64), Instant::now());
        for _ in 0..10 {
            round(&mut limiter, &mut now, Duration::from_millis(100));
        }
        let fast = limiter.limit();
        for _ in 0..10 {
            round(&mut limiter, &mut now, Duration::from_millis(900));
        }
        assert!(limiter.limit() < fast, "{} of {fast}", limiter.limit());
    }
}
