//! How long something takes, by labels: a histogram.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many took no longer than each bound.
    pub within: Vec<u64>,
    /// How many there were.
    pub count: u64,
    /// All of them together, in the unit of the metric.
    pub sum: f64,
}

/// One metric.
pub struct Timing {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Keys of its labels.
    pub keys: &'static [&'static str],
    /// Bounds in the unit of the metric, ascending.
    pub bounds: &'static [f64],
    /// Of the unit, so many are a second.
    per_second: f64,
    spreads: Mutex<BTreeMap<Vec<String>, Spread>>,
}

impl Timing {
    /// Nothing seen, which is told if there are no labels; in seconds.
    pub fn new(name: &'static str, help: &'static str, keys: &'static [&'static str], bounds: &'static [f64]) -> Self {
        let none = Spread { within: vec![0; bounds.len()], ..Spread::default() };
        let spreads = if keys.is_empty() { BTreeMap::from([(Vec::new(), none)]) } else { BTreeMap::new() };
        Self { name, help, keys, bounds, per_second: 1.0, spreads: Mutex::new(spreads) }
    }

    /// The same in milliseconds, as are its bounds.
    pub fn in_milliseconds(self) -> Self {
        Self { per_second: 1000.0, ..self }
    }

    /// One that took so long, for these values of the labels.
    pub fn observe(&self, values: &[&str], took: Duration) {
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let amount = took.as_secs_f64() * self.per_second;
        let mut spreads = self.spreads.lock().unwrap_or_else(PoisonError::into_inner);
        let spread =
            spreads.entry(key).or_insert_with(|| Spread { within: vec![0; self.bounds.len()], ..Spread::default() });
        for (within, bound) in spread.within.iter_mut().zip(self.bounds) {
            *within += u64::from(amount <= *bound);
        }
        spread.count += 1;
        spread.sum += amount;
    }

    /// Drops what has these values of the labels.
    pub fn forget(&self, fits: impl Fn(&[String]) -> bool) {
        self.spreads.lock().unwrap_or_else(PoisonError::into_inner).retain(|values, _| !fits(values));
    }

    /// All of it.
    pub fn read(&self) -> BTreeMap<Vec<String>, Spread> {
        self.spreads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_a_bound_is_within_all_above() {
        let timing = Timing::new("a", "", &["k"], &[1.0, 2.0]);
        for seconds in [1, 2, 3] {
            timing.observe(&["x"], Duration::from_secs(seconds));
        }
        let want = Spread { within: vec![1, 2], count: 3, sum: 6.0 };
        assert_eq!(timing.read(), BTreeMap::from([(vec!["x".to_owned()], want)]));
        timing.forget(|values| values == ["x"]);
        assert!(timing.read().is_empty());
        assert_eq!(Timing::new("a", "", &[], &[1.0]).read().len(), 1);
    }
}
