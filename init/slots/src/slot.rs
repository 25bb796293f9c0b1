//! One of two.

use std::fmt;

/// A place for a root on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// The other one.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// `a` or `b`.
    pub fn letter(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// Name of its partition in the partition table.
    pub fn partition(self) -> &'static str {
        match self {
            Slot::A => "rk-root-a",
            Slot::B => "rk-root-b",
        }
    }

    /// The slot of this letter, in either case.
    pub fn of_letter(letter: &str) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| slot.letter().eq_ignore_ascii_case(letter))
    }

    /// The slot whose partition has this name.
    pub fn of_partition(name: &str) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| slot.partition() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}
