//! What was given to whom, and kept over restarts of the kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rk_cri_api::v1::LinuxContainerResources;
use serde::{Deserialize, Serialize};

use super::draft::{CpuDraft, Machine};
use super::options::CpuOptions;
use super::set::CpuSet;
use super::topology::Topology;
use crate::disk::{read_or_default, write_atomically};

/// Upstream's name of the checkpoint.
const CHECKPOINT: &str = "cpu_manager_state";

/// The quota of a container that may use its CPUs all the time, whatever its limit.
const UNTHROTTLED: i64 = -1;

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
        /// What it does besides.
        options: CpuOptions,
    },
}

impl CpuPolicy {
    /// Whether containers get whole cores or none.
    pub fn gives_whole_cores(&self) -> bool {
        matches!(self, Self::Static { options, .. } if options.full_cores)
    }
}

/// CPUs that stay shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Just these.
    Set(CpuSet),
    /// So many, chosen as for a container: of whole cores.
    Count(usize),
}

/// The checkpoint: by UID of the pod and name of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Given {
    pub(super) policy_name: String,
    pub(super) default_cpu_set: CpuSet,
    pub(super) entries: BTreeMap<String, BTreeMap<String, CpuSet>>,
}

/// How many CPUs are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Those that containers share, without what is reserved.
    pub shared: usize,
    /// Those that containers have alone.
    pub exclusive: usize,
}

struct State {
    machine: Arc<Machine>,
    given: Given,
}

/// The manager; clones share it. Without the static policy it answers nothing.
#[derive(Clone)]
pub struct Cpus {
    path: PathBuf,
    state: Option<Arc<Mutex<State>>>,
}

/// Gives others for CPUs that are not there any more, or reserved since; who finds too few shares. True when there were any. Upstream's
/// kubelet ends there until somebody removes the checkpoint; here the workers move what runs.
fn mend(machine: &Machine, given: &mut Given) -> bool {
    let lent = machine.topology.all().without(&machine.reserved);
    let mut wrong = Vec::new();
    for (uid, pod) in &mut given.entries {
        let lost = |set: &CpuSet| !set.without(&lent).is_empty();
        let names: Vec<String> = pod.iter().filter(|(_, set)| lost(set)).map(|(name, _)| name.clone()).collect();
        wrong.extend(names.into_iter().filter_map(|name| Some((uid.clone(), pod.remove(&name)?, name))));
    }
    for (uid, had, name) in &wrong {
        let found = machine.take(&machine.free(given), had.len());
        let told = found.as_ref().map(CpuSet::to_string);
        tracing::error!(
            %uid,
            container = %name,
            %had,
            now = told.as_deref().unwrap_or("shared"),
            "CPUs of a container are offline or reserved since they were given"
        );
        if let (Some(set), Some(pod)) = (found, given.entries.get_mut(uid)) {
            pod.insert(name.clone(), set);
        }
    }
    !wrong.is_empty()
}

impl Cpus {
    /// The manager over `sys` (`/sys/devices/system/cpu`), with what was given before.
    pub fn open(kubelet: &Path, sys: &Path, policy: &CpuPolicy) -> Self {
        let path = kubelet.join(CHECKPOINT);
        let CpuPolicy::Static { reserved, options } = policy else { return Self { path, state: None } };
        let topology = Topology::read(sys);
        let mut given = read_or_default(&path, "CPUs are given anew");
        let mut options = *options;
        if options.by_socket && topology.sockets(topology.nodes()).len() > topology.nodes().count() as usize {
            tracing::error!(
                "Align by socket is not compatible with hardware where number of sockets are more than number of NUMA: the option is off"
            );
            options.by_socket = false;
        }
        let mut machine = Machine { topology, reserved: CpuSet::default(), options };
        machine.reserved = match reserved {
            Reserved::Set(set) => {
                let missing = set.without(&machine.topology.all());
                if !missing.is_empty() {
                    tracing::error!(%missing, "CPUs that are to be reserved are not there: no container is held to them");
                }
                set.without(&missing)
            }
            Reserved::Count(count) => {
                let all = machine.topology.all();
                machine.take(&all, *count).unwrap_or(all)
            }
        };
        let mended = mend(&machine, &mut given);
        let state = State { machine: Arc::new(machine), given };
        let cpus = Self { path, state: Some(Arc::new(Mutex::new(state))) };
        if let Some(mut state) = cpus.state().filter(|_| mended) {
            cpus.save(&mut state);
        }
        cpus
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether whole CPUs are given to containers.
    pub fn exclusive_policy(&self) -> bool {
        self.state.is_some()
    }

    /// What a pod is to get, to be thought over; `None` without the policy.
    pub fn draft(&self) -> Option<CpuDraft> {
        self.state().map(|state| CpuDraft::new(state.machine.clone(), state.given.clone()))
    }

    /// Gives what was drafted, as nobody else drafts meanwhile; true when the CPUs that all others share have changed.
    pub fn commit(&self, draft: CpuDraft) -> bool {
        let Some(mut state) = self.state() else { return false };
        let given = draft.given();
        if given == state.given {
            return false;
        }
        state.given = given;
        self.save(&mut state);
        true
    }

    /// The CPUs that a container is held to; `None` without the policy.
    pub fn of(&self, uid: &str, container: &str) -> Option<CpuSet> {
        let state = self.state()?;
        let own = state.given.entries.get(uid).and_then(|pod| pod.get(container)).cloned();
        Some(own.unwrap_or_else(|| state.machine.shared(&state.given))).filter(|set| !set.is_empty())
    }

    /// Holds a container to its CPUs. One that has them alone is not throttled besides (upstream's `DisableCPUQuotaWithExclusiveCPUs`).
    pub fn hold(&self, uid: &str, container: &str, resources: &mut LinuxContainerResources) {
        if let Some(cpus) = self.of(uid, container) {
            resources.cpuset_cpus = cpus.to_string();
        }
        if !self.exclusive(uid, container).is_empty() {
            resources.cpu_quota = UNTHROTTLED;
        }
    }

    /// Whether any container of a pod has CPUs alone: then the pod as a whole is not throttled either.
    pub fn has_exclusive(&self, uid: &str) -> bool {
        let of = |state: MutexGuard<'_, State>| Some(state.given.entries.get(uid)?.values().any(|set| !set.is_empty()));
        self.state().and_then(of).unwrap_or(false)
    }

    /// CPUs that a container has alone, for monitors.
    pub fn exclusive(&self, uid: &str, container: &str) -> CpuSet {
        let of = |state: MutexGuard<'_, State>| state.given.entries.get(uid)?.get(container).cloned();
        self.state().and_then(of).unwrap_or_default()
    }

    /// How many CPUs are whose; `None` without the policy.
    pub fn pool(&self) -> Option<Pool> {
        let state = self.state()?;
        let shared = state.machine.free(&state.given).len();
        let all = state.given.entries.values().flat_map(BTreeMap::values);
        Some(Pool { shared, exclusive: all.fold(CpuSet::default(), |all, set| all.with(set)).len() })
    }

    /// CPUs that containers may get alone, for monitors.
    pub fn allocatable(&self) -> CpuSet {
        let of = |state: MutexGuard<'_, State>| state.machine.topology.all().without(&state.machine.reserved);
        self.state().map(of).unwrap_or_default()
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
        state.given.default_cpu_set = state.machine.shared(&state.given);
        let text = serde_json::to_vec(&state.given).map_err(std::io::Error::other);
        if let Err(error) = text.and_then(|text| write_atomically(&self.path, &text, 0o600)) {
            tracing::warn!("{CHECKPOINT} cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Refusal;
    use crate::numa::{Numa, TopologyRules, place};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn admit(cpus: &Cpus, pod: &Pod) -> Result<bool, Refusal> {
        let Some(mut draft) = cpus.draft() else { return Ok(false) };
        let numa = Numa::read(Path::new("/nonexistent"), 0, &[]);
        place(pod, &TopologyRules::default(), &numa, &mut [&mut draft]).map(|()| cpus.commit(draft))
    }

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
    fn cpus_that_are_offline_or_reserved_since_are_exchanged_or_shared() {
        let (dir, sys) = (tempfile::tempdir().unwrap(), machine());
        let open = |reserved: &str| {
            let reserved = Reserved::Set(CpuSet::parse(reserved).unwrap());
            Cpus::open(dir.path(), sys.path(), &CpuPolicy::Static { reserved, options: CpuOptions::default() })
        };
        assert_eq!(admit(&open("0"), &pod("a", &[], &[("one", "1"), ("two", "1")])), Ok(true));
        for (reserved, online, want, shared) in [
            ("0,9", "0-3", ["1", "2"], "0,3"),
            ("0-1", "0-3", ["3", "2"], "0-1"),
            ("0-1", "0-2", ["", "2"], "0-1"),
            ("0-1", "0-3", ["", "2"], "0-1,3"),
        ] {
            std::fs::write(sys.path().join("online"), online).unwrap();
            let cpus = open(reserved);
            assert_eq!(["one", "two"].map(|name| cpus.exclusive("a", name).to_string()), want, "{reserved} {online}");
            assert_eq!(cpus.of("b", "any").map(|set| set.to_string()).as_deref(), Some(shared), "{reserved} {online}");
        }
    }

    #[test]
    fn cpus_that_are_reserved_are_of_whole_cores() {
        let (dir, sys) = (tempfile::tempdir().unwrap(), machine());
        for id in 0..4 {
            let place = sys.path().join(format!("cpu{id}/topology"));
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("core_id"), (id % 2).to_string()).unwrap();
        }
        for (count, left) in [(1, "1-3"), (2, "1,3"), (9, "")] {
            let policy = CpuPolicy::Static { reserved: Reserved::Count(count), options: CpuOptions::default() };
            assert_eq!(Cpus::open(dir.path(), sys.path(), &policy).allocatable().to_string(), left, "{count}");
        }
    }

    #[test]
    fn whole_cpus_are_given_once_kept_over_restarts_and_come_back() {
        let (dir, sys) = (tempfile::tempdir().unwrap(), machine());
        let policy = CpuPolicy::Static { reserved: Reserved::Count(1), options: CpuOptions::default() };
        let open = || Cpus::open(dir.path(), sys.path(), &policy);
        let cpus = open();
        let of = |cpus: &Cpus, uid: &str, name: &str| cpus.of(uid, name).map(|set| set.to_string());
        assert_eq!(admit(&cpus, &pod("a", &[("i", "2")], &[("one", "1"), ("part", "500m")])), Ok(true));
        assert_eq!((of(&cpus, "a", "one").as_deref(), of(&cpus, "a", "i").as_deref()), (Some("1"), Some("1-2")));
        assert_eq!(cpus.pool(), Some(Pool { shared: 1, exclusive: 2 }));
        // A part of a CPU is a part of the shared ones.
        assert_eq!(of(&cpus, "a", "part").as_deref(), Some("0,3"));
        assert_eq!(of(&cpus, "b", "any").as_deref(), Some("0,3"));
        for (uid, name, quota, set) in
            [("a", "one", -1, "1"), ("a", "part", 50_000, "0,3"), ("b", "any", 50_000, "0,3")]
        {
            let mut resources = LinuxContainerResources { cpu_quota: 50_000, ..Default::default() };
            cpus.hold(uid, name, &mut resources);
            assert_eq!((resources.cpu_quota, resources.cpuset_cpus.as_str()), (quota, set), "{name}");
        }
        assert_eq!(["a", "b"].map(|uid| cpus.has_exclusive(uid)), [true, false]);
        let refused = admit(&cpus, &pod("b", &[], &[("two", "2")])).unwrap_err();
        assert!(refused.1.contains("requested=2, available=1"), "{refused:?}");
        assert_eq!(admit(&cpus, &pod("c", &[], &[("part", "100m")])), Ok(false));
        let again = open();
        assert_eq!(admit(&again, &pod("a", &[("i", "2")], &[("one", "1")])), Ok(false), "it has them already");
        assert_eq!(again.exclusive("a", "one").to_string(), "1");
        assert!(again.keep(&BTreeSet::new()) && !again.keep(&BTreeSet::new()));
        assert_eq!(of(&again, "a", "one").as_deref(), Some("0-3"));
        let none = Cpus::open(dir.path(), sys.path(), &CpuPolicy::None);
        assert_eq!((admit(&none, &pod("a", &[], &[("one", "1")])), none.of("a", "one")), (Ok(false), None));
        assert_eq!(none.pool(), None);
    }
}
