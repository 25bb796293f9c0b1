//! Tables for phase, conditions and container statuses.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use rk_cri_api::v1 as cri;
use serde_json::{Value, json};

use super::decide_tests::{at, pod, runtime, sandbox};
use super::round::Round;
use super::status::{StatusInputs, not_yet_final, pod_status};
use super::termination::{WHEN_DELETED, WHEN_TERMINATED};
use crate::devices::DeviceHealth;
use crate::probes::{Outcome, ProbeKind, ProbeResults};
use crate::runtime::{RuntimeContainer, RuntimePod};
use crate::shutdown::{TERMINATED, TERMINATED_MESSAGE};

static NO_PROBES: LazyLock<ProbeResults> = LazyLock::new(ProbeResults::default);
static NOTHING_WAITS: BTreeMap<String, (String, String)> = BTreeMap::new();
static NO_DEVICES: DeviceHealth = BTreeMap::new();

/// A pod of which the runtime alone tells something.
pub(super) fn inputs<'a>(pod: &'a Pod, runtime: &'a RuntimePod) -> StatusInputs<'a> {
    StatusInputs {
        pod,
        runtime,
        round: Round::settled(runtime),
        probes: &NO_PROBES,
        waiting: &NOTHING_WAITS,
        host_ips: &[],
        node_memory: 1 << 30,
        terminal: false,
        failure: None,
        disrupted: false,
        refused: false,
        resize_pending: None,
        resize_error: None,
        devices: &NO_DEVICES,
        resizing: false,
        now: at(5000),
    }
}

fn status_of(pod: &Pod, runtime: &RuntimePod, terminal: bool) -> PodStatus {
    status_with(pod, runtime, terminal, &ProbeResults::default(), &BTreeMap::new())
}

fn status_with(
    pod: &Pod,
    runtime: &RuntimePod,
    terminal: bool,
    probes: &ProbeResults,
    waiting: &BTreeMap<String, (String, String)>,
) -> PodStatus {
    let host_ips = ["192.168.0.1".to_owned()];
    pod_status(&StatusInputs { probes, waiting, host_ips: &host_ips, terminal, ..inputs(pod, runtime) })
}

/// Types of the conditions that hold.
fn holding(status: &PodStatus) -> Vec<&str> {
    status.conditions.iter().flatten().filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect()
}

fn phase(spec: Value, containers: &[&str], terminal: bool) -> String {
    let pod = pod(spec);
    status_of(&pod, &runtime(&pod, &[sandbox(0, !terminal)], containers), terminal).phase.unwrap()
}

#[test]
fn phases_are_upstreams() {
    let with = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]});
    let init = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    for (spec, containers, terminal, want) in [
        (with("Always"), &[][..], false, "Pending"),
        (with("Always"), &["a:running"], false, "Pending"),
        (with("Always"), &["a:running", "b:running"], false, "Running"),
        (with("Always"), &["a:running", "b:exited:1"], false, "Running"),
        (with("Always"), &["a:exited:0", "b:exited:0"], false, "Running"),
        (with("OnFailure"), &["a:exited:0", "b:exited:0"], false, "Succeeded"),
        (with("OnFailure"), &["a:exited:0", "b:exited:1"], false, "Running"),
        (with("Never"), &["a:exited:0", "b:exited:1"], false, "Failed"),
        (with("Always"), &["a:exited:0", "b:exited:0"], true, "Succeeded"),
        (with("Always"), &["a:exited:0", "b:exited:137"], true, "Failed"),
        (init("Always"), &["i:running"], false, "Pending"),
        (init("Always"), &["i:exited:1"], false, "Pending"),
        (init("Never"), &["i:exited:1"], false, "Failed"),
        (init("Always"), &["i:exited:0", "a:running"], false, "Running"),
    ] {
        assert_eq!(phase(spec.clone(), containers, terminal), want, "{spec} {containers:?} {terminal}");
    }
}

#[test]
fn conditions_tell_how_far_a_pod_has_come() {
    let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "readinessProbe": {}}]}));
    let up = [sandbox(0, true)];
    let at_stage = |containers: &[&str], probes: &ProbeResults| {
        let status = status_with(&pod, &runtime(&pod, &up, containers), false, probes, &BTreeMap::new());
        holding(&status).join(" ")
    };
    let none = ProbeResults::default();
    let mut good = ProbeResults::default();
    good.set("a-0", ProbeKind::Readiness, Outcome::Success);
    assert_eq!(at_stage(&["i:running"], &none), "PodReadyToStartContainers PodScheduled");
    assert_eq!(at_stage(&["i:exited:0", "a:running"], &none), "PodReadyToStartContainers Initialized PodScheduled");
    assert_eq!(
        at_stage(&["i:exited:0", "a:running"], &good),
        "PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled"
    );
    let status = status_of(&pod, &runtime(&pod, &up, &["i:exited:0", "a:running"]), false);
    let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
    assert_eq!(ready.observed_generation, Some(1));
}

#[test]
fn an_init_container_that_nobody_remembers_has_ended_well_once_the_pod_went_on() {
    let plain = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let mut ran = plain.clone();
    let old = json!({"initContainerStatuses": [{"name": "i", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
        "state": {"running": {"startedAt": "2024-01-01T00:00:00Z"}}}]});
    ran.status = Some(serde_json::from_value(old).unwrap());
    for (pod, containers, want) in [
        (&plain, &[][..], (None, false, 0)),
        (&plain, &["a:running"], (Some("Completed"), true, 0)),
        (&plain, &["a:exited:1"], (Some("Completed"), true, 0)),
        (&ran, &["a:running"], (Some("Completed"), true, 2)),
        (&ran, &["i:exited:3:3", "a:running"], (Some("Error"), false, 3)),
    ] {
        let status = status_of(pod, &runtime(pod, &[sandbox(0, true)], containers), false);
        let init = &status.init_container_statuses.unwrap()[0];
        let end = init.state.as_ref().and_then(|state| state.terminated.as_ref());
        let reason = end.and_then(|end| end.reason.as_deref());
        assert_eq!((reason, init.ready, init.restart_count), want, "{containers:?}");
    }
}

#[test]
fn a_pod_stays_initialized_while_its_sidecar_restarts() {
    let pod = pod(json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}));
    let initialized = |containers: &[&str]| {
        let status = status_of(&pod, &runtime(&pod, &[sandbox(0, true)], containers), false);
        holding(&status).contains(&"Initialized")
    };
    for (containers, want) in [
        (&[][..], false),
        (&["s:exited:1"], false),
        (&["s:running"], true),
        (&["s:running", "a:running"], true),
        (&["s:exited:1", "a:running"], true),
        (&["s:exited:1", "a:exited:0"], true),
    ] {
        assert_eq!(initialized(containers), want, "{containers:?}");
    }
    let done = self::pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let status = status_of(&done, &runtime(&done, &[sandbox(0, true)], &["a:exited:0"]), false);
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == "Initialized").unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("True", Some("PodCompleted")));
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let mut gated = pod(json!({"readinessGates": [{"conditionType": "x/y"}], "containers": [{"name": "a"}]}));
    let found = runtime(&gated, &[sandbox(0, true)], &["a:running"]);
    let held = status_of(&gated, &found, false);
    assert!(holding(&held).contains(&"ContainersReady") && !holding(&held).contains(&"Ready"));
    gated.status = Some(serde_json::from_value(json!({"conditions": [{"type": "x/y", "status": "True"}]})).unwrap());
    let released = status_of(&gated, &found, false);
    assert!(holding(&released).contains(&"Ready") && holding(&released).contains(&"x/y"));
}

#[test]
fn a_crash_moves_to_last_state_once_the_container_waits() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let found = runtime(&pod, &[sandbox(0, true)], &["a:exited:3:1", "a:exited:2:0"]);
    let of = |waiting: &BTreeMap<String, (String, String)>| {
        let status = status_with(&pod, &found, false, &ProbeResults::default(), waiting);
        status.container_statuses.unwrap().remove(0)
    };
    let ended = of(&BTreeMap::new());
    assert_eq!(ended.restart_count, 1);
    assert_eq!(
        ended.state.as_ref().unwrap().terminated.as_ref().map(|t| (t.exit_code, t.reason.as_deref())),
        Some((3, Some("Error")))
    );
    assert_eq!(ended.last_state.unwrap().terminated.map(|t| t.exit_code), Some(2));
    let held = of(&BTreeMap::from([("a".to_owned(), ("CrashLoopBackOff".to_owned(), "back-off".to_owned()))]));
    assert_eq!(held.state.unwrap().waiting.and_then(|w| w.reason).as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(held.last_state.unwrap().terminated.map(|t| t.exit_code), Some(3));
}

#[test]
fn resources_are_told_of_whatever_was_made() {
    let asked = json!({"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m"}});
    let pod = pod(json!({"containers": [{"name": "a", "resources": asked}]}));
    for (containers, told) in [
        (&["a:running"][..], asked.clone()),
        (&["a:exited:1"], asked.clone()),
        (&["a:created"], asked.clone()),
        (&[], Value::Null),
    ] {
        let status = status_of(&pod, &runtime(&pod, &[sandbox(0, true)], containers), false);
        let container = serde_json::to_value(&status.container_statuses.unwrap()[0]).unwrap();
        assert_eq!(container["resources"], told, "{containers:?}");
        assert_eq!(container["allocatedResources"], told["requests"], "{containers:?}");
    }
}

#[test]
fn a_resize_that_cannot_be_done_says_why() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
    for (error, reason) in [(None, None), (Some("too little"), Some("Error"))] {
        let status = pod_status(&StatusInputs { resizing: true, resize_error: error, ..inputs(&pod, &found) });
        let conditions = status.conditions.unwrap();
        let resize = conditions.iter().find(|c| c.type_ == "PodResizeInProgress").unwrap();
        assert_eq!((resize.reason.as_deref(), resize.message.as_deref()), (reason, error));
    }
}

#[test]
fn a_container_that_the_runtime_lost_is_reported_as_such() {
    let mut lost = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    lost.status = Some(
        serde_json::from_value(
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true,
            "restartCount": 0, "containerID": "rk://x", "state": {"running": {}}}]}),
        )
        .unwrap(),
    );
    let status = status_of(&lost, &RuntimePod::default(), true);
    let state = status.container_statuses.unwrap().remove(0).state.unwrap().terminated.unwrap();
    assert_eq!((state.exit_code, state.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert_eq!(state.message.as_deref(), Some(WHEN_TERMINATED));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    lost.spec.as_mut().unwrap().restart_policy = None;
    let container = status_of(&lost, &RuntimePod::default(), false).container_statuses.unwrap().remove(0);
    let before = container.last_state.unwrap().terminated.unwrap();
    assert_eq!((container.restart_count, before.message.as_deref()), (1, Some(WHEN_DELETED)));
}

#[test]
fn a_pod_that_is_over_before_it_began_has_containers_with_an_end_and_a_refused_one_none() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    for containers in [&[][..], &["a:created"]] {
        let status = status_of(&pod, &runtime(&pod, &[sandbox(0, false)], containers), true);
        let state = status.container_statuses.unwrap().remove(0).state.unwrap();
        assert_eq!(state.terminated.map(|end| end.exit_code), Some(137), "{containers:?}");
        assert_eq!(status.phase.as_deref(), Some("Failed"));
    }
    let failure = ("OutOfcpu".to_owned(), "Pod was rejected".to_owned());
    let nothing = RuntimePod::default();
    for terminal in [false, true] {
        let refused = StatusInputs { failure: Some(&failure), refused: true, terminal, ..inputs(&pod, &nothing) };
        let status = pod_status(&refused);
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
        assert_eq!(status.container_statuses, None);
    }
    pod.status = Some(PodStatus { phase: Some("Failed".into()), ..Default::default() });
    assert_eq!(pod_status(&inputs(&pod, &nothing)).container_statuses, None, "nor after a restart of the kubelet");
}

#[test]
fn times_of_unchanged_conditions_and_a_final_phase_stay() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    pod.status = Some(
        serde_json::from_value(json!({"phase": "Succeeded", "startTime": "2020-01-01T00:00:00Z", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}))
        .unwrap(),
    );
    let status = status_of(&pod, &RuntimePod::default(), true);
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.9"), "an address outlives its sandbox");
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled").unwrap();
    assert_eq!(
        scheduled.last_transition_time,
        "2020-01-01T00:00:00Z".parse().ok().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time)
    );
    assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
}

#[test]
fn a_pod_that_ends_with_its_machine_has_failed_and_says_why() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let failure = (TERMINATED.to_owned(), TERMINATED_MESSAGE.to_owned());
    let found = runtime(&pod, &[sandbox(0, false)], &["a:exited:0"]);
    let over = StatusInputs { terminal: true, failure: Some(&failure), ..inputs(&pod, &found) };
    let told = pod_status(&over).conditions.unwrap();
    assert!(!told.iter().any(|c| c.type_ == "DisruptionTarget"), "not when it is its own doing");
    let status = pod_status(&StatusInputs { disrupted: true, ..over });
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Terminated")));
    assert_eq!(status.message.as_deref(), Some(TERMINATED_MESSAGE));
    let conditions = status.conditions.unwrap();
    let target = conditions.iter().find(|c| c.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    assert_eq!(target.message.as_deref(), Some(TERMINATED_MESSAGE));
}

#[test]
fn containers_are_told_by_name_and_init_containers_in_their_order() {
    let pod =
        pod(json!({"initContainers": [{"name": "z"}, {"name": "y"}], "containers": [{"name": "b"}, {"name": "a"}],
        "ephemeralContainers": [{"name": "f"}, {"name": "e"}]}));
    let status = status_of(&pod, &RuntimePod::default(), false);
    let lists = [status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses];
    let names = lists.map(|list| list.into_iter().flatten().map(|c| c.name).collect::<String>());
    assert_eq!(names, ["zy", "ab", "ef"]);
}

#[test]
fn why_a_pod_has_failed_is_told_once_nothing_of_it_runs() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let failure = ("Evicted".to_owned(), "too little".to_owned());
    let found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
    let ends = pod_status(&StatusInputs { failure: Some(&failure), disrupted: true, ..inputs(&pod, &found) });
    let told = |status: &PodStatus| {
        let disrupted = status.conditions.iter().flatten().any(|c| c.type_ == "DisruptionTarget");
        (status.phase.clone().unwrap(), status.reason.clone().unwrap_or_default(), disrupted)
    };
    assert_eq!(told(&ends), ("Failed".to_owned(), "Evicted".to_owned(), true));
    let known = |value: Value| Some(serde_json::from_value::<PodStatus>(value).unwrap());
    let of = |reason: &str| json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]);
    for (before, want) in [
        (None, ("Running", "", false)),
        (known(json!({"phase": "Pending"})), ("Pending", "", false)),
        (known(json!({"phase": "Running", "reason": "r", "message": "m"})), ("Running", "r", false)),
        // Others write theirs by themselves.
        (known(json!({"phase": "Running", "conditions": of("PreemptionByScheduler")})), ("Running", "", false)),
        (known(json!({"phase": "Running", "conditions": of("TerminationByKubelet")})), ("Running", "", true)),
    ] {
        let mut shown = ends.clone();
        not_yet_final(&mut shown, before.as_ref());
        let (phase, reason, disrupted) = told(&shown);
        assert_eq!((phase.as_str(), reason.as_str(), disrupted), want, "{before:?}");
        assert_eq!(shown.message, before.and_then(|before| before.message));
    }
}

#[test]
fn a_pod_tells_what_it_has_as_a_whole() {
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
    let mut pod = pod(json!({"resources": asks("2"), "containers": [{"name": "a"}]}));
    pod.status = serde_json::from_value(json!({"allocatedResources": {"cpu": "1"}, "resources": asks("1")})).unwrap();
    let reason = ("Deferred".to_owned(), String::new());
    for (pending, resizing, allocated, held, condition) in [
        (Some(&reason), false, "1", "1", Some("PodResizePending")),
        (None, true, "2", "1", Some("PodResizeInProgress")),
        (None, false, "2", "2", None),
    ] {
        let found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
        let status = pod_status(&StatusInputs { resize_pending: pending, resizing, ..inputs(&pod, &found) });
        let told = serde_json::to_value(&status).unwrap();
        assert_eq!(told["allocatedResources"], json!({"cpu": allocated}));
        assert_eq!(told["resources"], asks(held));
        assert_eq!(holding(&status).into_iter().find(|type_| type_.starts_with("PodResize")), condition);
    }
}

#[test]
fn a_container_that_is_not_here_keeps_what_it_was_given_while_its_resize_waits() {
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let mut pod = pod(json!({"containers": [{"name": "a", "resources": asks("4")}]}));
    let had = json!([{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "allocatedResources": {"cpu": "1"}, "resources": asks("1")}]);
    pod.status = serde_json::from_value(json!({"containerStatuses": had})).unwrap();
    let (reason, nothing) = (("Deferred".to_owned(), String::new()), RuntimePod::default());
    for (pending, want) in [(Some(&reason), (json!({"cpu": "1"}), asks("1"))), (None, (Value::Null, Value::Null))] {
        let status = pod_status(&StatusInputs { resize_pending: pending, ..inputs(&pod, &nothing) });
        let told = serde_json::to_value(&status).unwrap()["containerStatuses"][0].take();
        assert_eq!((told["allocatedResources"].clone(), told["resources"].clone()), want, "{pending:?}");
    }
}

#[test]
fn the_devices_of_app_containers_are_told_with_their_health() {
    let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}));
    let found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
    let told: DeviceHealth = serde_json::from_value(json!({"a": [{"name": "x/gpu", "resources": [{"resourceID": "1",
        "health": "Unhealthy"}]}], "b": [], "i": [{"name": "x/gpu"}]}))
    .unwrap();
    let status = pod_status(&StatusInputs { devices: &told, ..inputs(&pod, &found) });
    let of = |statuses: Option<Vec<ContainerStatus>>| {
        statuses.into_iter().flatten().map(|s| s.allocated_resources_status).collect::<Vec<_>>()
    };
    assert_eq!(of(status.container_statuses), [told.get("a").cloned(), None]);
    assert_eq!(of(status.init_container_statuses), [None]);
}

#[test]
fn the_signal_that_stops_a_container_is_told_once_it_is_made() {
    let pod = pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let mut found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
    let status = cri::ContainerStatus { stop_signal: cri::Signal::Sigusr1.into(), ..Default::default() };
    found.containers[0].stop_signal = RuntimeContainer::from_status(status, String::new()).stop_signal;
    let told = status_of(&pod, &found, false).container_statuses.unwrap();
    assert_eq!(told.into_iter().map(|c| c.stop_signal).collect::<Vec<_>>(), [Some("SIGUSR1".to_owned()), None]);
    let untold = RuntimeContainer::from_status(cri::ContainerStatus::default(), String::new());
    assert_eq!(untold.stop_signal, None);
}
