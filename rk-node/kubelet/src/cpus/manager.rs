//! What was given to whom, and kept over restarts of the kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::{Deserialize, Serialize};

use super::assign::take;
use super::set::CpuSet;
use super::topology::Topology;
use crate::disk::{read_optional, write_atomically};
use crate::pod::spec;
use crate::quantity::milli_of;
use crate::resources::{Qos, qos_class};

/// Upstream's name of the checkpoint.
const CHECKPOINT: &str = "cpu_manager_state";

/// How CPUs are given to containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuPolicy {
    /// All containers share all CPUs.
    #[default]
    None,
    /// Whole CPUs for who asks for them; these are never given away.
    Static {
        /// For the node itself and for all who share.
        reserved: Reserved,
    },
}

/// CPUs that stay shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Just these.
    Set(CpuSet),
    /// So many, of the lowest numbers.
    Count(usize),
}

/// The checkpoint: by UID of the pod and name of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Given {
    policy_name: String,
    default_cpu_set: CpuSet,
    entries: BTreeMap<String, BTreeMap<String, CpuSet>>,
}

struct State {
    topology: Topology,
    reserved: CpuSet,
    given: Given,
}

/// The manager; clones share it. Without the static policy it answers nothing.
#[derive(Clone)]
pub struct Cpus {
    path: PathBuf,
    state: Option<Arc<Mutex<State>>>,
}

/// How many CPUs a container gets alone: whole ones of a Guaranteed pod.
fn exclusive(pod: &Pod, container: &Container) -> usize {
    if qos_class(pod) != Qos::Guaranteed {
        return 0;
    }
    let resources = container.resources.as_ref();
    let milli = milli_of(resources.and_then(|r| r.requests.as_ref().or(r.limits.as_ref())), "cpu");
    if milli % 1000 == 0 { usize::try_from(milli / 1000).unwrap_or(0) } else { 0 }
}

impl State {
    /// CPUs that containers share.
    fn shared(&self) -> CpuSet {
        let taken =
            self.given.entries.values().flat_map(BTreeMap::values).fold(CpuSet::default(), |all, set| all.with(set));
        self.topology.all().without(&taken)
    }

    /// CPUs for all containers of a pod that get some alone, or why not. Init containers use those of the others.
    fn allocate(&self, pod: &Pod) -> Result<BTreeMap<String, CpuSet>, String> {
        let mut free = self.shared().without(&self.reserved);
        let mut entries = BTreeMap::new();
        let mut reusable = CpuSet::default();
        let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
        let lasting = spec::app_containers(pod).iter().map(|c| (c, true)).chain(sidecars.map(|c| (c, false)));
        for (container, lends) in lasting {
            let wanted = exclusive(pod, container);
            if wanted == 0 {
                continue;
            }
            let set = take(&self.topology, &free, wanted).ok_or_else(|| missing(wanted, free.len()))?;
            free = free.without(&set);
            // An app container's own are idle while init containers run; a sidecar's are not.
            reusable = if lends { reusable.with(&set) } else { reusable };
            entries.insert(container.name.clone(), set);
        }
        for container in spec::init_containers(pod).iter().filter(|c| !spec::is_sidecar(c)) {
            let wanted = exclusive(pod, container);
            if wanted == 0 {
                continue;
            }
            let own = take(&self.topology, &reusable, wanted.min(reusable.len())).unwrap_or_default();
            let more = wanted - own.len();
            let more = take(&self.topology, &free, more).ok_or_else(|| missing(wanted, free.len() + own.len()))?;
            free = free.without(&more);
            reusable = reusable.with(&more);
            entries.insert(container.name.clone(), own.with(&more));
        }
        Ok(entries)
    }
}

fn missing(wanted: usize, free: usize) -> String {
    format!(
        "Allocate failed due to not enough cpus available to satisfy request: requested={wanted}, available={free}, which is unexpected"
    )
}

impl Cpus {
    /// The manager over `sys` (`/sys/devices/system/cpu`), with what was given before.
    pub fn open(kubelet: &Path, sys: &Path, policy: &CpuPolicy) -> Self {
        let path = kubelet.join(CHECKPOINT);
        let CpuPolicy::Static { reserved } = policy else { return Self { path, state: None } };
        let topology = Topology::read(sys);
        let reserved = match reserved {
            Reserved::Set(set) => set.clone(),
            Reserved::Count(count) => topology.all().0.into_iter().take(*count).collect(),
        };
        let given = match read_optional(&path) {
            Ok(Some(text)) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!("{CHECKPOINT} cannot be read, CPUs are given anew: {error}");
                Given::default()
            }),
            Ok(None) => Given::default(),
            Err(error) => {
                tracing::warn!("{CHECKPOINT} cannot be read: {error}");
                Given::default()
            }
        };
        Self { path, state: Some(Arc::new(Mutex::new(State { topology, reserved, given }))) }
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether whole CPUs are given to containers.
    pub fn exclusive_policy(&self) -> bool {
        self.state.is_some()
    }

    /// Gives the containers of a pod their CPUs, once; true when those that all others share have changed.
    pub fn admit(&self, pod: &Pod) -> Result<bool, String> {
        let Some(mut state) = self.state() else { return Ok(false) };
        if state.given.entries.contains_key(spec::uid(pod)) {
            return Ok(false);
        }
        let entries = state.allocate(pod)?;
        if entries.is_empty() {
            return Ok(false);
        }
        state.given.entries.insert(spec::uid(pod).to_owned(), entries);
        self.save(&mut state);
        Ok(true)
    }

    /// The CPUs that a container is held to; `None` without the policy.
    pub fn of(&self, uid: &str, container: &str) -> Option<CpuSet> {
        let state = self.state()?;
        let own = state.given.entries.get(uid).and_then(|pod| pod.get(container)).cloned();
        Some(own.unwrap_or_else(|| state.shared())).filter(|set| !set.is_empty())
    }

    /// CPUs that a container has alone, for monitors.
    pub fn exclusive(&self, uid: &str, container: &str) -> CpuSet {
        let of = |state: MutexGuard<'_, State>| state.given.entries.get(uid)?.get(container).cloned();
        self.state().and_then(of).unwrap_or_default()
    }

    /// Takes the CPUs of all other pods back; true when there were any.
    pub fn keep(&self, pods: &BTreeSet<String>) -> bool {
        let Some(mut state) = self.state() else { return false };
        let before = state.given.entries.len();
        state.given.entries.retain(|uid, _| pods.contains(uid));
        let changed = state.given.entries.len() != before;
        if changed {
            self.save(&mut state);
        }
        changed
    }

    fn save(&self, state: &mut State) {
        state.given.policy_name = "static".into();
        state.given.default_cpu_set = state.shared();
        let text = serde_json::to_vec(&state.given).map_err(std::io::Error::other);
        if let Err(error) = text.and_then(|text| write_atomically(&self.path, &text, 0o600)) {
            tracing::warn!("{CHECKPOINT} cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Four CPUs, each a core of its own.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("online"), "0-3").unwrap();
        dir
    }

    fn pod(uid: &str, init: &[(&str, &str)], apps: &[(&str, &str)]) -> Pod {
        let list = |of: &[(&str, &str)]| -> Vec<Value> {
            let amounts =
                |cpu: &str| json!({"limits": {"cpu": cpu, "memory": "1Mi"}, "requests": {"cpu": cpu, "memory": "1Mi"}});
            of.iter().map(|(name, cpu)| json!({"name": name, "resources": amounts(cpu)})).collect()
        };
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": {"initContainers": list(init), "containers": list(apps)}}))
            .unwrap()
    }

    #[test]
    fn whole_cpus_are_given_once_kept_over_restarts_and_come_back() {
        let (dir, sys) = (tempfile::tempdir().unwrap(), machine());
        let policy = CpuPolicy::Static { reserved: Reserved::Count(1) };
        let open = || Cpus::open(dir.path(), sys.path(), &policy);
        let cpus = open();
        let of = |cpus: &Cpus, uid: &str, name: &str| cpus.of(uid, name).map(|set| set.to_string());
        assert_eq!(cpus.admit(&pod("a", &[("i", "2")], &[("one", "1"), ("part", "500m")])), Ok(true));
        assert_eq!((of(&cpus, "a", "one").as_deref(), of(&cpus, "a", "i").as_deref()), (Some("1"), Some("1-2")));
        // A part of a CPU is a part of the shared ones.
        assert_eq!(of(&cpus, "a", "part").as_deref(), Some("0,3"));
        assert_eq!(of(&cpus, "b", "any").as_deref(), Some("0,3"));
        let refused = cpus.admit(&pod("b", &[], &[("two", "2")])).unwrap_err();
        assert!(refused.contains("requested=2, available=1"), "{refused}");
        assert_eq!(cpus.admit(&pod("c", &[], &[("part", "100m")])), Ok(false));
        let again = open();
        assert_eq!(again.admit(&pod("a", &[("i", "2")], &[("one", "1")])), Ok(false), "it has them already");
        assert_eq!(again.exclusive("a", "one").to_string(), "1");
        assert!(again.keep(&BTreeSet::new()) && !again.keep(&BTreeSet::new()));
        assert_eq!(of(&again, "a", "one").as_deref(), Some("0-3"));
        let none = Cpus::open(dir.path(), sys.path(), &CpuPolicy::None);
        assert_eq!((none.admit(&pod("a", &[], &[("one", "1")])), none.of("a", "one")), (Ok(false), None));
    }
}
