//! Trouble on a link.

use std::time::Duration;

/// What happens to the frames that a port sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fault {
    /// Frames lost of every hundred, spread evenly (deterministic, so that a test sees the same each time).
    pub drop_percent: u8,
    /// Time that each frame waits in the switch.
    pub delay: Duration,
}

/// A fault and how far its pattern has run.
#[derive(Debug, Default)]
pub(crate) struct Pattern {
    fault: Fault,
    debt: u32,
}

impl Pattern {
    pub(crate) fn new(fault: Fault) -> Pattern {
        Pattern { fault, debt: 0 }
    }

    /// The delay of the next frame, or `None` when it is lost.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        self.debt += u32::from(self.fault.drop_percent.min(100));
        if self.debt >= 100 {
            self.debt -= 100;
            return None;
        }
        Some(self.fault.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_share_of_frames_is_lost() {
        for percent in [0, 1, 30, 50, 100, 250] {
            let mut pattern = Pattern::new(Fault { drop_percent: percent, delay: Duration::ZERO });
            let lost = (0..1000).filter(|_| pattern.next().is_none()).count();
            assert_eq!(lost, usize::from(percent.min(100)) * 10, "{percent} %");
        }
    }
}
