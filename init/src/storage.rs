//! Mounting STATE and DATA, in this order: an encrypted STATE says how DATA is to be opened, and its own header how it is itself.
//!
//! A partition on the machine's own disk that was never mounted is encrypted here when the config asks for it. One that cannot be
//! opened locks the machine: no config is taken, no pod runs, until [`crate::adopt`] is given a passphrase.

use crate::console::Journal;
use crate::crypt::{self, DATA, STATE, Volume};
use crate::discover::{self, Found};
use crate::mounts::make_dir;
use crate::moving::{self, Place};
use crate::own_state::OwnState;
use crate::{binding, datadisk, grow, reset, services, state};
use rk_config::{Encryption, STATE_DIR};
use std::fs;
use std::path::Path;

/// Left in STATE by a machine that was given its first config, which asks for encryption: what it used until then may go.
const NOTE: &str = "encrypt";

/// What is mounted, and what cannot be.
#[derive(Debug, Default)]
pub struct Storage {
    state: bool,
    data: bool,
    /// What keeps the machine from going on.
    pub locked: Vec<Locked>,
}

/// A partition that the machine does not go on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// In words for the console.
    pub reason: String,
    /// It is encrypted and nothing opens it; else it should be and cannot.
    pub closed: bool,
}

impl Storage {
    /// Mounts what is not mounted yet; `offered` is a passphrase that somebody gave.
    pub fn mount(&mut self, journal: &mut Journal, cmdline: &str, offered: Option<&str>) {
        make_dir(journal, "/run/rk", 0o755);
        self.locked.clear();
        let mut plan = |journal: &mut Journal| plan(journal, cmdline);
        if !self.state {
            // A link to what stood in for it, from the time before it was unlocked.
            let _ = fs::remove_file(STATE_DIR);
            match self
                .go_on_moving(journal, offered)
                .unwrap_or_else(|| prepare(journal, &STATE, &mut plan, offered, false).map(|()| state::mount(journal)))
            {
                Ok(mounted) => self.state = mounted,
                Err(locked) => self.locked.push(locked),
            }
        }
        let anew = self.state && self.move_in(journal, &mut plan);
        if self.state && !self.data {
            reset::forget_data(journal, &mut plan);
        }
        if !self.data {
            match prepare(journal, &DATA, &mut plan, offered, anew) {
                Ok(()) => self.data = datadisk::mount(journal),
                Err(locked) => {
                    // One that is plain may be somebody else's, in the place of ours.
                    if locked.closed {
                        datadisk::stand_in(journal);
                    } else {
                        datadisk::mount(journal);
                    }
                    self.locked.push(locked);
                }
            }
        }
        if anew && self.locked.is_empty() {
            let _ = fs::remove_file(Path::new(STATE_DIR).join(NOTE));
        }
        if !self.state {
            state::stand_in(journal);
        }
    }

    /// What is locked, in words; empty when nothing is.
    pub fn words(&self) -> String {
        self.locked.iter().map(|locked| locked.reason.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Whether `/var` is on a disk.
    pub fn has_disk(&self) -> bool {
        self.data
    }

    /// STATE was unmounted.
    pub fn forget_state(&mut self) {
        self.state = false;
    }

    /// Carries out the note: STATE is encrypted, and what was in it put back. Answers whether DATA may be formatted too.
    fn move_in(&mut self, journal: &mut Journal, plan: &mut dyn FnMut(&mut Journal) -> Encryption) -> bool {
        if !Path::new(STATE_DIR).join(NOTE).exists() {
            return false;
        }
        let wanted = plan(journal);
        let partition = crypt::own_partition(&STATE).filter(|_| STATE.wanted(&wanted).is_some());
        let Some(partition) = partition.filter(|_| crypt::opened(&STATE).is_none()) else { return true };
        let mut place = OwnState { partition, offered: None };
        match place.empty().and_then(|files| moving::begin(&mut place, &files)) {
            Ok(by) => journal.say(format_args!("STATE is encrypted from now on; it is opened by {by}")),
            Err(reason) => {
                self.state = state::mount(journal);
                let _ = self.state && place.stays_plain();
                self.locked.push(Locked { reason: format!("STATE cannot be encrypted: {reason}"), closed: false });
            }
        }
        true
    }

    /// What a machine that was cut off while STATE moved has begun; `None` when there is no such thing. Answers whether it is mounted.
    fn go_on_moving(&mut self, journal: &mut Journal, offered: Option<&str>) -> Option<Result<bool, Locked>> {
        let partition = crypt::own_partition(&STATE)?;
        let mut place = OwnState { partition, offered: offered.map(str::to_owned) };
        match moving::resume(&mut place)? {
            Ok(by) => {
                journal.say(format_args!("STATE is encrypted after all, as was begun before; it is opened by {by}"));
                Some(Ok(true))
            }
            Err(why) if place.is_volume() => {
                Some(Err(Locked { reason: format!("STATE is locked: {why}"), closed: true }))
            }
            Err(why) => {
                self.state = state::mount(journal);
                // A plain STATE that lost nothing takes another config; else only what was written down is left.
                let _ = self.state && place.stays_plain();
                Some(Err(Locked { reason: format!("STATE cannot be encrypted: {why}"), closed: false }))
            }
        }
    }
}

/// What the config says about encryption, of the first place that has one.
fn plan(journal: &mut Journal, cmdline: &str) -> Encryption {
    match discover::look(journal, cmdline) {
        Found::Accepted { config, .. } => config.disks.encryption,
        Found::Refused(_) => Encryption::default(),
    }
}

/// Opens a volume that is encrypted; encrypts one that should be and was never used, or may be made anew.
fn prepare(
    journal: &mut Journal,
    volume: &Volume,
    plan: &mut dyn FnMut(&mut Journal) -> Encryption,
    offered: Option<&str>,
    anew: bool,
) -> Result<(), Locked> {
    let word = volume.word;
    if crypt::opened(volume).is_some() {
        return Ok(());
    }
    if let Some(device) = crypt::find(journal, volume) {
        grow::partition(journal, &device);
        let known = plan(journal).passphrase;
        let passphrases = offered.map(str::to_owned).into_iter().chain(known).collect();
        let by = crypt::open(volume, &device, passphrases)
            .map_err(|why| Locked { reason: format!("{word} is locked: {why}"), closed: true })?;
        journal.say(format_args!("{word} on {} is opened by {by}", device.display()));
        return Ok(());
    }
    let unused = |partition: &Path| rk_sys::never_mounted(partition).unwrap_or(false);
    let free = crypt::own_partition(volume).filter(|partition| anew || unused(partition));
    let plan = if free.is_some() { plan(journal) } else { Encryption::default() };
    let Some(partition) = free.filter(|_| volume.wanted(&plan).is_some()) else {
        return if volume.word == DATA.word && binding::here().is_some() {
            let reason =
                format!("{word} is locked: the encrypted one that belongs to this machine's STATE is not there");
            Err(Locked { reason, closed: true })
        } else {
            Ok(())
        };
    };
    grow::partition(journal, &partition);
    let by = crypt::format(volume, &partition, &plan)
        .map_err(|why| Locked { reason: format!("{word} cannot be encrypted: {why}"), closed: false })?;
    journal.say(format_args!("{word} on {} is encrypted from now on; it is opened by {by}", partition.display()));
    Ok(())
}

/// Leaves the note for the next start, when a first config asks for encryption that is not there; answers whether it was left.
pub fn order(plan: &Encryption) -> Result<bool, String> {
    let missing = |volume: &Volume| {
        volume.wanted(plan).is_some() && crypt::opened(volume).is_none() && crypt::own_partition(volume).is_some()
    };
    if !missing(&STATE) && !missing(&DATA) {
        return Ok(false);
    }
    let note = Path::new(STATE_DIR).join(NOTE);
    services::write_new(&note, "\n", 0o600).map_err(|err| format!("{}: {err}", note.display()))?;
    Ok(true)
}

/// What a config asks for and the machine does not have: told, for it takes a reset to get it.
pub fn compare(journal: &mut Journal, plan: &Encryption) {
    for (volume, flag) in [(&STATE, "--state"), (&DATA, "--data")] {
        if volume.wanted(plan).is_some() && crypt::opened(volume).is_none() {
            let why = if crypt::own_partition(volume).is_none() {
                "the machine does not run from its own disk".to_owned()
            } else {
                format!("it was used before; rkctl node reset {flag} begins it anew")
            };
            journal.say(format_args!("{} is not encrypted as the config asks: {why}", volume.word));
        }
    }
}
