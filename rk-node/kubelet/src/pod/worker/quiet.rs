//! What the runtime said last of a pod that is as it should be.
//!
//! The PLEG tells of every state that moves, so a look that only the clock asks for need not ask the runtime again: four calls for each pod
//! of an idle node.

use std::time::Duration;

use super::RESYNC;
use crate::runtime::RuntimePod;

/// So many looks in a row trust what was said; the next one asks, for what no state tells.
const TRUSTED: u32 = 4;

/// What was said, for one look at a time.
#[derive(Debug, Default)]
pub struct Quiet {
    said: Option<RuntimePod>,
    looks: u32,
}

impl Quiet {
    /// Nothing was to be done about this, or it was said a moment ago.
    pub fn keep(&mut self, said: RuntimePod) {
        self.said = Some(said);
    }

    /// Something has happened, or will sooner than by the clock.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The worker looks again after `pause`: at once goes on with what it was at.
    pub fn rest(&mut self, pause: Duration) {
        if pause < RESYNC && !pause.is_zero() {
            self.forget();
        }
    }

    /// What may be trusted now; it is the caller's to keep it again.
    pub fn take(&mut self) -> Option<RuntimePod> {
        if self.looks >= TRUSTED {
            self.forget();
        }
        let said = self.said.take()?;
        self.looks += 1;
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> RuntimePod {
        RuntimePod { uid: "u".into(), ..Default::default() }
    }

    #[test]
    fn a_few_looks_in_a_row_trust_what_was_said() {
        let mut quiet = Quiet::default();
        assert!(quiet.take().is_none());
        quiet.keep(pod());
        for _ in 0..TRUSTED {
            let said = quiet.take().unwrap();
            quiet.keep(said);
        }
        assert!(quiet.take().is_none(), "then the runtime is asked");
        quiet.keep(pod());
        assert!(quiet.take().is_some());
        assert!(quiet.take().is_none(), "for one look");
    }

    #[test]
    fn nothing_is_trusted_after_an_event_or_before_an_appointment() {
        for (pause, trusted) in [(RESYNC, true), (RESYNC / 2, false), (Duration::ZERO, true)] {
            let mut quiet = Quiet::default();
            quiet.keep(pod());
            quiet.rest(pause);
            assert_eq!(quiet.take().is_some(), trusted, "{pause:?}");
        }
    }
}
