//! A slot on trial: it is good when the node is Ready; when that takes too long, the machine starts anew and the boot loader counts.

use crate::pid1::Machine;
use crate::{integrity, minimum, page};
use rk_supervise::Millis;
use rk_sys::End;

/// Time for a node to become Ready, unless `rk.trial=<seconds>` says otherwise: long enough for a slow network.
pub const LIMIT: Millis = 600_000;
const LOOK_EVERY: Millis = 1_000;

/// What becomes of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Good,
    Failed,
}

/// `sound`: no block of the root was found wrong; a node may be Ready for a while in spite of one.
fn judge(now: Millis, limit: Millis, ready: bool, sound: bool) -> Verdict {
    match ready && sound {
        true => Verdict::Good,
        false if now >= limit => Verdict::Failed,
        false => Verdict::Wait,
    }
}

impl Machine {
    /// When to look again.
    pub(crate) fn next_judgement(&self, now: Millis) -> Option<Millis> {
        self.slots.as_ref().filter(|slots| slots.on_trial() && !self.is_going_down()).map(|_| now + LOOK_EVERY)
    }

    /// Looks whether the slot on trial is good, or has had its time.
    pub(crate) fn judge_slot(&mut self, now: Millis) {
        if self.is_going_down() {
            return;
        }
        let limit = self.settings.trial_limit;
        let Some(slots) = self.slots.as_mut().filter(|slots| slots.on_trial()) else { return };
        let booted = slots.booted();
        match judge(now, limit, page::node_is_ready(), integrity::is_sound()) {
            Verdict::Wait => {}
            Verdict::Good => match slots.settle() {
                Ok(()) => {
                    self.journal.say(format_args!("slot {booted} is good: the node is Ready"));
                    minimum::raise(&mut self.journal);
                    self.keep_built_in();
                }
                Err(reason) => {
                    // Tried again at the next turn would fill the console; a boot later it is counted and tried again.
                    slots.give_up();
                    self.journal.say(format_args!("marking slot {booted} good failed: {reason}"));
                }
            },
            Verdict::Failed => {
                let why = format!("slot {booted} on trial: the node is not Ready after {} s", limit / 1000);
                self.begin_end(End::Reboot, &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_node_makes_a_slot_good_and_time_ends_every_trial() {
        assert_eq!(judge(5, 10, false, true), Verdict::Wait);
        assert_eq!(judge(10, 10, false, true), Verdict::Failed);
        assert_eq!(judge(10, 10, true, true), Verdict::Good);
    }

    #[test]
    fn a_ready_node_on_a_corrupted_root_is_not_good() {
        assert_eq!(judge(5, 10, true, false), Verdict::Wait);
        assert_eq!(judge(10, 10, true, false), Verdict::Failed);
    }
}
