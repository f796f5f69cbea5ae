//! When to ask again: what the server wants (`Retry-After`), and else a growing pause with chance in
//! it, so that clients that failed together do not come back together.
//!
//! Chance is a hash of a seed, the clip and the attempt, not a generator with a state: the pauses of
//! a clip do not depend on what else is under way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// How often and how long one clip is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Attempts that may fail for a clip. Being told to wait (429, 503) is counted apart, ten times
    /// as often: it says nothing about the clip. 6 gets through a server that fails every second
    /// time in 98 of 100 cases.
    pub attempts: u32,
    /// The first pause; it doubles with each failure. Half of it is chance.
    pub pause: Duration,
    /// The longest pause, our own or asked for.
    pub longest_pause: Duration,
    /// How long a single attempt may take. Video models need a minute under load.
    pub timeout: Duration,
    /// How long a clip may take with its attempts and its pauses, not counting the time in which no
    /// server takes requests.
    pub deadline: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 6,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            timeout: Duration::from_secs(180),
            deadline: Duration::from_secs(600),
        }
    }
}

impl Retries {
    /// The pause after so many failures (from 1): between half of the doubled pause and all of it.
    pub(super) fn pause(&self, failures: u32, chance: u64) -> Duration {
        let full = self.pause.saturating_mul(1 << failures.saturating_sub(1).min(20));
        jittered(full.min(self.longest_pause), chance)
    }
}

/// Between half of a time and all of it.
pub(super) fn jittered(full: Duration, chance: u64) -> Duration {
    let share = (chance >> 11) as f64 / (1_u64 << 53) as f64;
    full.mul_f64(0.5 + share / 2.0)
}

/// A number that depends on all of these and looks random.
pub(super) fn chance(seed: u64, clip: &str, attempt: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&attempt.to_le_bytes());
    hasher.update(clip.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// How long the server wants us to wait: `retry-after-ms` (OpenAI's), or `Retry-After` in seconds
/// or as a date (RFC 9110, 10.2.3). A date that has passed is no wait.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| *value >= 0.0);
    let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
    if let Some(millis) = text("retry-after-ms").and_then(number) {
        return seconds(millis / 1000.0);
    }
    let text = text(RETRY_AFTER.as_str())?;
    if let Some(value) = number(text) {
        return seconds(value);
    }
    let date = UNIX_EPOCH + Duration::from_secs(http_date(text)?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`. The two other forms that RFC 9110 knows
/// have not been sent for decades.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split_ascii_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let at = MONTHS.find(name).filter(|at| name.len() == 3 && at % 3 == 0)?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_gmt = words.next() == Some("GMT") && words.next().is_none();
    let is_time = hour < 24 && minute < 60 && second < 61 && (1..32).contains(&day);
    if !is_gmt || !is_time || !(1970..10_000).contains(&year) {
        return None;
    }
    // Days from civil (H. Hinnant): the year begins in March, so that leap days come last.
    let month = at as u64 / 3 + 1;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const TO_1970: u64 = 719_468;
    Some((days - TO_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(name: &'static str, value: &str, now_s: u64) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let now = UNIX_EPOCH + Duration::from_secs(now_s);
        retry_after(&headers, now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn waits_are_read_in_all_forms() {
        assert_eq!(after("retry-after", "7", 0), Some(7.0));
        assert_eq!(after("retry-after", " 0.25 ", 0), Some(0.25));
        assert_eq!(after("retry-after-ms", "250", 0), Some(0.25));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(after("retry-after", date, 784_111_770), Some(7.0));
        assert_eq!(after("retry-after", date, 784_111_779), Some(0.0));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        for wrong in ["-1", "soon", "", "Sun, 06 Foo 1994 08:49:37 GMT", "1e400", "NaN"] {
            assert_eq!(after("retry-after", wrong, 0), None, "{wrong}");
        }
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 CET"), None);
        assert_eq!(retry_after(&HeaderMap::new(), UNIX_EPOCH), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let retries = Retries::default();
        let pause = |failures, clip| retries.pause(failures, chance(1, clip, failures));
        for (failures, full_s) in [(1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (99, 60.0)] {
            let pause = pause(failures, "a").as_secs_f64();
            assert!((full_s / 2.0..=full_s).contains(&pause), "{failures}: {pause}");
        }
        assert_ne!(pause(1, "a"), pause(1, "b"));
        assert_eq!(pause(1, "a"), pause(1, "a"));
    }
}
