//! Tables for the restart of all containers of a pod: what is done in each moment of it, and what is told.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use serde_json::{Value, json};

use super::backoff::BackOff;
use super::decide::{Inputs, Plan, back_off_key, decide};
use super::decide_tests::{at, pod, runtime, sandbox, show};
use super::round::Round;
use super::spec;
use super::status::{StatusInputs, pod_status};
use super::status_tests::inputs;
use crate::probes::ProbeResults;
use crate::runtime::{RuntimePod, RuntimeSandbox};

/// A rule that is about one exit code.
fn rule(action: &str, operator: &str, code: i32) -> Value {
    json!({"action": action, "exitCodes": {"operator": operator, "values": [code]}})
}

fn all(operator: &str, code: i32) -> Value {
    json!([rule("RestartAllContainers", operator, code)])
}

/// Nothing of it restarts by policy but the sidecar `s`; `src` ends rounds with 42.
fn whole() -> Pod {
    pod(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "src", "restartPolicy": "Never", "restartPolicyRules": all("In", 42)}, {"name": "a"}],
        "ephemeralContainers": [{"name": "e"}]}))
}

fn plan_at(pod: &Pod, found: &RuntimePod, announced: Option<u32>, back_off: &BackOff, second: i64) -> Plan {
    let probes = ProbeResults::default();
    let round = Round::of(pod, found, announced);
    decide(&Inputs { pod, runtime: found, round, probes: &probes, back_off, now: at(second) })
}

fn plan(pod: &Pod, sandboxes: &[RuntimeSandbox], containers: &[&str], announced: Option<u32>) -> String {
    show(&plan_at(pod, &runtime(pod, sandboxes, containers), announced, &BackOff::default(), 1005))
}

/// What is left of the first round once it is over.
const FIRST: [&str; 5] = ["i:exited:0", "s:exited:137", "src:exited:42", "a:exited:137", "e:running"];

/// Containers of the second round, and all that is left of the first.
fn second<'a>(containers: &[&'a str]) -> Vec<&'a str> {
    containers.iter().copied().chain(FIRST).collect()
}

#[test]
fn all_containers_restart_in_their_order_once_one_ends_as_its_rule_says() {
    let (pod, up) = (whole(), [sandbox(0, true)]);
    for (containers, announced, want) in [
        (vec!["i:exited:0", "s:running", "src:running", "a:running", "e:running"], None, ""),
        // Another code is the policy's business.
        (vec!["i:exited:0", "s:running", "src:exited:1", "a:running", "e:running"], None, ""),
        (
            vec!["i:exited:0", "s:running", "src:exited:42", "a:running", "e:running"],
            None,
            "end-round0, kill s-0, kill a-0",
        ),
        // What could not be killed is killed again; what the runtime lost is killed once.
        (
            vec!["i:exited:0", "s:unknown", "src:exited:42", "a:running", "e:running"],
            Some(0),
            "end-round0, kill s-0, kill a-0",
        ),
        (vec!["i:exited:0", "s:unknown", "src:exited:42", "a:exited:0", "e:running"], Some(0), "start i-1"),
        // One that this kubelet did not carry out is told again, then the next round begins.
        (FIRST.to_vec(), None, "end-round0"),
        (FIRST.to_vec(), Some(0), "start i-1"),
        (second(&["i:created:0:1:1"]), None, "start i-2"),
        (second(&["i:running:0:1:1"]), None, ""),
        (second(&["i:running:0:1:1"]), Some(0), ""),
        (second(&["i:exited:0:1:1"]), None, "start s-1"),
        (second(&["s:running:0:1:1", "i:exited:0:1:1"]), None, "start src-1, start a-1"),
        (second(&["src:running:0:1:1", "s:running:0:1:1", "i:exited:0:1:1"]), None, "start a-1"),
        (second(&["a:running:0:1:1", "src:running:0:1:1", "s:running:0:1:1", "i:exited:0:1:1"]), None, ""),
        // A failure of the second round is judged by the policy again.
        (second(&["i:exited:1:1:1"]), None, "kill-pod"),
        (
            second(&["a:running:0:1:1", "src:exited:42:1:1", "s:running:0:1:1", "i:exited:0:1:1"]),
            Some(0),
            "end-round1, kill a-1, kill s-1",
        ),
    ] {
        assert_eq!(plan(&pod, &up, &containers, announced), want, "{containers:?} {announced:?}");
    }
}

#[test]
fn any_container_with_such_a_rule_restarts_all_and_its_first_rule_counts() {
    let up = [sandbox(0, true)];
    let init = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}], "initContainers": [
        {"name": "s", "restartPolicy": "Always"}, {"name": "i", "restartPolicy": "Never", "restartPolicyRules": all("In", 42)}]}));
    assert_eq!(plan(&init, &up, &["s:running", "i:exited:42"], None), "end-round0, kill s-0");
    assert_eq!(plan(&init, &up, &["s:exited:137", "i:exited:42"], Some(0)), "start s-1");
    let sidecar = pod(json!({"containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always", "restartPolicyRules": all("NotIn", 0)}]}));
    assert_eq!(plan(&sidecar, &up, &["s:exited:1", "a:running"], None), "end-round0, kill a-0");
    assert_eq!(plan(&sidecar, &up, &["s:exited:0", "a:running"], None), "start s-1");
    let both = pod(json!({"restartPolicy": "Never", "containers": [
        {"name": "a", "restartPolicy": "Never", "restartPolicyRules": all("NotIn", 0)},
        {"name": "b", "restartPolicy": "Never", "restartPolicyRules": all("NotIn", 0)}]}));
    assert_eq!(plan(&both, &up, &["a:exited:3", "b:running"], None), "end-round0, kill b-0");
    assert_eq!(plan(&both, &up, &["a:exited:3", "b:exited:137"], Some(0)), "start a-1, start b-1");
    let again = ["a:running:0:1:1", "b:running:0:1:1", "a:exited:3", "b:exited:137"];
    assert_eq!(plan(&both, &up, &again, Some(0)), "", "what was killed with the others is no reason of its own");
    let first = pod(json!({"containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": [
        rule("Restart", "In", 42), rule("RestartAllContainers", "NotIn", 0)]}, {"name": "b"}]}));
    assert_eq!(plan(&first, &up, &["a:exited:42", "b:running"], None), "start a-1");
    assert_eq!(plan(&first, &up, &["a:exited:3", "b:running"], None), "end-round0, kill b-0");
}

#[test]
fn a_round_that_is_over_begins_anew_in_another_sandbox_when_its_own_died() {
    let (pod, down) = (whole(), [sandbox(0, false)]);
    assert_eq!(plan(&pod, &down, &FIRST[..4], None), "end-round0");
    assert_eq!(plan(&pod, &down, &FIRST[..4], Some(0)), "sandbox1, start i-1");
    let replaced = [sandbox(1, true), sandbox(0, false)];
    assert_eq!(plan(&pod, &replaced, &FIRST[..4], Some(0)), "start e-0, start i-1");
    let inside = ["i:exited:0:1:1@s1", "i:exited:0", "s:exited:137", "src:exited:42", "a:exited:137", "e:running@s1"];
    assert_eq!(plan(&pod, &replaced, &inside, None), "start s-1");
}

#[test]
fn the_back_off_of_what_ends_rounds_is_that_of_all() {
    let pod = whole();
    let found = runtime(&pod, &[sandbox(0, true)], &FIRST);
    let mut back_off = BackOff::default();
    for container in spec::app_containers(&pod) {
        back_off.note(&back_off_key(container), at(900), at(990));
    }
    let held = plan_at(&pod, &found, Some(0), &back_off, 1005);
    assert_eq!((show(&held).as_str(), held.wake_after.map(|d| d.as_secs())), ("src CrashLoopBackOff", Some(5)));
    assert_eq!(show(&plan_at(&pod, &found, Some(0), &back_off, 1010)), "start i-1");
    // What only went along waits for nothing, and is not counted as failed.
    let found = runtime(&pod, &[sandbox(0, true)], &second(&["s:running:0:1:1", "i:exited:0:1:1"]));
    let begun = plan_at(&pod, &found, Some(0), &back_off, 1005);
    assert_eq!(show(&begun), "start a-1, src CrashLoopBackOff");
    let begun = plan_at(&pod, &found, Some(0), &back_off, 1010);
    let after: Vec<_> = begun.start.iter().map(|s| (s.name.as_str(), s.round, s.after)).collect();
    assert_eq!(after, [("src", 1, Some(at(1000))), ("a", 1, None)]);
}

fn status(pod: &Pod, containers: &[&str], announced: Option<u32>) -> PodStatus {
    let found = runtime(pod, &[sandbox(0, true)], containers);
    pod_status(&StatusInputs { round: Round::of(pod, &found, announced), ..inputs(pod, &found) })
}

/// `name/restarts/state[/code and reason of its end before]`.
fn words(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let now = match (state.waiting, state.terminated) {
        (Some(waiting), _) => waiting.reason.unwrap_or_default(),
        (None, Some(end)) => end.exit_code.to_string(),
        (None, None) => "running".to_owned(),
    };
    let end = status.last_state.clone().and_then(|state| state.terminated);
    let before = end.map(|end| format!("/{} {}", end.exit_code, end.reason.unwrap_or_default()));
    format!("{}/{}/{now}{}", status.name, status.restart_count, before.unwrap_or_default())
}

fn told(status: &PodStatus) -> String {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let containers: Vec<String> = lists.into_iter().flatten().flatten().map(words).collect();
    format!("{} {}", status.phase.as_deref().unwrap_or_default(), containers.join(" "))
}

fn restarting(status: &PodStatus) -> Option<&PodCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == "AllContainersRestarting")
}

#[test]
fn a_status_tells_of_the_restart_and_of_the_ends_before_it() {
    let mut pod = whole();
    pod.status = serde_json::from_value(json!({"conditions": [{"type": "Initialized", "status": "True"}]})).unwrap();
    let all = "RestartingAllContainers";
    for (containers, announced, restarts, want) in [
        (
            vec!["i:exited:0", "s:running", "src:exited:42", "a:running"],
            None,
            true,
            "Running i/0/0 s/0/running a/0/running src/0/42".to_owned(),
        ),
        (
            FIRST.to_vec(),
            Some(0),
            false,
            format!("Pending i/1/{all}/0 {all} s/1/{all}/137 {all} a/1/{all}/137 {all} src/1/{all}/42 {all}"),
        ),
        (
            second(&["i:running:0:1:1"]),
            Some(0),
            false,
            format!(
                "Pending i/1/running/0 {all} s/1/PodInitializing/137 {all} a/1/PodInitializing/137 {all} src/1/PodInitializing/42 {all}"
            ),
        ),
        (
            second(&["a:running:0:1:1", "src:running:0:1:1", "s:running:0:1:1", "i:exited:0:1:1"]),
            None,
            false,
            format!("Running i/1/0/0 {all} s/1/running/137 {all} a/1/running/137 {all} src/1/running/42 {all}"),
        ),
        (
            second(&["i:exited:1:1:1"]),
            None,
            false,
            format!(
                "Failed i/1/1/0 {all} s/1/PodInitializing/137 {all} a/1/PodInitializing/137 {all} src/1/PodInitializing/42 {all}"
            ),
        ),
    ] {
        let status = status(&pod, &containers, announced);
        assert_eq!(told(&status), want, "{containers:?}");
        let condition = restarting(&status).unwrap();
        assert_eq!(condition.status, if restarts { "True" } else { "False" }, "{containers:?}");
        let reason = if restarts { Some("RestartAllContainersStarted") } else { None };
        let failed = want.starts_with("Failed").then_some("PodFailed");
        assert_eq!(condition.reason.as_deref(), reason.or(failed));
        let initialized = status.conditions.iter().flatten().any(|c| c.type_ == "Initialized" && c.status == "True");
        assert!(initialized, "what was initialized once stays so: {containers:?}");
    }
    let plain = super::decide_tests::pod(json!({"containers": [{"name": "a"}]}));
    assert_eq!(restarting(&status(&plain, &["a:running"], None)), None, "others have no such condition");
}

#[test]
fn a_pod_that_a_rule_restarts_has_not_ended() {
    let of = |rules: Value, policy: &str| {
        pod(json!({"restartPolicy": "Never", "containers": [
            {"name": "a", "restartPolicy": policy, "restartPolicyRules": rules}]}))
    };
    let one = || json!([rule("Restart", "In", 42)]);
    for (pod, containers, announced, want) in [
        (of(all("In", 42), "Never"), &["a:exited:42"][..], None, "Running"),
        (of(all("In", 42), "Never"), &["a:exited:42"], Some(0), "Running"),
        (of(all("In", 42), "Never"), &["a:exited:1"], None, "Failed"),
        (of(all("In", 42), "Never"), &["a:exited:0:1:1", "a:exited:42"], None, "Succeeded"),
        (of(one(), "Never"), &["a:exited:42"], None, "Running"),
        (of(one(), "Never"), &["a:exited:1"], None, "Failed"),
        (of(one(), "OnFailure"), &["a:exited:1"], None, "Running"),
    ] {
        let status = status(&pod, containers, announced);
        assert_eq!(status.phase.as_deref(), Some(want), "{containers:?} {announced:?}");
    }
    let init = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}], "initContainers": [
        {"name": "i", "restartPolicy": "Never", "restartPolicyRules": all("In", 42)}]}));
    for (code, want) in [("i:exited:42", "Pending"), ("i:exited:1", "Failed")] {
        assert_eq!(status(&init, &[code], None).phase.as_deref(), Some(want), "{code}");
    }
}
