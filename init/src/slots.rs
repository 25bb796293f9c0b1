//! The slot that the machine runs from, and the other one: is this boot a trial, how does it become good, how does one go back.
//!
//! What the boot loader counts lies on the EFI partition, which is mounted for moments only. On UEFI machines it is in the names
//! of EFI programs, on BIOS machines in GRUB's block; both are kept, for a disk can move.

use crate::console::{Journal, chain};
use crate::esp::{
    UEFI, candidate, entries, may_be_gone_over_to, read_env, read_left, rename, slot_of, write_env, write_left,
};
use crate::minimum;
use crate::mounts::make_dir;
use rk_slots::version::MINIMUM;
use rk_slots::{Blocked, Entry, Env, Layout, Left, Root, Slot, TRIES, Tries, Version};
use rk_sys::{MountFlags, PartitionNode};
use std::io;
use std::path::{Path, PathBuf};

/// Tells the second stage which partition the root lies in.
pub const DEVICE: &str = "RK_ROOT_DEVICE";
/// Where the EFI partition is mounted while it is needed.
const MOUNT: &str = "/run/rk/esp";
const UNLOADABLE: &str = "the boot loader could not load its kernel and initramfs as they were written";

/// The slots of the disk that the machine runs from.
#[derive(Debug)]
pub struct Slots {
    layout: Layout,
    partition: PathBuf,
}

/// What the boot loader's counters say.
#[derive(Debug, PartialEq, Eq, Clone, Copy, Default)]
struct Counted {
    trial: bool,
    other_failed: bool,
    /// The other slot was to be booted.
    strayed: bool,
}

impl Slots {
    /// Finds them, and says what the boot loader thinks of them. `None` when the root does not lie on a disk.
    pub fn find(journal: &mut Journal, cmdline: &str) -> Option<Slots> {
        let device = PathBuf::from(std::env::var_os(DEVICE)?);
        let partitions = rk_sys::partitions().unwrap_or_default();
        let own = partitions.iter().find(|partition| partition.path == device)?;
        let booted = Slot::of_partition(&own.name)?;
        let beside = |name: &str| partitions.iter().find(|p| p.disk == own.disk && p.name == name).map(|p| &p.path);
        let (Some(other), Some(esp)) = (beside(booted.other().partition()), beside(rk_slots::ESP)) else {
            journal.say(format_args!("{} has no second slot: it cannot be upgraded in place", own.disk.display()));
            return None;
        };
        let layout = Layout {
            booted,
            hash: Root::of_cmdline(cmdline)?.hash,
            disk: own.disk.display().to_string(),
            other: other.display().to_string(),
            esp: String::new(),
            trial: false,
        };
        let mut slots = Slots { layout, partition: esp.clone() };
        match slots.counted() {
            Ok((counted, left)) => {
                slots.tell(journal, counted);
                let left = if counted.strayed { Some(slots.note_unloadable(journal, left)) } else { left };
                if let Some(Left { slot, why }) = left.filter(|left| left.slot != booted) {
                    journal.say(format_args!("slot {slot} was left: {why}"));
                }
            }
            Err(reason) => journal.say(format_args!("looking at the slots failed: {reason}")),
        }
        Some(slots)
    }

    /// Finds them in the first stage, where no root could be mounted: the boot loader's own files tell which slot has this one. `held_on`
    /// is the disk that has a partition with this root. Where none has one, each disk whose boot loader names it has lost it, and whichever
    /// of them was booted, its other slot is to be next. `/proc` and `/sys` are mounted.
    pub fn of_root(root: &Root, held_on: Option<&Path>) -> Vec<Slots> {
        let partitions = rk_sys::partitions().unwrap_or_default();
        let meant = partitions.iter().filter(|partition| may_be_meant(partition, held_on));
        meant.filter_map(|esp| Slots::named_by(esp, &partitions, root)).collect()
    }

    /// Those of the disk with this EFI partition, if its boot loader names the root.
    fn named_by(esp: &PartitionNode, partitions: &[PartitionNode], root: &Root) -> Option<Slots> {
        mount(&esp.path, true).ok()?;
        let booted = slot_of(Path::new(MOUNT), root);
        rk_sys::unmount(Path::new(MOUNT)).ok()?;
        let booted = booted?;
        let other = booted.other().partition();
        let other = partitions.iter().find(|partition| partition.disk == esp.disk && partition.name == other)?;
        let layout = Layout {
            booted,
            hash: root.hash.clone(),
            disk: esp.disk.display().to_string(),
            other: other.path.display().to_string(),
            esp: String::new(),
            trial: false,
        };
        let mut slots = Slots { layout, partition: esp.path.clone() };
        slots.layout.trial = slots.counted().ok()?.0.trial;
        Some(slots)
    }

    fn tell(&mut self, journal: &mut Journal, counted: Counted) {
        let booted = self.layout.booted;
        self.layout.trial = counted.trial;
        if counted.trial {
            journal.say(format_args!("slot {booted} is on trial: it is good once the node is Ready"));
        } else if counted.other_failed {
            journal.say(format_args!(
                "slot {booted} runs; slot {} failed {TRIES} boots and is left alone",
                booted.other()
            ));
        } else {
            journal.say(format_args!("slot {booted} runs"));
        }
    }

    /// The boot loader came here because it could not load the other slot: that is written down once, so that nobody goes back to that one.
    fn note_unloadable(&mut self, journal: &mut Journal, left: Option<Left>) -> Left {
        let note = Left::new(self.layout.booted.other(), UNLOADABLE);
        if left.as_ref() != Some(&note)
            && let Err(blocked) = self.with_esp(|root| write_left(root, Some(&note)))
        {
            journal.say(format_args!("noting why slot {} was left failed: {}", note.slot, blocked.reason()));
        }
        note
    }

    /// Whether this boot is a trial.
    pub fn on_trial(&self) -> bool {
        self.layout.trial
    }

    /// The slot that runs.
    pub fn booted(&self) -> Slot {
        self.layout.booted
    }

    /// The disk.
    pub fn disk(&self) -> &Path {
        Path::new(&self.layout.disk)
    }

    /// Ends the trial without a verdict; the boot loader goes on counting.
    pub fn give_up(&mut self) {
        self.layout.trial = false;
    }

    /// As told to the machine API.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Mounts the EFI partition to be written to; once is enough.
    pub fn open(&mut self) -> Result<(), String> {
        if self.layout.esp.is_empty() {
            mount(&self.partition, false)?;
            self.layout.esp = MOUNT.to_owned();
        }
        Ok(())
    }

    /// Unmounts it again.
    pub fn close(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.layout.esp).is_empty() {
            return Ok(());
        }
        rk_sys::unmount(Path::new(MOUNT)).map_err(|err| chain(&err))
    }

    /// The slot that runs is good: the boot loader counts no more.
    pub fn settle(&mut self) -> Result<(), String> {
        let booted = self.layout.booted;
        self.with_esp(|root| {
            for (path, entry) in entries(root)? {
                if entry.slot == booted && entry.tries.is_some() {
                    rename(&path, &path.with_file_name(entry.good().to_string()))?;
                }
            }
            write_env(root, Env::good(booted))
        })
        .map_err(Blocked::reason)?;
        self.layout.trial = false;
        Ok(())
    }

    /// Puts the other slot on trial.
    pub fn roll_back(&mut self) -> Result<(), String> {
        self.try_other(minimum::recorded(), None).map_err(Blocked::reason)
    }

    /// Goes over to the other slot because this one is broken, and leaves a note of why. One that was good is so still: whether a node is
    /// Ready is no question of the other's making. One that was left itself is not gone back to.
    /// May be tried again when it failed, from where it stopped.
    pub fn leave(&mut self, why: &str) -> Result<(), Blocked> {
        let left = Left::new(self.layout.booted, why);
        // The first stage has no state disk: there it is what this version itself would ask for.
        let minimum = minimum::recorded().or_else(|| Version::parse(MINIMUM));
        self.try_other(minimum, Some(&left))
    }

    /// The note comes first: one whose slot still runs says nothing.
    fn try_other(&mut self, minimum: Option<Version>, left: Option<&Left>) -> Result<(), Blocked> {
        let (booted, other) = (self.layout.booted, self.layout.booted.other());
        self.with_esp(|root| {
            let entries = entries(root)?;
            let program = candidate(root, &entries, other, minimum)?;
            let entry = program.as_ref().map(|(_, entry)| *entry);
            let good = match left {
                Some(_) => may_be_gone_over_to(root, other, entry)?,
                None => false,
            };
            write_left(root, left)?;
            if let Some((path, _)) = program {
                let all: Vec<Entry> = entries.iter().map(|(_, entry)| *entry).collect();
                let tries = if good { None } else { Some(Tries { left: TRIES, done: 0 }) };
                let next = Entry { generation: rk_slots::next_generation(&all), slot: other, tries };
                rename(&path, &path.with_file_name(next.to_string()))?;
            }
            write_env(root, if good { Env::good(other) } else { Env::trial(booted, other) })
        })
    }

    fn counted(&self) -> Result<(Counted, Option<Left>), String> {
        let booted = self.layout.booted;
        mount(&self.partition, true)?;
        let root = Path::new(MOUNT);
        let counted = if Path::new(UEFI).exists() {
            entries(root).map(|entries| of_entries(&entries.into_iter().map(|(_, e)| e).collect::<Vec<_>>(), booted))
        } else {
            Ok(read_env(root).map_or(Counted::default(), |env| of_env(env, booted)))
        };
        let left = read_left(root);
        rk_sys::unmount(root).map_err(|err| chain(&err))?;
        counted.map(|counted| (counted, left)).map_err(|err| err.to_string())
    }

    fn with_esp(&mut self, work: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Blocked> {
        let was_open = !self.layout.esp.is_empty();
        self.open().map_err(Blocked::Failed)?;
        let done = work(Path::new(MOUNT)).map_err(|err| blocked(&err));
        if !was_open {
            let closed = self.close().map_err(Blocked::Failed);
            return done.and(closed);
        }
        done
    }
}

/// A slot that does not boot is told by what `candidate` answers; everything else is trouble with the partition.
fn blocked(err: &io::Error) -> Blocked {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Blocked::Unfit(err.to_string()),
        _ => Blocked::Failed(err.to_string()),
    }
}

/// Whether this is an EFI partition that a broken root may have been booted from.
fn may_be_meant(partition: &PartitionNode, held_on: Option<&Path>) -> bool {
    partition.name == rk_slots::ESP && held_on.is_none_or(|disk| partition.disk == disk)
}

fn of_entries(entries: &[Entry], booted: Slot) -> Counted {
    let newest = |slot| entries.iter().filter(|entry| entry.slot == slot).max_by_key(|entry| entry.generation);
    Counted {
        trial: newest(booted).is_some_and(|entry| entry.tries.is_some()),
        other_failed: newest(booted.other()).is_some_and(|entry| entry.failed()),
        // The loader passes over what is no program, and nothing tells that from a choice.
        strayed: false,
    }
}

fn of_env(env: Env, booted: Slot) -> Counted {
    let trial = env.trial == Some(booted);
    let other_failed = env.trial == Some(booted.other()) && env.left == 0;
    Counted { trial, other_failed, strayed: env.good != booted && !trial }
}

fn mount(partition: &Path, read_only: bool) -> Result<(), String> {
    make_dir(&mut Journal::default(), MOUNT, 0o700);
    let flags = MountFlags { read_only, nosuid: true, nodev: true, noexec: true, noatime: true };
    // A program that lost its folder's other half in a power cut must not make the whole partition read-only.
    rk_sys::mount(&partition.display().to_string(), MOUNT, "vfat", flags, "umask=0077,errors=continue")
        .map_err(|err| chain(&err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_a_trial_while_its_slot_is_counted() {
        let names = |names: &[&str]| names.iter().filter_map(|name| Entry::parse(name)).collect::<Vec<_>>();
        let table: [(&[&str], Slot, bool, bool); 4] = [
            (&["rk-00001-a.efi"], Slot::A, false, false),
            (&["rk-00001-a.efi", "rk-00002-b+2-1.efi"], Slot::B, true, false),
            (&["rk-00001-a.efi", "rk-00002-b+0-3.efi"], Slot::A, false, true),
            (&["rk-00003-a+2-1.efi", "rk-00002-b.efi"], Slot::A, true, false),
        ];
        for (files, booted, trial, other_failed) in table {
            let wanted = Counted { trial, other_failed, strayed: false };
            assert_eq!(of_entries(&names(files), booted), wanted, "{files:?}");
        }
    }

    #[test]
    fn the_disk_that_has_the_root_is_meant_and_where_none_has_it_each_that_names_it() {
        let node = |disk: &str, name: &str| PartitionNode {
            path: PathBuf::from(format!("{disk}1")),
            disk: PathBuf::from(disk),
            number: 1,
            name: name.to_owned(),
        };
        let esps = [node("/dev/sda", rk_slots::ESP), node("/dev/sdb", rk_slots::ESP), node("/dev/sdb", "rk-root-a")];
        let meant = |held_on: Option<&str>| {
            let meant = |node: &&PartitionNode| may_be_meant(node, held_on.map(Path::new));
            esps.iter().filter(meant).map(|node| node.disk.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(meant(Some("/dev/sdb")), ["/dev/sdb"]);
        assert_eq!(meant(None), ["/dev/sda", "/dev/sdb"]);
        assert!(meant(Some("/dev/sdc")).is_empty());
    }

    #[test]
    fn a_partition_that_fails_is_no_slot_that_does_not_boot() {
        let err = |kind| io::Error::new(kind, "why");
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            assert_eq!(blocked(&err(kind)), Blocked::Unfit("why".to_owned()));
        }
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(blocked(&err(kind)), Blocked::Failed("why".to_owned()));
        }
    }

    #[test]
    fn grub_s_block_says_the_same() {
        let env = Env::trial(Slot::A, Slot::B);
        let counted = |trial, other_failed, strayed| Counted { trial, other_failed, strayed };
        assert_eq!(of_env(env, Slot::B), counted(true, false, false));
        assert_eq!(of_env(env, Slot::A), counted(false, false, false));
        assert_eq!(of_env(Env { left: 0, ..env }, Slot::A), counted(false, true, false));
        assert_eq!(of_env(Env::good(Slot::B), Slot::B), counted(false, false, false));
        // The other one is good, and this one runs: GRUB could not load it.
        assert_eq!(of_env(Env::good(Slot::B), Slot::A), counted(false, false, true));
    }
}
