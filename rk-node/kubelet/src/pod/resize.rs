//! In-place resize (KEP-1287, KEP-5419): which running containers are held to other resources than their spec now asks for, and
//! whether a pod can have what it asks for now.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_cri_api::v1::LinuxContainerResources;

use super::decide::{Kill, Plan, Start};
use super::spec;
use crate::quantity::milli_of;
use crate::resources::{Qos, container_resources, pod_total, qos_class};
use crate::runtime::RuntimePod;
use crate::swap::SwapRule;

/// A running container whose limits are to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Runtime's ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it is to be held to.
    pub resources: LinuxContainerResources,
    /// The container wants to be restarted for this (`resizePolicy: RestartContainer`).
    pub restart: bool,
}

fn differs(a: i64, b: i64) -> bool {
    // Zero and negative both mean "no limit".
    a.max(0) != b.max(0)
}

fn wants_restart(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    policies.iter().any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
}

/// Compares the spec with what the runtime holds the containers to; who has CPUs alone stays unthrottled.
pub fn resizes(pod: &Pod, runtime: &RuntimePod, node_memory: i64) -> Vec<Resize> {
    spec::init_containers(pod)
        .iter()
        .chain(spec::app_containers(pod))
        .filter_map(|container| {
            let last = runtime.container(&container.name).filter(|c| c.running())?;
            let held = last.resources.as_ref()?;
            let mut wanted = container_resources(pod, container, node_memory);
            wanted.cpu_quota = if held.cpu_quota < 0 { held.cpu_quota } else { wanted.cpu_quota };
            let cpu = differs(held.cpu_shares, wanted.cpu_shares) || differs(held.cpu_quota, wanted.cpu_quota);
            let memory = differs(held.memory_limit_in_bytes, wanted.memory_limit_in_bytes);
            if !cpu && !memory {
                return None;
            }
            if wanted.memory_limit_in_bytes == 0 {
                // Zero would mean "as it is" to the runtime.
                wanted.memory_limit_in_bytes = -1;
            }
            // Scores and group kills are set once, at creation.
            wanted.unified.clear();
            wanted.oom_score_adj = held.oom_score_adj;
            let restart = (cpu && wants_restart(container, "cpu")) || (memory && wants_restart(container, "memory"));
            Some(Resize { id: last.id.clone(), name: container.name.clone(), resources: wanted, restart })
        })
        .collect()
}

/// Adds to a plan that these containers end and begin anew. However they end: their policy is about ends that nobody asked for.
pub fn restart(plan: &mut Plan, pod: &Pod, runtime: &RuntimePod, restarts: Vec<Resize>) {
    if plan.kill_pod || plan.end_round.is_some() {
        return;
    }
    for change in restarts {
        let running = runtime.containers.iter().find(|c| c.id == change.id && c.running());
        let (Some(last), Some((kind, _))) = (running, spec::find_container(pod, &change.name)) else { continue };
        if plan.kill.iter().any(|kill| kill.id == change.id) {
            continue;
        }
        let (name, attempt) = (change.name, last.restart_count.saturating_add(1));
        let message = format!("Container {name} resize requires restart");
        plan.kill.push(Kill { id: change.id, name: name.clone(), message, grace: None });
        plan.start.push(Start { kind, name, attempt, round: last.round, after: None });
    }
}

/// Whether a container goes on with less memory than it is held to.
pub fn lowers_memory(change: &Resize, runtime: &RuntimePod) -> bool {
    let held = runtime.containers.iter().find(|c| c.id == change.id).and_then(|c| c.resources.as_ref());
    let (held, wanted) = (held.map_or(0, |r| r.memory_limit_in_bytes), change.resources.memory_limit_in_bytes);
    // Zero and negative both mean "no limit".
    !change.restart && wanted > 0 && (held <= 0 || wanted < held)
}

/// Why memory is not taken from a container that goes on: it uses as much, and the kernel would kill it. `used` are bytes by container ID.
pub fn below_usage(changes: &[Resize], runtime: &RuntimePod, used: &HashMap<String, u64>) -> Option<String> {
    changes.iter().filter(|change| lowers_memory(change, runtime)).find_map(|change| {
        let (name, wanted) = (&change.name, change.resources.memory_limit_in_bytes.unsigned_abs());
        let used = *used.get(&change.id)?;
        let told =
            || format!("attempting to set container {name:?} memory limit ({wanted}) below current usage ({used})");
        (wanted <= used).then(told)
    })
}

/// Whether the spec asks for more than the status says is allocated.
fn asks_for_more(pod: &Pod) -> bool {
    asks(pod, &["cpu", "memory"], |wanted, had| wanted > had)
}

/// The containers of a pod, and what the status says is allocated to each.
fn allocated(pod: &Pod) -> impl Iterator<Item = (Container, &BTreeMap<String, Quantity>)> {
    let lists = pod.status.as_ref().map(|s| [&s.container_statuses, &s.init_container_statuses]);
    lists.into_iter().flatten().flatten().flatten().filter_map(move |known| {
        let (_, container) = spec::find_container(pod, &known.name)?;
        Some((container, known.allocated_resources.as_ref()?))
    })
}

/// Whether the requests of these resources of any container, or of the pod as a whole, are to those allocated as `compare` says.
fn asks(pod: &Pod, resources: &[&str], compare: impl Fn(i64, i64) -> bool) -> bool {
    let differ = |wanted: Option<&BTreeMap<String, Quantity>>, had: &BTreeMap<String, Quantity>| {
        resources.iter().any(|name| compare(milli_of(wanted, name), milli_of(Some(had), name)))
    };
    let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref());
    let of_pod = pod.status.as_ref().and_then(|s| s.allocated_resources.as_ref());
    if whole.is_some() && of_pod.is_some_and(|had| differ(whole, had)) {
        return true;
    }
    allocated(pod).any(|(container, had)| differ(container.resources.unwrap_or_default().requests.as_ref(), had))
}

/// What of a node keeps pods at their size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Whole CPUs are given to containers.
    pub exclusive_cpus: bool,
    /// Memory is given to containers from nodes that have it.
    pub exclusive_memory: bool,
    /// How much swap containers may use.
    pub swap: SwapRule,
}

/// What messages of resizes that are never begun name.
const EXCLUSIVE_CPUS: &str = "CPU Manager policy \"static\"";
const EXCLUSIVE_MEMORY: &str = "Memory Manager policy \"Static\"";
const SWAPS: &str = "In-place resize of containers with swap is not supported.";

/// Upstream's word for what a message names that tells why a resize is never begun.
pub fn detail(message: &str) -> &'static str {
    let words = [
        (EXCLUSIVE_CPUS, "guaranteed_pod_cpu_manager_static_policy"),
        (EXCLUSIVE_MEMORY, "guaranteed_pod_memory_manager_static_policy"),
        (SWAPS, "swap_limitation"),
    ];
    words
        .into_iter()
        .find(|(named, _)| message.ends_with(named))
        .map_or("insufficient_node_allocatable", |(_, word)| word)
}

/// Why a resize is never begun on a node with these rules: what was counted out for a Guaranteed pod when it came stays, and a share of
/// the swap goes with the memory that was asked for first.
pub fn fixed(pod: &Pod, rules: &Rules) -> Option<(String, String)> {
    let guaranteed = qos_class(pod) == Qos::Guaranteed;
    let counted_out = |resource: &str, manager: &str| {
        let changes = guaranteed && asks(pod, &[resource], |wanted, had| wanted != had);
        changes.then(|| format!("Resize is infeasible for Guaranteed Pods alongside {manager}"))
    };
    let cpus = || counted_out("cpu", EXCLUSIVE_CPUS);
    let memory = || counted_out("memory", EXCLUSIVE_MEMORY);
    let swap = || swaps(pod, &rules.swap).then(|| SWAPS.to_owned());
    let message = rules.exclusive_cpus.then(cpus).flatten();
    let message = message.or_else(|| rules.exclusive_memory.then(memory).flatten()).or_else(swap);
    message.map(|message| ("Infeasible".to_owned(), message))
}

/// Whether a container that swaps, before or after, is to have another amount of memory without being restarted.
fn swaps(pod: &Pod, rule: &SwapRule) -> bool {
    allocated(pod).any(|(container, had)| {
        let wanted = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        if milli_of(wanted, "memory") == milli_of(Some(had), "memory") || wants_restart(&container, "memory") {
            return false;
        }
        let mut before = container.clone();
        before.resources.get_or_insert_default().requests = Some(had.clone());
        [&container, &before].iter().any(|one| rule.limit(pod, one).is_some_and(|bytes| bytes > 0))
    })
}

/// Why a resize that the spec asks for is not begun: reason and message of the condition `PodResizePending`.
pub fn pending(pod: &Pod, others: &[&Pod], allocatable: &BTreeMap<String, Quantity>) -> Option<(String, String)> {
    if !asks_for_more(pod) {
        return None;
    }
    for resource in ["cpu", "memory"] {
        // CPU counts in thousandths, memory in bytes.
        let unit = if resource == "cpu" { 1 } else { 1000 };
        let (requested, capacity) = (pod_total(pod, resource, false), milli_of(Some(allocatable), resource));
        let used: i64 = others.iter().map(|p| pod_total(p, resource, false)).sum();
        let told = |what: &str, used: String| {
            let (requested, capacity) = (requested / unit, capacity / unit);
            format!("Node didn't have enough {what}: {resource}, requested: {requested}, {used}capacity: {capacity}")
        };
        if requested > capacity {
            return Some(("Infeasible".into(), told("capacity", String::new())));
        }
        if requested.saturating_add(used) > capacity {
            return Some(("Deferred".into(), told("resource", format!("used: {}, ", used / unit))));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::decide_tests::{pod, runtime, sandbox};
    use super::*;
    use crate::swap::SwapBehavior;
    use serde_json::json;

    #[test]
    fn a_changed_limit_is_a_resize_and_an_equal_one_is_not() {
        let with = |cpu: &str, memory: &str| {
            pod(json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": cpu, "memory": memory}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}]}))
        };
        let before = with("500m", "64Mi");
        let mut found = runtime(&before, &[sandbox(0, true)], &["a:running"]);
        assert!(resizes(&before, &found, 1 << 30).is_empty(), "a runtime that tells nothing is left alone");
        found.containers[0].resources = Some(container_resources(&before, &spec::app_containers(&before)[0], 1 << 30));
        assert!(resizes(&before, &found, 1 << 30).is_empty());
        let mut alone = found.clone();
        alone.containers[0].resources.as_mut().unwrap().cpu_quota = -1;
        let changes = ["64Mi", "128Mi"].map(|memory| resizes(&with("500m", memory), &alone, 1 << 30));
        assert_eq!(changes.map(|of| of.iter().map(|r| r.resources.cpu_quota).sum::<i64>()), [0, -1], "not throttled");
        let more_cpu = resizes(&with("1", "64Mi"), &found, 1 << 30);
        assert_eq!(more_cpu.iter().map(|r| (r.resources.cpu_quota, r.restart)).collect::<Vec<_>>(), [(100_000, false)]);
        let more_memory = resizes(&with("500m", "128Mi"), &found, 1 << 30);
        assert_eq!(
            more_memory.iter().map(|r| (r.resources.memory_limit_in_bytes >> 20, r.restart)).collect::<Vec<_>>(),
            [(128, true)]
        );
    }

    #[test]
    fn what_is_restarted_for_a_resize_begins_anew_however_it_ends() {
        let pod =
            pod(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}));
        let found = runtime(&pod, &[sandbox(0, true)], &["a:running:0:2", "b:running", "c:exited"]);
        let all = || -> Vec<Resize> {
            let of = |(id, name): (&str, &str)| (id.to_owned(), name.to_owned());
            let changes = [("a-2", "a"), ("b-0", "b"), ("c-0", "c"), ("d-0", "d")].map(of).into_iter();
            changes.map(|(id, name)| Resize { id, name, resources: Default::default(), restart: true }).collect()
        };
        let unhealthy = Kill { id: "b-0".into(), name: "b".into(), message: "unhealthy".into(), grace: Some(3) };
        let mut plan = Plan { kill: vec![unhealthy.clone()], ..Default::default() };
        restart(&mut plan, &pod, &found, all());
        let kill = Kill {
            id: "a-2".into(),
            name: "a".into(),
            message: "Container a resize requires restart".into(),
            grace: None,
        };
        assert_eq!(plan.kill, [unhealthy, kill], "what ends anyway ends as it was to");
        let start = Start { kind: spec::Kind::App, name: "a".into(), attempt: 3, round: 0, after: None };
        assert_eq!(plan.start, [start]);
        let mut ends = Plan { kill_pod: true, ..Default::default() };
        restart(&mut ends, &pod, &found, all());
        assert!(ends.kill.is_empty() && ends.start.is_empty(), "{ends:?}");
    }

    #[test]
    fn memory_that_is_used_is_not_taken_from_what_goes_on() {
        let with = |memory: &str, policy: &str| {
            pod(json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": memory}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]}))
        };
        let before = with("64Mi", "NotRequired");
        let mut found = runtime(&before, &[sandbox(0, true)], &["a:running"]);
        found.containers[0].resources = Some(container_resources(&before, &spec::app_containers(&before)[0], 1 << 30));
        let used = HashMap::from([("a-0".to_owned(), 20_u64 << 20)]);
        let judged = |memory: &str, policy: &str, used: &HashMap<String, u64>| {
            below_usage(&resizes(&with(memory, policy), &found, 1 << 30), &found, used)
        };
        let why = "attempting to set container \"a\" memory limit (10485760) below current usage (20971520)";
        assert_eq!(judged("10Mi", "NotRequired", &used).as_deref(), Some(why));
        for (memory, policy) in [("32Mi", "NotRequired"), ("128Mi", "NotRequired"), ("10Mi", "RestartContainer")] {
            assert_eq!(judged(memory, policy, &used), None, "{memory} {policy}");
        }
        assert_eq!(judged("10Mi", "NotRequired", &HashMap::new()), None, "nobody knows what it uses");
        found.containers[0].resources.as_mut().unwrap().memory_limit_in_bytes = 0;
        let changes = resizes(&with("10Mi", "NotRequired"), &found, 1 << 30);
        assert!(below_usage(&changes, &found, &used).is_some(), "a first limit is lower than none");
    }

    #[test]
    fn init_containers_that_run_are_resized_and_a_pod_is_as_a_whole() {
        let with = |cpu: &str| {
            let init = json!([{"name": "i", "resources": {"limits": {"cpu": cpu, "memory": "64Mi"}}}]);
            pod(json!({"initContainers": init, "containers": [{"name": "a"}]}))
        };
        let before = with("500m");
        let mut found = runtime(&before, &[sandbox(0, true)], &["i:running"]);
        found.containers[0].resources = Some(container_resources(&before, &spec::init_containers(&before)[0], 1 << 30));
        assert!(resizes(&before, &found, 1 << 30).is_empty());
        assert_eq!(resizes(&with("1"), &found, 1 << 30).len(), 1);
        let whole = |cpu: &str| {
            let mut pod = pod(json!({"resources": {"requests": {"cpu": cpu}}, "containers": [{"name": "a"}]}));
            pod.status = serde_json::from_value(json!({"allocatedResources": {"cpu": "1"}})).unwrap();
            pod
        };
        let node = BTreeMap::from([("cpu".to_owned(), Quantity("2".into()))]);
        for (cpu, want) in [("500m", None), ("1", None), ("2", None), ("3", Some("Infeasible"))] {
            assert_eq!(pending(&whole(cpu), &[], &node).as_ref().map(|(reason, _)| reason.as_str()), want, "{cpu}");
        }
    }

    /// A pod that was given 2 CPUs and 1 Mi, and asks for this now.
    fn asking(resources: serde_json::Value, policy: &str) -> Pod {
        let mut pod = pod(json!({"containers": [{"name": "a", "resources": resources,
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]}));
        let had = json!({"containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "2", "memory": "1Mi"}}]});
        pod.status = serde_json::from_value(had).unwrap();
        pod
    }

    #[test]
    fn guaranteed_pods_keep_their_size_beside_exclusive_cpus_and_memory() {
        let (cpus, memory) = ("CPU Manager policy \"static\"", "Memory Manager policy \"Static\"");
        for (message, want) in [
            (cpus, "guaranteed_pod_cpu_manager_static_policy"),
            (memory, "guaranteed_pod_memory_manager_static_policy"),
            (SWAPS, "swap_limitation"),
            ("Node didn't have enough capacity: cpu, requested: 2, capacity: 1", "insufficient_node_allocatable"),
        ] {
            assert_eq!(detail(message), want);
        }
        for (cpu, asked, exclusive, want) in [
            ("2", "1Mi", (true, true), None),
            ("1", "1Mi", (true, false), Some(cpus)),
            ("3", "2Mi", (true, true), Some(cpus)),
            ("3", "1Mi", (false, true), None),
            ("2", "2Mi", (false, true), Some(memory)),
            ("2", "2Mi", (true, false), None),
        ] {
            let amounts = json!({"cpu": cpu, "memory": asked});
            let pod = asking(json!({"requests": amounts, "limits": amounts}), "NotRequired");
            let rules = Rules { exclusive_cpus: exclusive.0, exclusive_memory: exclusive.1, ..Default::default() };
            let want = want.map(|manager| {
                let message = format!("Resize is infeasible for Guaranteed Pods alongside {manager}");
                ("Infeasible".to_owned(), message)
            });
            assert_eq!(fixed(&pod, &rules), want, "{cpu} {asked} {exclusive:?}");
        }
    }

    #[test]
    fn memory_of_what_swaps_changes_with_a_restart_alone() {
        let swap =
            SwapRule { behavior: SwapBehavior::LimitedSwap, memory: 1 << 30, capacity: 1 << 30, controlled: true };
        for (resources, policy, swap, refused) in [
            (json!({"requests": {"cpu": "2", "memory": "2Mi"}}), "NotRequired", swap, true),
            (json!({"requests": {"cpu": "2", "memory": "2Mi"}}), "RestartContainer", swap, false),
            (json!({"requests": {"cpu": "3", "memory": "1Mi"}}), "NotRequired", swap, false),
            (json!({"requests": {"cpu": "2", "memory": "2Mi"}}), "NotRequired", SwapRule::default(), false),
        ] {
            let rules = Rules { swap, ..Default::default() };
            let found = fixed(&asking(resources.clone(), policy), &rules);
            assert_eq!(found.is_some(), refused, "{resources} {policy}: {found:?}");
        }
    }

    #[test]
    fn a_resize_that_does_not_fit_waits_and_one_that_never_will_says_so() {
        let with = |request: &str| {
            let mut pod = pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": request}}}]}));
            let had = json!({"containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": "500m"}}]});
            pod.status = serde_json::from_value(had).unwrap();
            pod
        };
        let other = pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "800m"}}}]}));
        let node =
            BTreeMap::from([("cpu".to_owned(), Quantity("2".into())), ("memory".to_owned(), Quantity("1Gi".into()))]);
        for (request, want) in [
            ("500m", None),
            ("100m", None),
            ("1200m", None),
            (
                "1500m",
                Some(("Deferred", "Node didn't have enough resource: cpu, requested: 1500, used: 800, capacity: 2000")),
            ),
            ("3", Some(("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"))),
        ] {
            let found = pending(&with(request), &[&other], &node);
            assert_eq!(found.as_ref().map(|(r, m)| (r.as_str(), m.as_str())), want, "{request}");
        }
    }
}
