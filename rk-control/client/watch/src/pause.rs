//! How long to wait after a failure.

use rand::RngExt;
use std::time::Duration;

/// Times between attempts: from 0.8 s doubling to 30 s, each with up to as much again at random, so that many clients of a server
/// that was away do not come back as one.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(800);
    const LONGEST: Duration = Duration::from_secs(30);

    /// The time before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let time = (Self::FIRST * 2u32.saturating_pow(self.failures.min(8))).min(Self::LONGEST);
        self.failures += 1;
        time.mul_f64(rand::rng().random_range(1.0..2.0)).min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let mut pause = Pause::default();
        let times: Vec<Duration> = (0..40).map(|_| pause.next()).collect();
        assert!(times[0] >= Pause::FIRST && times[0] < Pause::FIRST * 2);
        assert!(times[39] == Pause::LONGEST);
    }
}
