//! Names of EFI programs, in which systemd-boot counts (Boot Loader Specification, "Boot counting").

use crate::Slot;
use std::fmt;

/// How often a program was and may still be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Boots left; at 0 the loader prefers every other program.
    pub left: u32,
    /// Boots done.
    pub done: u32,
}

/// A program's file name: `rk-<generation>-<slot>[+<left>[-<done>]].efi`. The loader takes the highest generation that has tries
/// left or needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Counts upgrades and rollbacks.
    pub generation: u32,
    /// Whose root it starts.
    pub slot: Slot,
    /// None once it is known to be good.
    pub tries: Option<Tries>,
}

impl Entry {
    /// Reads a file name; `None` for every other file.
    pub fn parse(name: &str) -> Option<Entry> {
        let name = name.to_ascii_lowercase();
        let stem = name.strip_suffix(".efi")?.strip_prefix("rk-")?;
        let (stem, tries) = match stem.split_once('+') {
            None => (stem, None),
            Some((stem, counters)) => {
                let (left, done) = counters.split_once('-').unwrap_or((counters, "0"));
                (stem, Some(Tries { left: number(left)?, done: number(done)? }))
            }
        };
        let (generation, slot) = stem.split_once('-')?;
        Some(Entry { generation: number(generation)?, slot: Slot::of_letter(slot)?, tries })
    }

    /// The same program, known to be good.
    pub fn good(self) -> Entry {
        Entry { tries: None, ..self }
    }

    /// Whether all its tries are used up.
    pub fn failed(self) -> bool {
        self.tries.is_some_and(|tries| tries.left == 0)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rk-{:05}-{}", self.generation, self.slot)?;
        match self.tries {
            None => {}
            Some(Tries { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Tries { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}

/// The generation that is preferred to all of these.
pub fn next_generation(entries: &[Entry]) -> u32 {
    entries.iter().map(|entry| entry.generation).max().unwrap_or(0).saturating_add(1)
}

fn number(text: &str) -> Option<u32> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_themselves_and_as_the_loader_counts_them() {
        let fresh = Entry { generation: 7, slot: Slot::B, tries: Some(Tries { left: 3, done: 0 }) };
        assert_eq!(fresh.to_string(), "rk-00007-b+3.efi");
        assert_eq!(Entry::parse("rk-00007-b+2-1.efi").unwrap().tries, Some(Tries { left: 2, done: 1 }));
        assert!(Entry::parse("rk-00007-b+0-3.efi").unwrap().failed());
        assert_eq!(Entry::parse("RK-00001-A.EFI"), Some(Entry { generation: 1, slot: Slot::A, tries: None }));
        for entry in [fresh, fresh.good(), Entry { tries: Some(Tries { left: 0, done: 3 }), ..fresh }] {
            assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
        }
        assert_eq!(next_generation(&[fresh]), 8);
        assert_eq!(next_generation(&[]), 1);
    }

    #[test]
    fn other_files_are_left_alone() {
        for name in [
            "rk.efi",
            "rk-1.efi",
            "rk-1-c.efi",
            "rk-x-a.efi",
            "rk-1-a+.efi",
            "rk-1-a+3-.efi",
            "rk-1-a",
            "rk-9999999999-a.efi",
        ] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
    }
}
