//! A root that is not what its hash says: the machine goes over to its other slot, where that one boots.
//!
//! Every block is checked as it is read, and a wrong one is an I/O error to its reader. The first stage meets it when it mounts the root
//! or finds its own place there ([`cannot_boot`]); what is read later PID 1 hears of from the kernel ([`Integrity`]), for its own program
//! lies in memory.

use crate::console::{self, chain};
use crate::pid1::Machine;
use crate::slots::{self, Slots};
use crate::{failure, root};
use rk_slots::{Remedy, Root};
use rk_supervise::Millis;
use rk_sys::{End, MountFlags, SysError};
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// As often as the status page looks, in the same turn of PID 1: it costs no wake-up of its own.
const LOOK_EVERY: Millis = 3_000;
/// How often the way to the other slot is tried while only the EFI partition stands in it, and the time between for PID 1.
const MOST_TRIES: u32 = 10;
const TRY_EVERY: Millis = 30_000;
/// The same for the first stage, which has nothing else to do.
const FIRST_STAGE_TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);
const CORRUPTED: &str = "the root is corrupted: a block that was read is not what its hash says";

/// When PID 1 looks at its root.
#[derive(Debug)]
pub struct Integrity {
    next: Option<Millis>,
    /// It was said that an upgrade has to end first.
    said: bool,
    /// How often the way to the other slot failed.
    failed: u32,
}

impl Integrity {
    /// Looks, if the root is a verified one.
    pub fn new() -> Integrity {
        Integrity { next: std::env::var_os(slots::DEVICE).map(|_| 0), said: false, failed: 0 }
    }

    /// When to look again.
    pub fn next(&self) -> Option<Millis> {
        self.next
    }

    /// Whether to look now; then the next look is later.
    fn due(&mut self, now: Millis) -> bool {
        let due = self.next.is_some_and(|next| now >= next);
        if due {
            self.next = Some(now + LOOK_EVERY);
        }
        due
    }

    /// Once is enough: a root does not become sound again.
    fn stop(&mut self) {
        self.next = None;
    }

    /// The way to the other slot failed: whether it is tried again, a while later.
    fn again(&mut self, now: Millis) -> bool {
        self.failed += 1;
        self.next = (self.failed < MOST_TRIES).then_some(now + TRY_EVERY);
        self.next.is_some()
    }
}

/// Whether no block of the root was found wrong so far.
pub fn is_sound() -> bool {
    rk_sys::verity_is_sound(root::MAPPED).unwrap_or(true)
}

impl Machine {
    /// Looks whether the root is still what its hash says, and leaves the slot when it is not.
    pub(crate) fn check_root(&mut self, now: Millis) {
        if !self.integrity.due(now) || self.is_going_down() {
            return;
        }
        if is_sound() {
            return;
        }
        // An upgrade is changing the other slot: what it will be is known when that ends.
        if self.slots.as_ref().is_some_and(|slots| !slots.layout().esp.is_empty()) {
            if !std::mem::replace(&mut self.integrity.said, true) {
                self.journal.say(format_args!("{CORRUPTED}; the upgrade that is going on has to end first"));
            }
            return;
        }
        self.integrity.stop();
        self.go_over(now, CORRUPTED);
    }

    fn go_over(&mut self, now: Millis, why: &str) {
        let trial = self.slots.as_ref().map(Slots::on_trial);
        let leave = || self.slots.as_mut().map_or(Ok(()), |slots| slots.leave(why));
        match Remedy::choose(trial, leave) {
            Remedy::Count => self.begin_end(End::Reboot, &format!("a slot on trial: {why}")),
            Remedy::Other => self.begin_end(End::Reboot, &format!("a slot that is left for the other one: {why}")),
            Remedy::Again(reason) if self.integrity.again(now) => {
                self.journal.say(format_args!("{why}; the other slot could not be taken and is tried again: {reason}"));
            }
            Remedy::Again(reason) | Remedy::Stay(reason) => self.journal.say(format_args!(
                "{why}; the machine goes on as far as it can be read, for nothing else boots: {reason}"
            )),
        }
    }
}

/// Says why the root cannot be booted, goes over to the other slot where that is possible, and starts the machine anew.
pub fn cannot_boot(step: &str, err: &SysError) -> ExitCode {
    match look_for_another(&format!("{step}: {}", chain(err))) {
        None | Some(Remedy::Count) => failure::give_up(step, err),
        Some(Remedy::Other) => {
            console::line("rk: the other slot is tried next");
            failure::give_up(step, err)
        }
        Some(Remedy::Again(reason)) => {
            console::line(&format!("rk: the other slot could not be taken: {reason}"));
            failure::give_up_slowly(step, err)
        }
        Some(Remedy::Stay(reason)) => {
            console::line(&format!("rk: nothing else boots: {reason}"));
            failure::give_up_slowly(step, err)
        }
    }
}

/// `None` where the root lies on no disk whose slots can be found.
fn look_for_another(why: &str) -> Option<Remedy> {
    for (fstype, target) in [("proc", "/proc"), ("sysfs", "/sys")] {
        let flags = MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
        // Mounted already when the step that failed is the one that used them.
        let _ = rk_sys::mount(fstype, target, fstype, flags, "");
    }
    let root = Root::of_cmdline(&fs::read_to_string("/proc/cmdline").ok()?)?;
    let found = Slots::of_root(&root, root::disk_of(&root).as_deref());
    Remedy::best(found.into_iter().map(|mut slots| {
        patiently(BETWEEN, || {
            let trial = slots.on_trial();
            Remedy::choose(Some(trial), || slots.leave(why))
        })
    }))
}

/// Tries again while only the EFI partition stands in the way, a few times.
fn patiently(between: Duration, mut attempt: impl FnMut() -> Remedy) -> Remedy {
    for _ in 1..FIRST_STAGE_TRIES {
        match attempt() {
            Remedy::Again(_) => std::thread::sleep(between),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_looked_at_now_and_then_and_no_more_once_it_was_found_broken() {
        let mut integrity = Integrity { next: Some(0), said: false, failed: 0 };
        assert!(integrity.due(5) && !integrity.due(6));
        assert_eq!(integrity.next(), Some(5 + LOOK_EVERY));
        assert!(integrity.due(5 + LOOK_EVERY));
        integrity.stop();
        assert!(!integrity.due(1_000_000));
        assert_eq!(integrity.next(), None);
    }

    #[test]
    fn a_way_that_fails_is_tried_again_later_and_not_for_ever() {
        let mut integrity = Integrity { next: Some(0), said: false, failed: 0 };
        for round in 1..MOST_TRIES {
            assert!(integrity.again(5), "{round}");
            assert_eq!(integrity.next(), Some(5 + TRY_EVERY));
        }
        assert!(!integrity.again(5));
        assert_eq!(integrity.next(), None);
    }

    #[test]
    fn the_first_stage_tries_again_what_failed_and_takes_every_other_answer() {
        let again = || Remedy::Again("busy".to_owned());
        for (answers, wanted, asked) in [
            (vec![again(), Remedy::Other], Remedy::Other, 2),
            (vec![Remedy::Stay("empty".to_owned())], Remedy::Stay("empty".to_owned()), 1),
            (vec![again(), again(), again()], again(), FIRST_STAGE_TRIES),
        ] {
            let (mut answers, mut times) = (answers.into_iter(), 0);
            let got = patiently(Duration::ZERO, || {
                times += 1;
                answers.next().expect("asked once too often")
            });
            assert_eq!((got, times), (wanted, asked));
        }
    }
}
