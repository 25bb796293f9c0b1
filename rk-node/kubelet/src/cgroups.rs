//! The kubelet's part of the cgroup v2 tree: `kubepods`, its QoS classes and one group per pod. Containers' own are the runtime's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::cpus::Cpus;
use crate::pod::spec;
use crate::resources::{cgroup_parent, pod_cgroup, pod_huge_pages, shares, weight};

/// Controllers that every level hands down.
const CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "io", "cpuset", "hugetlb"];

/// The largest page of memory that kernels count in, bytes.
const LARGEST_PAGE: u64 = 64 * 1024;

/// How deep groups are looked for below a pod's: what runs there may have made some of its own, and those of another node's pods.
const DEEPEST: usize = 64;

/// Where pods of the classes Guaranteed, Burstable and BestEffort are.
const CLASSES: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

/// What all pods of the node may have together (upstream's `enforceNodeAllocatable`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// Memory in bytes; `None` when it is not bounded.
    pub memory: Option<u64>,
    /// CPU in thousandths: their weight beside the node's own services, not a bound.
    pub cpu: i64,
    /// Processes and threads, where the kernel tells how many there can be.
    pub tasks: Option<u64>,
}

/// The tree below one root. Without a cgroup v2 mount (development hosts) it is inert.
pub struct Cgroups {
    root: PathBuf,
    usable: bool,
    /// Most processes of one pod.
    pids: Option<u64>,
    /// Sizes of huge pages that the kernel has, as it names them in files of cgroups.
    page_sizes: Vec<String>,
    /// Who knows which pods have CPUs alone.
    cpus: Option<Cpus>,
}

impl Cgroups {
    /// The tree at `root`; `pids` bounds the processes of each pod, `page_sizes` are those of [`crate::resources::page_size`].
    pub fn new(root: &Path, pids: Option<u64>, page_sizes: Vec<String>) -> Self {
        let usable = root.join("cgroup.controllers").exists();
        if !usable {
            tracing::warn!(root = %root.display(), "no cgroup v2 here: pods run without resource limits of their own");
        }
        Self { root: root.to_owned(), usable, pids, page_sizes, cpus: None }
    }

    /// Does not throttle pods that have CPUs alone.
    pub fn beside(self, cpus: Cpus) -> Self {
        Self { cpus: Some(cpus), ..self }
    }

    /// What the files of a pod's group are to say.
    fn limits(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        let alone = self.cpus.as_ref().is_some_and(|cpus| cpus.has_exclusive(spec::uid(pod)));
        pod_cgroup(pod, !alone)
    }

    /// Makes `kubepods` and its classes, and holds all pods to what they may have together.
    pub fn prepare(&self, together: Together) -> io::Result<()> {
        if !self.usable {
            return Ok(());
        }
        hand_down(&self.root);
        for group in CLASSES {
            let dir = self.root.join(group);
            fs::create_dir_all(&dir)?;
            hand_down(&dir);
        }
        // Whatever pods do, the node's own services can make processes.
        let pods = self.root.join("kubepods");
        if let Some(tasks) = together.tasks {
            write(&pods, "pids.max", &tasks.to_string())?;
        }
        write(&pods, "memory.max", &together.memory.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string()))?;
        write(&pods, "cpu.weight", &weight(shares(together.cpu)).to_string())?;
        // A pod that asks for nothing gets the least there is.
        write(&self.root.join("kubepods/besteffort"), "cpu.weight", "1")
    }

    /// Gives the Burstable pods together the weight of `cpu` thousandths, which is what they ask for: with a weight that stays, a
    /// hundred of them would be worth as much as one.
    pub fn weigh(&self, cpu: i64) -> io::Result<()> {
        let (dir, wanted) = (self.root.join("kubepods/burstable"), weight(shares(cpu)).to_string());
        let held = fs::read_to_string(dir.join("cpu.weight")).unwrap_or_default();
        if !self.usable || held.trim() == wanted {
            return Ok(());
        }
        write(&dir, "cpu.weight", &wanted)
    }

    /// Sizes of huge pages, as the kernel names them in files of cgroups.
    pub fn page_sizes(&self) -> &[String] {
        &self.page_sizes
    }

    /// Makes the pod's group and sets its limits.
    pub fn ensure_pod(&self, pod: &Pod) -> io::Result<()> {
        if !self.usable {
            return Ok(());
        }
        let dir = self.path(pod);
        fs::create_dir_all(&dir)?;
        hand_down(&dir);
        if let Some(pids) = self.pids {
            write(&dir, "pids.max", &pids.to_string())?;
        }
        for (file, bytes) in pod_huge_pages(pod, &self.page_sizes) {
            // A kernel that counts no huge pages has no such file.
            if dir.join(&file).exists() {
                write(&dir, &file, &bytes.to_string())?;
            }
        }
        self.limits(pod).into_iter().try_for_each(|(file, value)| write(&dir, file, &value))
    }

    /// Raises the pod's limits to what it asks for now; those that would fall stay.
    pub fn grow_pod(&self, pod: &Pod) -> io::Result<()> {
        if !self.usable {
            return Ok(());
        }
        let dir = self.path(pod);
        let limits = self.limits(pod);
        for file in ["cpu.max", "memory.max"] {
            // A limit that is gone is the largest of all.
            let wanted = limits.iter().find(|(name, _)| *name == file).map_or("max", |(_, value)| value.as_str());
            let held = fs::read_to_string(dir.join(file)).unwrap_or_default();
            if amount(wanted) > amount(&held) {
                write(&dir, file, wanted)?;
            }
        }
        Ok(())
    }

    /// Whether a pod that asks for something as a whole is held to something else; one without a group is held to nothing.
    pub fn is_behind(&self, pod: &Pod) -> bool {
        let asks = pod.spec.as_ref().is_some_and(|spec| spec.resources.is_some());
        if !self.usable || !asks {
            return false;
        }
        let dir = self.path(pod);
        self.limits(pod).iter().any(|(file, wanted)| {
            fs::read_to_string(dir.join(file)).is_ok_and(|held| !says(file, wanted.trim(), held.trim()))
        })
    }

    /// Removes the pod's group with what the runtime left below it, whatever class it was made in. What still runs in it is killed: a
    /// container that was being made when its shim died has nobody else who ends it.
    pub fn remove_pod(&self, pod: &Pod) -> io::Result<()> {
        if !self.usable {
            return Ok(());
        }
        let group = format!("pod{}", spec::uid(pod));
        CLASSES.iter().try_for_each(|class| {
            let dir = self.root.join(class).join(&group);
            if let Err(error) = rk_sys::kill_cgroup(&dir) {
                // Perhaps nobody runs in it; else it cannot be removed, which is told.
                tracing::debug!("{error}");
            }
            remove(&dir, 0)
        })
    }

    /// Where the pod's group is.
    pub fn path(&self, pod: &Pod) -> PathBuf {
        self.root.join(cgroup_parent(pod).trim_start_matches('/'))
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// The first word of a limit file as a number; `max` is above all numbers.
fn amount(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether a file says what was written into it: the kernel keeps whole pages of memory.
fn says(file: &str, wanted: &str, held: &str) -> bool {
    let less = amount(wanted).checked_sub(amount(held));
    wanted == held || (file == "memory.max" && less.is_some_and(|less| less < LARGEST_PAGE))
}

/// Enables all controllers at once or, where the kernel lacks one, each by itself: that one must not keep the others away.
fn hand_down(dir: &Path) {
    let all = CONTROLLERS.map(|controller| format!("+{controller}")).join(" ");
    if fs::write(dir.join("cgroup.subtree_control"), all).is_ok() {
        return;
    }
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(dir = %dir.display(), controller, "a controller is not available: {error}");
        }
    }
}

fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(dir.join(file), value)
        .map_err(|e| io::Error::other(format!("writing {value} to {}/{file}: {e}", dir.display())))
}

fn remove(dir: &Path, depth: usize) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    if depth < DEEPEST {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove(&entry.path(), depth + 1)?;
            }
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::other(format!("removing {}: {e}", dir.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpus::{CpuOptions, CpuPolicy, Reserved};

    #[test]
    fn a_pod_grows_first_and_shrinks_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let tree = Cgroups::new(dir.path(), Some(99), vec!["2MB".to_owned(), "1GB".to_owned()]);
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}]}}))
        .unwrap();
        let group = tree.path(&pod);
        fs::create_dir_all(&group).unwrap();
        let set = |cpu: &str, memory: &str| {
            fs::write(group.join("cpu.max"), cpu).unwrap();
            fs::write(group.join("memory.max"), memory).unwrap();
        };
        let held = || ["cpu.max", "memory.max"].map(|f| fs::read_to_string(group.join(f)).unwrap());
        set("50000 100000", "max");
        fs::write(group.join("hugetlb.2MB.max"), "max").unwrap();
        tree.grow_pod(&pod).unwrap();
        assert_eq!(held(), ["100000 100000", "max"]);
        tree.ensure_pod(&pod).unwrap();
        assert_eq!(held(), ["100000 100000", "67108864"]);
        assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap(), "99");
        assert_eq!(fs::read_to_string(group.join("hugetlb.2MB.max")).unwrap(), "0");
        assert!(!group.join("hugetlb.1GB.max").exists(), "the kernel counts none of these");
    }

    #[test]
    fn a_pod_with_cpus_of_its_own_is_not_throttled() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let pod = |uid: &str| -> Pod {
            let amounts = serde_json::json!({"cpu": "1", "memory": "64Mi"});
            let container = serde_json::json!({"name": "a", "resources": {"requests": amounts, "limits": amounts}});
            let spec = serde_json::json!({"containers": [container]});
            serde_json::from_value(serde_json::json!({"metadata": {"uid": uid}, "spec": spec})).unwrap()
        };
        let given = r#"{"policyName": "static", "defaultCpuSet": "0", "entries": {"own": {"a": "1"}}}"#;
        fs::write(dir.path().join("cpu_manager_state"), given).unwrap();
        fs::write(dir.path().join("online"), "0-1").unwrap();
        let policy = CpuPolicy::Static { reserved: Reserved::Count(1), options: CpuOptions::default() };
        let tree = Cgroups::new(dir.path(), None, Vec::new()).beside(Cpus::open(dir.path(), dir.path(), &policy));
        for (uid, want) in [("own", "max 100000"), ("shares", "100000 100000")] {
            tree.ensure_pod(&pod(uid)).unwrap();
            let held = |file: &str| fs::read_to_string(tree.path(&pod(uid)).join(file)).unwrap();
            assert_eq!((held("cpu.max").as_str(), held("memory.max").as_str()), (want, "67108864"), "{uid}");
        }
    }

    #[test]
    fn a_pod_is_behind_until_its_group_says_what_it_asks_for_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let tree = Cgroups::new(dir.path(), None, Vec::new());
        let pod = |cpu: &str, memory: &str| -> Pod {
            let amounts = serde_json::json!({"cpu": cpu, "memory": memory});
            let whole = serde_json::json!({"requests": amounts, "limits": amounts});
            let spec = serde_json::json!({"resources": whole, "containers": [{"name": "a"}]});
            serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
        };
        let first = pod("1", "100M");
        assert!(!tree.is_behind(&first), "it has no group yet");
        tree.ensure_pod(&first).unwrap();
        // As the kernel rounds it.
        fs::write(tree.path(&first).join("memory.max"), "99999744\n").unwrap();
        assert!(!tree.is_behind(&first));
        for (cpu, memory, behind) in
            [("1", "100M", false), ("1001m", "100M", true), ("1", "101M", true), ("1", "99M", true)]
        {
            assert_eq!(tree.is_behind(&pod(cpu, memory)), behind, "{cpu} {memory}");
        }
    }

    #[test]
    fn all_pods_together_are_held_and_burstable_ones_weigh_what_they_ask_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let tree = Cgroups::new(dir.path(), None, Vec::new());
        let held = |file: &str| fs::read_to_string(dir.path().join("kubepods").join(file)).unwrap_or_default();
        tree.prepare(Together { memory: Some(1 << 30), cpu: 2000, tasks: Some(6921) }).unwrap();
        assert_eq!(["memory.max", "cpu.weight", "pids.max"].map(held), ["1073741824", "79", "6921"]);
        assert_eq!(held("besteffort/cpu.weight"), "1");
        for (cpu, weight) in [(0, "1"), (2500, "98"), (2500, "98"), (10_000_000, "10000")] {
            tree.weigh(cpu).unwrap();
            assert_eq!(held("burstable/cpu.weight"), weight, "{cpu}");
        }
        tree.prepare(Together { memory: None, cpu: 2000, tasks: None }).unwrap();
        assert_eq!(["memory.max", "pids.max"].map(held), ["max", "6921"]);
        assert_eq!(held("burstable/cpu.weight"), "10000", "only what is told of the pods changes it");
    }

    #[test]
    fn a_pod_of_unknown_class_is_removed_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let tree = Cgroups::new(dir.path(), None, Vec::new());
        let group = dir.path().join("kubepods/burstable/podu");
        fs::create_dir_all(group.join("container").join("nested/".repeat(20))).unwrap();
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": {"containers": []}})).unwrap();
        tree.remove_pod(&pod).unwrap();
        assert!(!group.exists());
        tree.remove_pod(&pod).unwrap();
    }

    #[test]
    fn what_runs_in_the_group_of_a_pod_that_goes_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let tree = Cgroups::new(dir.path(), None, Vec::new());
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": {"containers": []}})).unwrap();
        let kill = tree.path(&pod).join("cgroup.kill");
        fs::create_dir_all(tree.path(&pod)).unwrap();
        fs::write(&kill, "").unwrap();
        // Unlike a cgroup, a directory with files in it cannot be removed.
        tree.remove_pod(&pod).unwrap_err();
        assert_eq!(fs::read_to_string(&kill).unwrap(), "1");
    }
}
