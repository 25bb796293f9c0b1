//! What the boot loaders go by on the EFI partition: EFI programs by name, GRUB's block, and our note of a slot that was left.

use rk_slots::version::{self, Version};
use rk_slots::{ENV_PATH, Entry, Env, LEFT_PATH, Left, PROGRAMS, Root, Slot};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Exists on machines that were started by UEFI.
pub const UEFI: &str = "/sys/firmware/efi";
/// Programs looked at; there are two or three.
const MOST_ENTRIES: usize = 64;
/// Bytes read of our own small texts.
const MOST_TEXT: u64 = 4096;

/// Programs of ours by generation.
pub fn entries(root: &Path) -> io::Result<Vec<(PathBuf, Entry)>> {
    let mut found: Vec<(PathBuf, Entry)> = fs::read_dir(root.join(PROGRAMS))?
        .flatten()
        .take(MOST_ENTRIES)
        .filter_map(|file| Some((file.path(), Entry::parse(file.file_name().to_str()?)?)))
        .collect();
    found.sort_by_key(|(_, entry)| entry.generation);
    Ok(found)
}

/// The program of a slot that may be tried; on BIOS machines it has one as well, unless the disk was made without.
pub fn candidate(
    root: &Path,
    entries: &[(PathBuf, Entry)],
    slot: Slot,
    minimum: Option<Version>,
) -> io::Result<Option<(PathBuf, Entry)>> {
    let program = entries.iter().rfind(|(path, entry)| entry.slot == slot && !entry.failed() && is_program(path));
    let bios = !Path::new(UEFI).exists();
    let fails = read_env(root).is_some_and(|env| env.trial == Some(slot) && env.left == 0);
    let commands = root.join(commands_of(slot)).is_file() && !fails;
    if (bios && !commands) || (!bios && program.is_none()) {
        let text = format!("slot {slot} holds nothing that boots");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let Some((path, entry)) = program else { return Ok(None) };
    let image = fs::read(path)?;
    let osrel = rk_slots::program::text(&image, ".osrel").unwrap_or_default();
    match version::too_old(osrel, minimum) {
        Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
        None => Ok(Some((path.clone(), *entry))),
    }
}

/// Whether a slot was good, and need not be tried again; an error when it was left itself, for the machine would go to and fro.
pub fn may_be_gone_over_to(root: &Path, slot: Slot, program: Option<Entry>) -> io::Result<bool> {
    if let Some(left) = read_left(root).filter(|left| left.slot == slot) {
        let text = format!("slot {slot} was left itself: {}", left.why);
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(was_good(Path::new(UEFI).exists(), slot, program, read_env(root)))
}

/// By what counts on this kind of firmware: the name of the program, or GRUB's block.
fn was_good(uefi: bool, slot: Slot, program: Option<Entry>, env: Option<Env>) -> bool {
    if uefi {
        program.is_some_and(|entry| entry.tries.is_none())
    } else {
        // A program that is still counted was never settled, whatever the block says: an upgrade was cut short.
        env.is_some_and(|env| env.trial != Some(slot)) && program.is_none_or(|entry| entry.tries.is_none())
    }
}

/// What GRUB does for a slot, on the EFI partition.
fn commands_of(slot: Slot) -> String {
    format!("rk/{slot}/boot.cfg")
}

/// The slot whose kernel boots this root.
pub fn slot_of(esp: &Path, root: &Root) -> Option<Slot> {
    let told = |slot: Slot| Root::of_cmdline(&short(&esp.join(commands_of(slot))));
    Slot::ALL.into_iter().find(|slot| told(*slot).as_ref() == Some(root))
}

/// The start of a small text; empty when there is none.
fn short(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(MOST_TEXT).read_to_string(&mut text);
    }
    text
}

/// The note of a slot that was left.
pub fn read_left(root: &Path) -> Option<Left> {
    Left::decode(&short(&root.join(LEFT_PATH)))
}

/// Writes the note of a slot that was left, or takes away the one that is there.
pub fn write_left(root: &Path, left: Option<&Left>) -> io::Result<()> {
    let path = root.join(LEFT_PATH);
    match left {
        Some(left) => {
            let mut file = File::create(path)?;
            file.write_all(left.encode().as_bytes())?;
            file.sync_all()
        }
        None => match fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        },
    }
}

/// An upgrade writes a program's start last.
fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"MZ"
}

/// A new name that a power cut does not undo.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// GRUB's block, when it is one of ours.
pub fn read_env(root: &Path) -> Option<Env> {
    fs::read(root.join(ENV_PATH)).ok().and_then(|bytes| Env::decode(&bytes))
}

/// In place: the block has no other size, and GRUB knows where it lies.
pub fn write_env(root: &Path, env: Env) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(root.join(ENV_PATH))?;
    file.write_all(&env.encode())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_in_place_and_a_torn_program_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("grub")).unwrap();
        assert!(write_env(dir.path(), Env::good(Slot::A)).is_err(), "it made a new one");
        fs::write(dir.path().join(ENV_PATH), [0; rk_slots::ENV_BYTES]).unwrap();
        write_env(dir.path(), Env::trial(Slot::A, Slot::B)).unwrap();
        assert_eq!(read_env(dir.path()), Some(Env::trial(Slot::A, Slot::B)));
        fs::create_dir_all(dir.path().join("rk")).unwrap();
        let left = Left::new(Slot::A, "a bad block");
        write_left(dir.path(), Some(&left)).unwrap();
        assert_eq!(read_left(dir.path()), Some(left));
        for _ in 0..2 {
            write_left(dir.path(), None).unwrap();
            assert_eq!(read_left(dir.path()), None);
        }
        let torn = dir.path().join("torn");
        fs::write(&torn, [0; 600]).unwrap();
        assert!(!is_program(&torn));
    }

    #[test]
    fn a_slot_was_good_when_nobody_counts_it() {
        let (good, tried) = (Entry::parse("rk-00001-b.efi"), Entry::parse("rk-00002-b+2-1.efi"));
        let (settled, trial) = (Some(Env::good(Slot::A)), Some(Env::trial(Slot::A, Slot::B)));
        assert!(good.is_some() && tried.is_some());
        let table = [
            (true, good, trial, true),
            (true, tried, settled, false),
            (true, None, settled, false),
            (false, tried, settled, false),
            (false, good, trial, false),
            (false, None, settled, true),
            (false, good, None, false),
        ];
        for (uefi, program, env, wanted) in table {
            assert_eq!(was_good(uefi, Slot::B, program, env), wanted, "{uefi} {program:?} {env:?}");
        }
    }

    #[test]
    fn a_slot_that_was_left_is_not_gone_back_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("rk")).unwrap();
        write_left(dir.path(), Some(&Left::new(Slot::B, "a bad block"))).unwrap();
        assert!(may_be_gone_over_to(dir.path(), Slot::A, None).is_ok());
        let refused = may_be_gone_over_to(dir.path(), Slot::B, None).unwrap_err().to_string();
        assert_eq!(refused, "slot b was left itself: a bad block");
    }

    #[test]
    fn the_slot_of_a_root_is_the_one_whose_kernel_is_told_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = |digit: &str| Root::parse(&format!("{},3200,00ff", digit.repeat(64))).unwrap();
        for (slot, digit) in [(Slot::A, "a"), (Slot::B, "b")] {
            let path = dir.path().join(commands_of(slot));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let cmdline = format!("quiet panic=10 {}", root(digit).word());
            fs::write(path, rk_slots::boot_commands(slot, &cmdline)).unwrap();
        }
        assert_eq!(slot_of(dir.path(), &root("a")), Some(Slot::A));
        assert_eq!(slot_of(dir.path(), &root("b")), Some(Slot::B));
        assert_eq!(slot_of(dir.path(), &root("c")), None);
    }
}
