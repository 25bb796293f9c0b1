//! A bucket of tokens: how often something may be done, and how much at once. It reads no clock of its own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often, in the long run and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times in a second; 0 is no bound.
    pub per_second: u32,
    /// Times at once; at least one.
    pub burst: u32,
}

/// A bucket that is refilled at a rate.
pub struct Throttle {
    rate: Rate,
    /// Tokens, and when they were counted.
    bucket: Mutex<(f64, Instant)>,
}

impl Throttle {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, bucket: Mutex::new((f64::from(rate.burst.max(1)), now)) }
    }

    /// Takes a token, or tells how long it is until there is one.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        if self.rate.per_second == 0 {
            return Ok(());
        }
        let (each, most) = (f64::from(self.rate.per_second), f64::from(self.rate.burst.max(1)));
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = &mut *bucket;
        *tokens = (*tokens + now.saturating_duration_since(*at).as_secs_f64() * each).min(most);
        *at = now.max(*at);
        if *tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *tokens) / each));
        }
        *tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_what_follows_waits_for_its_turn() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let throttle = Throttle::new(Rate { per_second: 4, burst: 2 }, start);
        for (ms, want) in [(0, None), (0, None), (0, Some(250)), (125, Some(125)), (250, None), (250, Some(250))] {
            let wait = throttle.take(after(ms)).err().map(|wait| wait.as_millis());
            assert_eq!(wait, want, "{ms}");
        }
        let passed = (0..9).filter(|_| throttle.take(after(60_000)).is_ok()).count();
        assert_eq!(passed, 2, "a bucket holds no more than a burst");
        assert_eq!(throttle.take(start), Err(Duration::from_millis(250)), "a clock that goes back gives nothing");
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_burst_of_none_is_one() {
        let now = Instant::now();
        let free = Throttle::new(Rate { per_second: 0, burst: 0 }, now);
        assert!((0..1000).all(|_| free.take(now).is_ok()));
        let single = Throttle::new(Rate { per_second: 1, burst: 0 }, now);
        assert!(single.take(now).is_ok() && single.take(now).is_err());
    }
}
