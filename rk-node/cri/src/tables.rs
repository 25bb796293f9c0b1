//! Every sandbox and container of the node, in memory; each knows its directory and saves itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::disk;
use crate::error::{Error, Result};
use crate::kept::{Kept, locked};
use crate::record::{ContainerRecord, SandboxRecord};

/// A sandbox: its record, and a lock that makes its life's steps happen one at a time.
#[derive(Debug)]
pub(crate) struct Sandbox {
    kept: Kept<SandboxRecord>,
    /// Held by run, stop and remove.
    pub step: tokio::sync::Mutex<()>,
}

/// A container and its record.
#[derive(Debug)]
pub(crate) struct Container {
    kept: Kept<ContainerRecord>,
    /// Its sandbox, which never changes.
    sandbox: String,
    /// Held by create, start, update and remove, and while its sandbox is stopped.
    pub step: tokio::sync::Mutex<()>,
    /// True once it ended.
    pub ended: watch::Sender<bool>,
    /// Whether listeners are still to hear of its start, and its end with that.
    pub told: Mutex<Told>,
}

/// What listeners of events heard of a container that starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// All that there is.
    #[default]
    All,
    /// Not that it starts.
    NotStart,
    /// Neither that it started, nor that it ended.
    NotEnd,
}

impl Sandbox {
    /// A sandbox whose record is kept in `dir`.
    pub fn new(dir: PathBuf, record: SandboxRecord) -> Self {
        Self { kept: Kept::new(dir, record), step: tokio::sync::Mutex::new(()) }
    }

    /// A copy of the record.
    pub fn get(&self) -> SandboxRecord {
        self.kept.get()
    }

    /// Looks at the record without a copy.
    pub fn look<T>(&self, at: impl FnOnce(&SandboxRecord) -> T) -> T {
        self.kept.look(at)
    }

    /// Changes the record in memory and on disk; the memory's change stands even if the disk is full.
    pub fn update(&self, change: impl FnOnce(&mut SandboxRecord)) -> Result<SandboxRecord> {
        let (record, saved) = self.kept.write(change, disk::save);
        saved.map(|()| record)
    }

    /// As [`Sandbox::update`], for what may be lost with the power: see [`disk::replace`].
    pub fn refine(&self, change: impl FnOnce(&mut SandboxRecord)) -> Result<SandboxRecord> {
        let (record, saved) = self.kept.write(change, disk::replace);
        saved.map(|()| record)
    }
}

impl Container {
    /// A container whose record is kept in `dir`.
    pub fn new(dir: PathBuf, record: ContainerRecord) -> Self {
        let (ended, _) = watch::channel(record.ended.is_some());
        let sandbox = record.sandbox.clone();
        let told = Mutex::default();
        Self { kept: Kept::new(dir, record), sandbox, step: tokio::sync::Mutex::new(()), ended, told }
    }

    /// A copy of the record.
    pub fn get(&self) -> ContainerRecord {
        self.kept.get()
    }

    /// Looks at the record without a copy.
    pub fn look<T>(&self, at: impl FnOnce(&ContainerRecord) -> T) -> T {
        self.kept.look(at)
    }

    /// Changes the record in memory and on disk; the memory's change stands even if the disk is full.
    pub fn update(&self, change: impl FnOnce(&mut ContainerRecord)) -> Result<ContainerRecord> {
        self.write(change, disk::save)
    }

    /// As [`Container::update`], for what may be lost with the power: see [`disk::replace`].
    pub fn refine(&self, change: impl FnOnce(&mut ContainerRecord)) -> Result<ContainerRecord> {
        self.write(change, disk::replace)
    }

    fn write(
        &self,
        change: impl FnOnce(&mut ContainerRecord),
        to_disk: fn(&Path, &ContainerRecord) -> Result<()>,
    ) -> Result<ContainerRecord> {
        let (record, saved) = self.kept.write(change, to_disk);
        if record.ended.is_some() {
            self.ended.send_replace(true);
        }
        saved.map(|()| record)
    }
}

#[derive(Debug, Default)]
struct Maps {
    sandboxes: BTreeMap<String, Arc<Sandbox>>,
    containers: BTreeMap<String, Arc<Container>>,
}

/// All of them. Lookups take any unambiguous prefix of an id, as `crictl` users give.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    maps: Mutex<Maps>,
}

impl Tables {
    /// The sandbox with this id.
    pub fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        by_prefix("sandbox", &locked(&self.maps).sandboxes, id)
    }

    /// The container with this id.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        by_prefix("container", &locked(&self.maps).containers, id)
    }

    /// All sandboxes, in the order of their ids.
    pub fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        locked(&self.maps).sandboxes.values().cloned().collect()
    }

    /// All containers, in the order of their ids.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        locked(&self.maps).containers.values().cloned().collect()
    }

    /// The containers of a sandbox.
    pub fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers().into_iter().filter(|c| c.sandbox == sandbox).collect()
    }

    /// Adds a sandbox unless one of the same pod and attempt exists.
    pub fn add_sandbox(&self, sandbox: Arc<Sandbox>) -> Result<()> {
        let mut maps = locked(&self.maps);
        let record = sandbox.get();
        let same = |other: &Sandbox| other.look(|known| known.config.metadata == record.config.metadata);
        if let Some(other) = maps.sandboxes.values().find(|other| same(other)) {
            let other = other.look(|known| known.id.clone());
            return Err(Error::Exists(format!("this pod sandbox exists already as {other:?}: remove it first")));
        }
        maps.sandboxes.insert(record.id, sandbox);
        Ok(())
    }

    /// Adds a container unless one of the same name and attempt exists in its sandbox.
    pub fn add_container(&self, container: Arc<Container>) -> Result<()> {
        let mut maps = locked(&self.maps);
        let record = container.get();
        let same = |other: &Container| {
            other.sandbox == record.sandbox && other.look(|known| known.config.metadata == record.config.metadata)
        };
        if let Some(other) = maps.containers.values().find(|other| same(other)) {
            let other = other.look(|known| known.id.clone());
            return Err(Error::Exists(format!("this container exists already as {other:?}: remove it first")));
        }
        maps.containers.insert(record.id, container);
        Ok(())
    }

    /// Forgets a sandbox; its files are the caller's business.
    pub fn drop_sandbox(&self, id: &str) {
        locked(&self.maps).sandboxes.remove(id);
    }

    /// Forgets a container; its files are the caller's business.
    pub fn drop_container(&self, id: &str) {
        locked(&self.maps).containers.remove(id);
    }
}

fn by_prefix<T>(kind: &'static str, map: &BTreeMap<String, Arc<T>>, id: &str) -> Result<Arc<T>> {
    if id.is_empty() {
        return Err(Error::not_found(kind, id));
    }
    let mut fitting = map.range(id.to_owned()..).take_while(|(known, _)| known.starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some((known, found)), _) if known == id => Ok(found.clone()),
        (Some((_, found)), None) => Ok(found.clone()),
        (Some(_), Some(_)) => Err(Error::Ambiguous { kind, id: id.to_owned() }),
        (None, _) => Err(Error::not_found(kind, id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_unambiguous_prefixes() {
        let map: BTreeMap<String, Arc<u8>> =
            [("ab".into(), Arc::new(1)), ("abc".into(), Arc::new(2)), ("b".into(), Arc::new(3))].into();
        assert_eq!(*by_prefix("x", &map, "ab").unwrap(), 1);
        assert_eq!(*by_prefix("x", &map, "abc").unwrap(), 2);
        assert!(matches!(by_prefix("x", &map, "a"), Err(Error::Ambiguous { .. })));
        assert!(matches!(by_prefix("x", &map, "c"), Err(Error::NotFound { .. })));
        assert!(matches!(by_prefix("x", &map, ""), Err(Error::NotFound { .. })));
    }
}
