//! A bound on how many lines per second a noisy service may put on a slow serial console.

use rk_supervise::Millis;

/// A bucket that holds `burst` tokens and gains `per_second`.
#[derive(Debug)]
pub struct RateLimit {
    burst: u64,
    per_second: u64,
    /// Tokens in thousandths.
    tokens: u64,
    refilled: Millis,
    dropped: u64,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(burst: u64, per_second: u64) -> RateLimit {
        RateLimit { burst, per_second, tokens: burst * 1000, refilled: 0, dropped: 0 }
    }

    /// Takes a token. `Some(n)` when there was one, `n` being how many were refused since the last success.
    pub fn take(&mut self, now: Millis) -> Option<u64> {
        let passed = now.saturating_sub(self.refilled);
        self.refilled = now;
        self.tokens = (self.tokens + passed.saturating_mul(self.per_second)).min(self.burst * 1000);
        if self.tokens < 1000 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1000;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_a_trickle_and_refusals_are_counted() {
        let mut limit = RateLimit::new(3, 2);
        assert_eq!([(); 3].map(|()| limit.take(0)), [Some(0); 3]);
        assert_eq!(limit.take(0), None);
        assert_eq!(limit.take(499), None);
        assert_eq!(limit.take(500), Some(2));
        assert_eq!(limit.take(500), None);
    }
}
