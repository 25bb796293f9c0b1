//! Why a machine left a slot by itself: a note on the EFI partition, which the other slot reads and tells.

use crate::Slot;

/// Longest reason kept.
const MOST_WHY: usize = 200;

/// A slot that was left, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The slot.
    pub slot: Slot,
    /// One line.
    pub why: String,
}

impl Left {
    /// A reason, on one line and not too long.
    pub fn new(slot: Slot, why: &str) -> Left {
        let why = why.chars().take(MOST_WHY).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Left { slot, why }
    }

    /// The note.
    pub fn encode(&self) -> String {
        format!("{} {}\n", self.slot, self.why)
    }

    /// Reads a note; `None` when it is none of ours.
    pub fn decode(text: &str) -> Option<Left> {
        let (slot, why) = text.lines().next()?.split_once(' ')?;
        Some(Left::new(Slot::of_letter(slot)?, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_on_one_line() {
        let left = Left::new(Slot::B, "mounting\nthe root image");
        assert_eq!(left.encode(), "b mounting the root image\n");
        assert_eq!(Left::decode(&left.encode()), Some(left));
        assert_eq!(Left::new(Slot::A, &"é".repeat(1000)).why.chars().count(), MOST_WHY);
    }

    #[test]
    fn noise_is_no_note() {
        for noise in ["", "\n", "c why", "a", "\0\0\0 x"] {
            assert_eq!(Left::decode(noise), None, "{noise:?}");
        }
    }
}
