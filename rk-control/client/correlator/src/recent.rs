//! Values of which those that were asked for last are kept.

use std::collections::{BTreeMap, HashMap};

/// So many values by their keys; the one that nobody asked for the longest goes first.
pub(crate) struct Recent<V> {
    most: usize,
    /// Counts what is asked for: the order of all.
    turn: u64,
    values: HashMap<u64, (u64, V)>,
    keys: BTreeMap<u64, u64>,
}

impl<V> Recent<V> {
    /// None, and at most so many.
    pub fn new(most: usize) -> Self {
        Self { most, turn: 0, values: HashMap::new(), keys: BTreeMap::new() }
    }

    /// The value of this key, made by `fresh` where there is none.
    pub fn get(&mut self, key: u64, fresh: impl FnOnce() -> V) -> &mut V {
        self.turn += 1;
        let turn = self.turn;
        if let Some((before, _)) = self.values.get(&key) {
            self.keys.remove(before);
        } else if self.values.len() >= self.most
            && let Some((_, oldest)) = self.keys.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.keys.insert(turn, key);
        let (at, value) = self.values.entry(key).or_insert_with(|| (turn, fresh()));
        *at = turn;
        value
    }

    /// The value of this key, if it is still there.
    pub fn find(&mut self, key: u64) -> Option<&mut V> {
        self.values.get_mut(&key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_least_lately_goes_first() {
        let mut recent = Recent::new(2);
        for (key, want) in [(1, 10), (2, 20), (1, 10), (3, 30), (2, 21), (1, 11)] {
            // The second value of a key is another one.
            let fresh = if recent.turn < 4 { key * 10 } else { key * 10 + 1 };
            assert_eq!(*recent.get(key, || fresh), want, "{key}");
            assert_eq!(recent.values.len(), recent.keys.len());
            assert!(recent.values.len() <= 2);
        }
        assert_eq!((recent.find(3).copied(), recent.find(1).copied()), (None, Some(11)));
    }
}
