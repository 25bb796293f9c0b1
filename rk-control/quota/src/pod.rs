//! What a pod takes: what runs in it at once, or the peak while it starts (KEP-753), with what a resize has not given back yet (KEP-1287),
//! or what the pod asks for as a whole (KEP-2837), and its overhead.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use rk_api::meta::may_be_devices;

use crate::usage::{List, ONE, Usage, add, raise, read};

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Which of the two lists of amounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Requests,
    Limits,
}

impl Part {
    fn of(self, resources: Option<&ResourceRequirements>) -> Option<&List> {
        match self {
            Part::Requests => resources?.requests.as_ref(),
            Part::Limits => resources?.limits.as_ref(),
        }
    }
}

/// What a pod takes at the time `now`. One that ended, or should have, is still counted as an object.
#[must_use]
pub fn of_pod(pod: &Pod, now: Timestamp) -> Usage {
    let mut usage = Usage::from([("count/pods".to_owned(), ONE)]);
    if has_ended(pod, now) {
        return usage;
    }
    usage.insert("pods".to_owned(), ONE);
    for (name, amount) in total(pod, Part::Requests, true) {
        if may_be_devices(&name) {
            // Only `requests.` of these can be limited.
            usage.insert(format!("requests.{name}"), amount);
        } else if STANDARD.contains(&name.as_str()) || name.starts_with("hugepages-") {
            usage.insert(format!("requests.{name}"), amount);
            usage.insert(name, amount);
        }
    }
    let limits = total(pod, Part::Limits, true).into_iter().filter(|(name, _)| STANDARD.contains(&name.as_str()));
    usage.extend(limits.map(|(name, amount)| (format!("limits.{name}"), amount)));
    usage
}

/// What a pod's spec asks for of each resource, with overhead.
#[must_use]
pub fn spec_requests(pod: &Pod) -> Usage {
    total(pod, Part::Requests, false)
}

/// Requests and limits of a pod with overhead, and with what a resize has not given back: what it is scheduled and run by.
#[must_use]
pub fn held_amounts(pod: &Pod) -> (Usage, Usage) {
    (total(pod, Part::Requests, true), total(pod, Part::Limits, true))
}

/// Finished, or past the grace of its deletion: a node that is lost must not hold what others could use.
fn has_ended(pod: &Pod, now: Timestamp) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return true;
    }
    let (since, grace) = (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds);
    since.as_ref().zip(grace).is_some_and(|(since, grace)| now.as_second() > since.0.as_second().saturating_add(grace))
}

/// Whether a pod may ask for the resource as a whole.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether the pod asks for anything as a whole.
pub(crate) fn has_own_resources(spec: &PodSpec) -> bool {
    let parts = [Part::Requests, Part::Limits].map(|part| part.of(spec.resources.as_ref()));
    parts.into_iter().flatten().flat_map(|list| list.keys()).any(|name| is_pod_level(name))
}

/// Whether a pod's spec requests anything for the pod as a whole.
#[must_use]
pub fn requests_as_a_whole(pod: &Pod) -> bool {
    let requests = pod.spec.as_ref().and_then(|spec| Part::Requests.of(spec.resources.as_ref()));
    requests.is_some_and(|list| list.keys().any(|name| is_pod_level(name)))
}

/// Requests and limits of a pod's spec, without overhead: what a LimitRange holds to its bounds.
#[must_use]
pub fn spec_amounts(pod: &Pod) -> (Usage, Usage) {
    (before_overhead(pod, Part::Requests, false), before_overhead(pod, Part::Limits, false))
}

/// `resized`: whether what a resize has not given back yet counts.
fn total(pod: &Pod, part: Part, resized: bool) -> Usage {
    let mut total = before_overhead(pod, part, resized);
    if let Some(spec) = &pod.spec {
        add_overhead(&mut total, spec, part);
    }
    total
}

fn before_overhead(pod: &Pod, part: Part, resized: bool) -> Usage {
    let Some(spec) = &pod.spec else { return Usage::new() };
    let asked = |container: &Container| read(part.of(container.resources.as_ref()));
    let held = |container: &Container| {
        let own = asked(container);
        match status_of(pod, &container.name).filter(|_| resized) {
            Some(status) => {
                let known = (status.resources.as_ref(), status.allocated_resources.as_ref());
                with_status(&own, known, part, is_infeasible(pod))
            }
            None => own,
        }
    };
    let (mut running, mut sidecars, mut peak) = (Usage::new(), Usage::new(), Usage::new());
    spec.containers.iter().for_each(|container| add(&mut running, &held(container)));
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            let sidecar = held(container);
            add(&mut running, &sidecar);
            add(&mut sidecars, &sidecar);
            raise(&mut peak, &sidecars);
        } else {
            let mut step = asked(container);
            add(&mut step, &sidecars);
            raise(&mut peak, &step);
        }
    }
    raise(&mut running, &peak);
    let mut whole = read(part.of(spec.resources.as_ref()));
    if let Some(status) =
        pod.status.as_ref().filter(|status| resized && !whole.is_empty() && status.resources.is_some())
    {
        let known = (status.resources.as_ref(), status.allocated_resources.as_ref());
        whole = with_status(&whole, known, part, is_infeasible(pod));
    }
    running.extend(whole.into_iter().filter(|(name, _)| is_pod_level(name)));
    running
}

/// What is not limited does not become so by overhead.
fn add_overhead(total: &mut Usage, spec: &PodSpec, part: Part) {
    let mut overhead = read(spec.overhead.as_ref());
    if part == Part::Limits {
        overhead.retain(|name, _| total.get(name).is_some_and(|limit| !limit.is_zero()));
    }
    add(total, &overhead);
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.find(|status| status.name == container && status.resources.is_some())
}

/// What is in force, and what is allocated.
type Known<'a> = (Option<&'a ResourceRequirements>, Option<&'a List>);

/// The most of what is asked for, allocated and in force. What the node refused for good is not asked for.
fn with_status(own: &Usage, (in_force, allocated): Known<'_>, part: Part, infeasible: bool) -> Usage {
    let mut most = read(part.of(in_force));
    if part == Part::Requests {
        raise(&mut most, &read(allocated));
    }
    if !infeasible {
        raise(&mut most, own);
    }
    most
}

fn is_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut pending = conditions.filter(|condition| condition.type_ == "PodResizePending");
    pending.next().is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What each case takes, of the resources that it names.
    fn holds(object: Value, expected: &[(&str, &str)]) {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let pod: Pod = serde_json::from_value(object.clone()).unwrap();
        let usage = of_pod(&pod, now);
        for (name, amount) in expected {
            let told = usage.get(*name).map(ToString::to_string);
            assert_eq!(told.as_deref(), (!amount.is_empty()).then_some(*amount), "{name} of {object}");
        }
    }

    fn container(name: &str, requests: Value) -> Value {
        json!({"name": name, "resources": {"requests": requests}})
    }

    #[test]
    fn a_pod_takes_the_most_that_runs_at_once() {
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}});
        let main = [container("a", json!({"cpu": "100m"})), container("b", json!({"cpu": "200m", "memory": "8Ei"}))];
        let init = container("i", json!({"cpu": "1"}));
        holds(
            json!({"spec": {"containers": main}}),
            &[("cpu", "300m"), ("requests.cpu", "300m"), ("pods", "1"), ("limits.cpu", "")],
        );
        holds(json!({"spec": {"containers": main, "initContainers": [init]}}), &[("cpu", "1")]);
        holds(json!({"spec": {"containers": main, "initContainers": [sidecar, init]}}), &[("cpu", "1050m")]);
        holds(json!({"spec": {"containers": main, "initContainers": [init, sidecar]}}), &[("cpu", "1")]);
    }

    #[test]
    fn a_limit_range_sees_what_runs_at_once_without_overhead() {
        let takes = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let amounts = |spec: &Value| spec_amounts(&serde_json::from_value(json!({ "spec": spec })).unwrap());
        let main = json!([takes("100m"), takes("200m")]);
        for (spec, expected) in [
            (json!({"containers": [{}]}), ""),
            (json!({"containers": main}), "300m"),
            (json!({"containers": main, "initContainers": [takes("1"), takes("250m")]}), "1"),
            (json!({"containers": main, "initContainers": [sidecar("50m"), takes("1")]}), "1050m"),
            // A sidecar that starts later is not beside the step before it.
            (json!({"containers": main, "initContainers": [takes("1"), sidecar("50m")]}), "1"),
            (json!({"containers": main, "initContainers": [sidecar("50m")]}), "350m"),
            (json!({"containers": main, "resources": {"requests": {"cpu": "2"}}}), "2"),
            (json!({"containers": main, "overhead": {"cpu": "1"}}), "300m"),
        ] {
            let cpu = amounts(&spec).0.get("cpu").map(ToString::to_string).unwrap_or_default();
            assert_eq!(cpu, expected, "{spec}");
        }
        let whole = json!({"resources": {"limits": {"memory": "1Gi", "example.com/gpu": "1"}}});
        assert_eq!(amounts(&whole).1.into_keys().collect::<Vec<_>>(), ["memory"]);
    }

    #[test]
    fn every_kind_of_resource_has_its_names() {
        let requests =
            json!({"ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2", "kubernetes.io/x": "3"});
        let mut pod = json!({"spec": {"containers": [container("c", requests.clone())]}});
        pod["spec"]["containers"][0]["resources"]["limits"] = requests;
        holds(
            pod,
            &[
                ("ephemeral-storage", "1Gi"),
                ("requests.ephemeral-storage", "1Gi"),
                ("limits.ephemeral-storage", "1Gi"),
                ("hugepages-2Mi", "4Mi"),
                ("requests.hugepages-2Mi", "4Mi"),
                ("limits.hugepages-2Mi", ""),
                ("requests.example.com/gpu", "2"),
                ("example.com/gpu", ""),
                ("limits.example.com/gpu", ""),
                ("requests.kubernetes.io/x", ""),
            ],
        );
    }

    #[test]
    fn a_pod_may_ask_as_a_whole_and_has_overhead() {
        let spec = json!({
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}}],
            "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "4Gi"}},
            "overhead": {"cpu": "250m", "memory": "1Gi", "ephemeral-storage": "1Gi"},
        });
        let expected = [
            ("requests.cpu", "3250m"),
            ("requests.memory", "2Gi"),
            ("requests.ephemeral-storage", "1Gi"),
            ("limits.cpu", "2250m"),
            ("limits.memory", "5Gi"),
            ("limits.ephemeral-storage", ""),
        ];
        holds(json!({"spec": spec}), &expected);
    }

    #[test]
    fn what_a_resize_has_not_given_back_still_counts() {
        let pod = |asked: &str, reason: &str| {
            json!({"spec": {"containers": [container("c", json!({"cpu": asked}))]}, "status": {
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1500m"}}}],
            }})
        };
        holds(pod("1", "Deferred"), &[("cpu", "2")]);
        holds(pod("4", "Deferred"), &[("cpu", "4")]);
        holds(pod("4", "Infeasible"), &[("cpu", "2")]);
        let pod: Pod = serde_json::from_value(pod("4", "Infeasible")).unwrap();
        assert_eq!(spec_requests(&pod)["cpu"].to_string(), "4");
        let whole = |asked: &str, reason: &str| {
            json!({"spec": {"containers": [{"name": "c"}], "resources": {"requests": {"cpu": asked}}}, "status": {
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "1500m"}},
            }})
        };
        holds(whole("1", "Deferred"), &[("cpu", "2")]);
        holds(whole("4", "Deferred"), &[("cpu", "4")]);
        holds(whole("4", "Infeasible"), &[("cpu", "2")]);
    }

    #[test]
    fn a_pod_takes_nothing_once_it_ended() {
        let pod = |metadata: Value, phase: &str| json!({"metadata": metadata, "spec": {"containers": [container("c", json!({"cpu": "1"}))]}, "status": {"phase": phase}});
        let deleted =
            |grace: i64| json!({"deletionTimestamp": "2026-01-01T00:09:00Z", "deletionGracePeriodSeconds": grace});
        holds(pod(json!({}), "Running"), &[("pods", "1"), ("cpu", "1"), ("count/pods", "1")]);
        for object in [pod(json!({}), "Succeeded"), pod(json!({}), "Failed"), pod(deleted(30), "Running")] {
            holds(object, &[("pods", ""), ("cpu", ""), ("count/pods", "1")]);
        }
        holds(pod(deleted(60), "Running"), &[("pods", "1")]);
    }
}
