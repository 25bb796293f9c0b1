//! A set of memory nodes.

use std::fmt;

/// Memory nodes by number, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeMask(pub u64);

impl NodeMask {
    /// These nodes; numbers that no mask can hold are left out.
    pub fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        Self(nodes.into_iter().filter(|node| *node < 64).fold(0, |mask, node| mask | 1 << node))
    }

    /// Whether the node is one of them.
    pub fn has(self, node: usize) -> bool {
        node < 64 && self.0 >> node & 1 == 1
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Their numbers, ascending.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |node| self.has(*node))
    }

    /// Those of both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among them.
    pub fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Fewer nodes, or as many with lower numbers.
    pub fn narrower(self, other: Self) -> bool {
        (self.count(), self.0) < (other.count(), other.0)
    }

    /// Every set of some of them.
    pub fn subsets(self) -> impl Iterator<Item = Self> {
        let mut last = 0_u64;
        std::iter::from_fn(move || {
            // The next larger number that has only bits of the mask.
            last = last.wrapping_sub(self.0) & self.0;
            (last != 0).then_some(Self(last))
        })
    }
}

impl fmt::Display for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.nodes().map(|node| node.to_string()).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_all_sets_of_some_and_the_narrower_has_fewer_or_lower() {
        let all: Vec<u64> = NodeMask::of([0, 2]).subsets().map(|mask| mask.0).collect();
        assert_eq!(all, [1, 4, 5]);
        assert_eq!(NodeMask::default().subsets().count(), 0);
        assert_eq!(NodeMask::of(0..8).subsets().count(), 255);
        for (a, b, want) in [(1, 2, true), (2, 1, false), (4, 3, true), (3, 4, false), (5, 5, false)] {
            assert_eq!(NodeMask(a).narrower(NodeMask(b)), want, "{a} {b}");
        }
        assert_eq!((NodeMask::of([1, 3, 99]).to_string().as_str(), NodeMask(5).holds(NodeMask(4))), ("1,3", true));
    }
}
