//! The slot that the machine runs from, and the other one: is this boot a trial, how does it become good, how does one go back.
//!
//! What the boot loader counts lies on the EFI partition, which is mounted for moments only. On UEFI machines it is in the names
//! of EFI programs, on BIOS machines in GRUB's block; both are kept, for a disk can move.

use crate::console::{Journal, chain};
use crate::minimum;
use crate::mounts::make_dir;
use rk_slots::{ENV_PATH, Entry, Env, Layout, PROGRAMS, Root, Slot, TRIES, Tries};
use rk_sys::MountFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Tells the second stage which partition the root lies in.
pub const DEVICE: &str = "RK_ROOT_DEVICE";
/// Where the EFI partition is mounted while it is needed.
const MOUNT: &str = "/run/rk/esp";
/// Exists on machines that were started by UEFI.
const UEFI: &str = "/sys/firmware/efi";
/// Programs looked at; there are two or three.
const MOST_ENTRIES: usize = 64;

/// The slots of the disk that the machine runs from.
#[derive(Debug)]
pub struct Slots {
    layout: Layout,
    partition: PathBuf,
}

/// What the boot loader's counters say.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Counted {
    trial: bool,
    other_failed: bool,
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
            Ok(counted) => slots.tell(journal, counted),
            Err(reason) => journal.say(format_args!("looking at the slots failed: {reason}")),
        }
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
        })?;
        self.layout.trial = false;
        Ok(())
    }

    /// Puts the other slot on trial.
    pub fn roll_back(&mut self) -> Result<(), String> {
        let (booted, other) = (self.layout.booted, self.layout.booted.other());
        self.with_esp(|root| {
            let entries = entries(root)?;
            let program =
                entries.iter().rfind(|(path, entry)| entry.slot == other && !entry.failed() && is_program(path));
            let bios = !Path::new(UEFI).exists();
            let fails = read_env(root).is_some_and(|env| env.trial == Some(other) && env.left == 0);
            let commands = root.join(format!("rk/{other}/boot.cfg")).is_file() && !fails;
            if (bios && !commands) || (!bios && program.is_none()) {
                let text = format!("slot {other} holds nothing that boots");
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            if let Some((path, _)) = program {
                let image = fs::read(path)?;
                let osrel = rk_slots::program::text(&image, ".osrel").unwrap_or_default();
                if let Some(why) = rk_slots::version::too_old(osrel, minimum::recorded()) {
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
                let all: Vec<Entry> = entries.iter().map(|(_, entry)| *entry).collect();
                let tries = Some(Tries { left: TRIES, done: 0 });
                let next = Entry { generation: rk_slots::next_generation(&all), slot: other, tries };
                rename(path, &path.with_file_name(next.to_string()))?;
            }
            write_env(root, Env::trial(booted, other))
        })
    }

    fn counted(&self) -> Result<Counted, String> {
        let booted = self.layout.booted;
        mount(&self.partition, true)?;
        let root = Path::new(MOUNT);
        let counted = if Path::new(UEFI).exists() {
            entries(root).map(|entries| of_entries(&entries.into_iter().map(|(_, e)| e).collect::<Vec<_>>(), booted))
        } else {
            Ok(read_env(root).map_or(Counted { trial: false, other_failed: false }, |env| of_env(env, booted)))
        };
        rk_sys::unmount(root).map_err(|err| chain(&err))?;
        counted.map_err(|err| err.to_string())
    }

    fn with_esp(&mut self, work: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
        let was_open = !self.layout.esp.is_empty();
        self.open()?;
        let done = work(Path::new(MOUNT)).map_err(|err| err.to_string());
        if !was_open {
            let closed = self.close();
            return done.and(closed);
        }
        done
    }
}

fn of_entries(entries: &[Entry], booted: Slot) -> Counted {
    let newest = |slot| entries.iter().filter(|entry| entry.slot == slot).max_by_key(|entry| entry.generation);
    Counted {
        trial: newest(booted).is_some_and(|entry| entry.tries.is_some()),
        other_failed: newest(booted.other()).is_some_and(|entry| entry.failed()),
    }
}

fn of_env(env: Env, booted: Slot) -> Counted {
    Counted { trial: env.trial == Some(booted), other_failed: env.trial == Some(booted.other()) && env.left == 0 }
}

fn mount(partition: &Path, read_only: bool) -> Result<(), String> {
    make_dir(&mut Journal::default(), MOUNT, 0o700);
    let flags = MountFlags { read_only, nosuid: true, nodev: true, noexec: true, noatime: true };
    // A program that lost its folder's other half in a power cut must not make the whole partition read-only.
    rk_sys::mount(&partition.display().to_string(), MOUNT, "vfat", flags, "umask=0077,errors=continue")
        .map_err(|err| chain(&err))
}

/// Programs of ours by generation.
fn entries(root: &Path) -> io::Result<Vec<(PathBuf, Entry)>> {
    let mut found: Vec<(PathBuf, Entry)> = fs::read_dir(root.join(PROGRAMS))?
        .flatten()
        .take(MOST_ENTRIES)
        .filter_map(|file| Some((file.path(), Entry::parse(file.file_name().to_str()?)?)))
        .collect();
    found.sort_by_key(|(_, entry)| entry.generation);
    Ok(found)
}

/// An upgrade writes a program's start last.
fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"MZ"
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn read_env(root: &Path) -> Option<Env> {
    fs::read(root.join(ENV_PATH)).ok().and_then(|bytes| Env::decode(&bytes))
}

/// In place: the block has no other size, and GRUB knows where it lies.
fn write_env(root: &Path, env: Env) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(root.join(ENV_PATH))?;
    file.write_all(&env.encode())?;
    file.sync_all()
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
            assert_eq!(of_entries(&names(files), booted), Counted { trial, other_failed }, "{files:?}");
        }
    }

    #[test]
    fn grub_s_block_says_the_same() {
        let env = Env::trial(Slot::A, Slot::B);
        assert_eq!(of_env(env, Slot::B), Counted { trial: true, other_failed: false });
        assert_eq!(of_env(Env { left: 0, ..env }, Slot::A), Counted { trial: false, other_failed: true });
        assert_eq!(of_env(Env::good(Slot::B), Slot::B), Counted { trial: false, other_failed: false });
    }

    #[test]
    fn a_block_is_written_in_place_and_a_torn_program_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("grub")).unwrap();
        assert!(write_env(dir.path(), Env::good(Slot::A)).is_err(), "it made a new one");
        fs::write(dir.path().join(ENV_PATH), [0; rk_slots::ENV_BYTES]).unwrap();
        write_env(dir.path(), Env::trial(Slot::A, Slot::B)).unwrap();
        assert_eq!(read_env(dir.path()), Some(Env::trial(Slot::A, Slot::B)));
        let torn = dir.path().join("torn");
        fs::write(&torn, [0; 600]).unwrap();
        assert!(!is_program(&torn));
    }
}
