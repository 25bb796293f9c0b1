//! Which pods make room for one that keeps the cluster going. Values only.
//!
//! The victims are as few and as unimportant as can be: guaranteed pods go only for what all others together cannot free, burstable
//! ones only for what best-effort ones cannot, and within a class the pod that comes closest to what is still missing.

use k8s_openapi::api::core::v1::Pod;

use crate::admission::{Short, admit, shortages, taken};
use crate::context::NodeFacts;
use crate::eviction::is_critical;
use crate::resources::{Qos, qos_class};

/// The message in the status of a victim.
pub const MESSAGE: &str = "Preempted in order to admit critical pod";

/// What is missing, by resource, thousandths.
type Missing = Vec<(String, i64)>;

/// The pods that must go for `pod`: `None` when it is not critical, lacks more than resources, or would not fit even then.
pub fn victims<'a>(pod: &Pod, others: &[&'a Pod], node: &NodeFacts, max_pods: u32) -> Option<Vec<&'a Pod>> {
    // Alone it must fit: other reasons than the others' weight are none that their end could mend.
    if !is_critical(pod) || admit(pod, &[], node, max_pods).is_err() {
        return None;
    }
    let missing: Missing =
        shortages(pod, others, node, max_pods).iter().map(|s: &Short| (s.resource.clone(), s.missing())).collect();
    let of =
        |class: Qos| others.iter().copied().filter(|o| may_go(o, pod) && qos_class(o) == class).collect::<Vec<_>>();
    let (best_effort, burstable, guaranteed) = (of(Qos::BestEffort), of(Qos::Burstable), of(Qos::Guaranteed));
    let first = fewest(&guaranteed, less(&less(&missing, &burstable), &best_effort))?;
    let second = fewest(&burstable, less(&less(&missing, &first), &best_effort))?;
    let third = fewest(&best_effort, less(&less(&missing, &first), &second))?;
    let chosen: Vec<&Pod> = first.into_iter().chain(second).chain(third).collect();
    let rest: Vec<&Pod> = others.iter().copied().filter(|o| !chosen.iter().any(|c| std::ptr::eq(*c, *o))).collect();
    // Host ports are no resource that is counted: the answer is checked as a whole.
    admit(pod, &rest, node, max_pods).is_ok().then_some(chosen)
}

/// What `pod` lacks first, by which preemptions are counted; nothing where it is no amount of anything.
pub fn lacks(pod: &Pod, others: &[&Pod], node: &NodeFacts, max_pods: u32) -> String {
    shortages(pod, others, node, max_pods).into_iter().next().map(|short| short.resource).unwrap_or_default()
}

/// Whether `other` may go for `pod`.
fn may_go(other: &Pod, pod: &Pod) -> bool {
    let priority = |p: &Pod| p.spec.as_ref().and_then(|s| s.priority);
    !is_critical(other) || matches!((priority(other), priority(pod)), (Some(a), Some(b)) if a < b)
}

/// What is still missing once `pods` are gone.
fn less(missing: &Missing, pods: &[&Pod]) -> Missing {
    let left = missing.iter().map(|(name, n)| (name.clone(), n - pods.iter().map(|p| taken(p, name)).sum::<i64>()));
    left.filter(|(_, n)| *n > 0).collect()
}

/// The fewest of `pods` that free what is missing; `None` when all of them do not.
fn fewest<'a>(pods: &[&'a Pod], mut missing: Missing) -> Option<Vec<&'a Pod>> {
    if !less(&missing, pods).is_empty() {
        return None;
    }
    let (mut left, mut chosen) = (pods.to_vec(), Vec::new());
    while !missing.is_empty() {
        let distance = |pod: &Pod| -> u64 {
            let share = |(name, n): &(String, i64)| {
                let open = (n - taken(pod, name)).max(0) as f64 / (*n).max(1) as f64;
                open * open
            };
            // Millionths order well enough, and can be compared.
            (missing.iter().map(share).sum::<f64>() * 1e6) as u64
        };
        let weight = |pod: &Pod| missing.iter().map(|(name, _)| taken(pod, name)).sum::<i64>();
        let (at, _) = left.iter().enumerate().min_by_key(|(_, pod)| (distance(pod), weight(pod)))?;
        let pod = left.remove(at);
        missing = less(&missing, &[pod]);
        chosen.push(pod);
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    const CRITICAL: i32 = 2_000_000_000;

    fn pod(name: &str, priority: i32, requests: serde_json::Value, limits: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}}))
        .unwrap()
    }

    fn burstable(name: &str, priority: i32, cpu: &str) -> Pod {
        pod(name, priority, json!({"cpu": cpu}), json!({}))
    }

    fn guaranteed(name: &str, cpu: &str) -> Pod {
        let all = json!({"cpu": cpu, "memory": "1Mi"});
        pod(name, 0, all.clone(), all)
    }

    fn chosen(pod: &Pod, others: &[Pod], max_pods: u32) -> Option<Vec<String>> {
        let node = NodeFacts {
            allocatable: [("cpu", "4"), ("memory", "1Gi")].map(|(k, v)| (k.to_owned(), Quantity(v.into()))).into(),
            ..Default::default()
        };
        let others: Vec<&Pod> = others.iter().collect();
        let found = victims(pod, &others, &node, max_pods)?;
        let lacks = lacks(pod, &others, &node, max_pods);
        assert_eq!(lacks, if max_pods as usize > others.len() { "cpu" } else { "pods" });
        Some(found.iter().filter_map(|p| p.metadata.name.clone()).collect())
    }

    #[test]
    fn the_fewest_and_least_important_make_room() {
        let critical = |cpu: &str| burstable("critical", CRITICAL, cpu);
        let others =
            [guaranteed("g", "2"), burstable("b1", 0, "1"), burstable("b2", 0, "500m"), burstable("b3", 0, "500m")];
        // A class above goes only when the classes below cannot free enough.
        for (cpu, want) in [
            ("500m", Some(vec!["b2"])),
            ("1", Some(vec!["b1"])),
            ("1500m", Some(vec!["b1", "b2"])),
            ("2500m", Some(vec!["g", "b2"])),
            ("4", Some(vec!["g", "b1", "b2", "b3"])),
            ("5", None),
        ] {
            let want = want.map(|w| w.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(chosen(&critical(cpu), &others, 110), want, "{cpu}");
        }
    }

    #[test]
    fn only_critical_pods_preempt_and_only_what_is_less_important() {
        let full = [burstable("old", 0, "4")];
        assert_eq!(chosen(&burstable("usual", 1000, "1"), &full, 110), None);
        assert_eq!(chosen(&burstable("critical", CRITICAL, "1"), &full, 110), Some(vec!["old".into()]));
        let equals = [burstable("old", CRITICAL, "4")];
        assert_eq!(chosen(&burstable("critical", CRITICAL, "1"), &equals, 110), None);
        assert_eq!(chosen(&burstable("node", CRITICAL + 1000, "1"), &equals, 110), Some(vec!["old".into()]));
    }

    #[test]
    fn a_full_list_of_pods_loses_one_and_a_taken_port_is_no_reason() {
        let others = [pod("a", 0, json!({}), json!({})), burstable("b", 0, "1")];
        let critical = pod("critical", CRITICAL, json!({}), json!({}));
        assert_eq!(chosen(&critical, &others, 2), Some(vec!["a".into()]));
        let port = |name: &str, priority: i32| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority,
                "containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]}}))
            .unwrap()
        };
        assert_eq!(chosen(&port("critical", CRITICAL), &[port("holder", 0)], 110), None);
    }
}
