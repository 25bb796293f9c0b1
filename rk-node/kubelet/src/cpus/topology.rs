//! Which CPUs there are, and which of them share a core and a socket.

use std::fs;
use std::path::Path;

use super::set::CpuSet;

/// One CPU (hardware thread) and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// Its core, unique within the socket.
    pub core: usize,
    /// Its socket.
    pub socket: usize,
}

/// The machine's CPUs in order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology(pub Vec<Cpu>);

impl Topology {
    /// Reads `/sys/devices/system/cpu`. A CPU whose place is not told has a core of its own.
    pub fn read(dir: &Path) -> Self {
        let online = fs::read_to_string(dir.join("online")).ok().and_then(|text| CpuSet::parse(&text));
        let number = |id: usize, file: &str| {
            let text = fs::read_to_string(dir.join(format!("cpu{id}/topology/{file}"))).ok()?;
            text.trim().parse::<usize>().ok()
        };
        let cpu = |id: usize| Cpu {
            id,
            core: number(id, "core_id").unwrap_or(id),
            socket: number(id, "physical_package_id").unwrap_or(0),
        };
        Self(online.unwrap_or_default().0.into_iter().map(cpu).collect())
    }

    /// All of them.
    pub fn all(&self) -> CpuSet {
        self.0.iter().map(|cpu| cpu.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_a_cpu_without_one_has_its_own_core() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("online"), "0-2\n").unwrap();
        for (id, core) in [(0, "0"), (1, "0")] {
            let place = dir.path().join(format!("cpu{id}/topology"));
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("core_id"), core).unwrap();
            fs::write(place.join("physical_package_id"), "1").unwrap();
        }
        let found = Topology::read(dir.path());
        let places: Vec<_> = found.0.iter().map(|c| (c.id, c.core, c.socket)).collect();
        assert_eq!(places, [(0, 0, 1), (1, 0, 1), (2, 2, 0)]);
        assert_eq!(found.all().to_string(), "0-2");
        assert_eq!(Topology::read(Path::new("/nonexistent")), Topology::default());
    }
}
