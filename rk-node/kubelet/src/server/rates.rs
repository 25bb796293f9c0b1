//! CPU rates of what the kubelet reads itself, from one reading to a later one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A shorter time tells nothing: whoever asks again so soon gets the rate that was known.
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    total: u64,
    rate: Option<u64>,
}

/// The last readings, by name.
#[derive(Default)]
pub struct Rates(Mutex<HashMap<String, Sample>>);

impl Rates {
    /// Nanocores since the last reading of `name`, which has used `total` nanoseconds; `None` at the first.
    pub fn read(&self, name: &str, total: u64, now: Instant) -> Option<u64> {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = samples.get(name).copied();
        if let Some(sample) = before.filter(|s| now.saturating_duration_since(s.at) < WINDOW) {
            return sample.rate;
        }
        let rate = before.and_then(|sample| nanocores(sample, total, now));
        samples.insert(name.to_owned(), Sample { at: now, total, rate });
        rate
    }
}

fn nanocores(before: Sample, total: u64, now: Instant) -> Option<u64> {
    let elapsed = now.saturating_duration_since(before.at).as_nanos();
    let used = u128::from(total.saturating_sub(before.total)).checked_mul(1_000_000_000)?;
    u64::try_from(used.checked_div(elapsed)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_readings_that_are_apart() {
        let (rates, start) = (Rates::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for (millis, total, want) in [
            (0, 5_000_000_000, None),
            (10, 5_100_000_000, None),
            (2000, 6_000_000_000, Some(500_000_000)),
            // Too soon: what was known.
            (2001, 6_000_000_001, Some(500_000_000)),
            (4000, 6_000_000_000, Some(0)),
            // Counted anew.
            (6000, 10, Some(0)),
        ] {
            assert_eq!(rates.read("a", total, at(millis)), want, "at {millis}");
        }
        assert_eq!(rates.read("b", 1, at(6000)), None);
    }
}
