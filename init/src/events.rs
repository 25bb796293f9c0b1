//! The last things that PID 1 said, numbered, for whoever asks.

use std::collections::VecDeque;

/// Kept; about 100 bytes each.
const MOST: usize = 128;
/// Longest text kept of one.
const MOST_TEXT: usize = 240;

/// A ring of events.
#[derive(Debug, Default)]
pub struct Events {
    kept: VecDeque<(u64, u64, String)>,
    last: u64,
}

impl Events {
    /// Remembers a text said at this time since boot.
    pub fn push(&mut self, millis: u64, text: &str) {
        if self.kept.len() >= MOST {
            self.kept.pop_front();
        }
        self.last += 1;
        let text = text.chars().take(MOST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.kept.push_back((self.last, millis, text));
    }

    /// What came after the event of this number: a line each, number, milliseconds and text parted by tabs.
    pub fn after(&self, sequence: u64) -> String {
        self.kept
            .iter()
            .filter(|(number, ..)| *number > sequence)
            .map(|(number, millis, text)| format!("{number}\t{millis}\t{text}\n"))
            .collect()
    }

    /// The newest texts that hold one of these words, newest first.
    pub fn newest_with(&self, words: &[&str], most: usize) -> Vec<&str> {
        let found = self.kept.iter().rev().map(|(_, _, text)| text.as_str());
        found.filter(|text| words.iter().any(|word| text.contains(word))).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_supervise::control::MOST_REPLY;

    #[test]
    fn the_newest_stay_and_all_of_them_fit_into_a_reply() {
        let mut events = Events::default();
        for n in 0..1000 {
            events.push(n, &"é\n".repeat(500));
        }
        let all = events.after(0);
        assert_eq!(all.lines().count(), MOST);
        // Two bytes a letter are more than any sentence of ours has.
        assert!(all.len() < 2 * MOST_REPLY, "{}", all.len());
        assert_eq!(events.after(999).lines().count(), 1);
        assert_eq!(events.after(1000), "");
        assert_eq!(events.newest_with(&["é"], 2).len(), 2);
    }
}
