//! A number that only grows, by labels.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One metric.
pub struct Counter {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Keys of its labels.
    pub keys: &'static [&'static str],
    counts: Mutex<BTreeMap<Vec<String>, u64>>,
}

impl Counter {
    /// At zero, which is told if there are no labels.
    pub fn new(name: &'static str, help: &'static str, keys: &'static [&'static str]) -> Self {
        let counts = if keys.is_empty() { BTreeMap::from([(Vec::new(), 0)]) } else { BTreeMap::new() };
        Self { name, help, keys, counts: Mutex::new(counts) }
    }

    /// One more, for these values of the labels.
    pub fn add(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    /// Told from now on for these values of the labels, though nothing is counted yet.
    pub fn touch(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default();
    }

    /// Drops what has these values of the labels.
    pub fn forget(&self, fits: impl Fn(&[String]) -> bool) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).retain(|values, _| !fits(values));
    }

    /// All of it.
    pub fn read(&self) -> BTreeMap<Vec<String>, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_labels_is_counted_by_itself_until_it_is_forgotten() {
        assert_eq!(Counter::new("a", "", &[]).read(), BTreeMap::from([(Vec::new(), 0)]));
        let counter = Counter::new("a", "", &["k"]);
        for value in ["x", "y", "x"] {
            counter.add(&[value]);
        }
        counter.forget(|values| values == ["y"]);
        assert_eq!(counter.read(), BTreeMap::from([(vec!["x".to_owned()], 2)]));
        counter.touch(&["x"]);
        counter.touch(&["z"]);
        assert_eq!(counter.read(), BTreeMap::from([(vec!["x".to_owned()], 2), (vec!["z".to_owned()], 0)]));
    }
}
