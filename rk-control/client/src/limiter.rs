//! How long a failing key waits: exponential per key, and a token bucket over all keys.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Per-key exponential back-off combined with an overall bucket; the longer of the two wins.
#[derive(Debug)]
pub struct RateLimiter<T> {
    base: Duration,
    max: Duration,
    failures: HashMap<T, u32>,
    bucket: TokenBucket,
}

/// So many at once, then so many a second.
#[derive(Debug)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
}

impl TokenBucket {
    /// A full bucket: `burst` at once, `rate` a second.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, tokens: burst, refilled: Instant::now() }
    }

    /// Takes one token and says how long to wait for it, counted from `now`.
    pub fn reserve(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst) - 1.0;
        self.refilled = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.rate) }
    }
}

impl<T: Hash + Eq + Clone> RateLimiter<T> {
    /// Delays from `base` doubling to `max`; all keys together get `rate` retries a second after a burst of `burst`.
    pub fn new(base: Duration, max: Duration, rate: f64, burst: f64) -> Self {
        Self { base, max, failures: HashMap::new(), bucket: TokenBucket::new(rate, burst) }
    }

    /// Notes one more failure of `key` and says how long it should wait, counted from `now`.
    pub fn next(&mut self, key: &T, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let own = self.base.saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(self.max);
        *failures = (*failures + 1).min(31);
        own.max(self.bucket.reserve(now))
    }

    /// Forgets the failures of a key that succeeded.
    pub fn forget(&mut self, key: &T) {
        self.failures.remove(key);
    }

    /// How often the key failed in a row.
    pub fn failures(&self, key: &T) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }
}

impl<T: Hash + Eq + Clone> Default for RateLimiter<T> {
    /// 5 ms to 1000 s per key; 10 a second with bursts of 100 over all keys.
    fn default() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_secs(1000), 10.0, 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_doubles_its_wait_and_is_forgiven() {
        let mut limiter = RateLimiter::default();
        let now = Instant::now();
        let waits: Vec<u128> = (0..4).map(|_| limiter.next(&"a", now).as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        limiter.forget(&"a");
        assert_eq!(limiter.next(&"a", now).as_millis(), 5);
        for _ in 0..40 {
            limiter.next(&"b", now);
        }
        assert_eq!(limiter.next(&"b", now).as_secs(), 1000);
    }

    #[test]
    fn the_bucket_slows_many_different_keys() {
        let mut limiter = RateLimiter::default();
        let now = Instant::now();
        for key in 0..100 {
            assert_eq!(limiter.next(&key, now).as_millis(), 5);
        }
        assert!(limiter.next(&1000, now) >= Duration::from_millis(99));
    }
}
