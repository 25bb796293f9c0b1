//! Tables for the decision.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::backoff::BackOff;
use super::decide::{Inputs, Plan, decide};
use super::round::Round;
use super::spec;
use crate::probes::{Outcome, ProbeKind, ProbeResults};
use crate::runtime::{RuntimeContainer, RuntimePod, RuntimeSandbox, State};

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}),
    )
    .unwrap()
}

pub fn sandbox(attempt: u32, ready: bool) -> RuntimeSandbox {
    RuntimeSandbox {
        id: format!("s{attempt}"),
        attempt,
        ready,
        created_at: Some(at(i64::from(attempt) * 100)),
        ips: vec!["10.0.0.1".into()],
        host_network: false,
    }
}

/// `name:state[:exit code[:attempt[:round]]]`, in sandbox `s0` unless `@sN` follows.
pub fn container(pod: &Pod, text: &str) -> RuntimeContainer {
    let (text, sandbox) = text.split_once('@').unwrap_or((text, "s0"));
    let mut parts = text.split(':');
    let name = parts.next().unwrap().to_owned();
    let state = match parts.next().unwrap() {
        "created" => State::Created,
        "running" => State::Running,
        "exited" => State::Exited,
        _ => State::Unknown,
    };
    let exit_code = parts.next().map_or(0, |c| c.parse().unwrap());
    let attempt: u32 = parts.next().map_or(0, |c| c.parse().unwrap());
    let hash = spec::find_container(pod, &name).map(|(_, c)| spec::container_hash(&c)).unwrap_or_default();
    RuntimeContainer {
        id: format!("{name}-{attempt}"),
        sandbox_id: sandbox.to_owned(),
        state,
        created_at: Some(at(10 + i64::from(attempt))),
        started_at: Some(at(11 + i64::from(attempt))),
        finished_at: (state == State::Exited).then(|| at(1000)),
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        restart_count: attempt,
        round: parts.next().map_or(0, |c| c.parse().unwrap()),
        hash,
        log_path: String::new(),
        resources: None,
        user: None,
        stop_signal: None,
        termination_file: None,
        grace: None,
        name,
    }
}

pub fn runtime(pod: &Pod, sandboxes: &[RuntimeSandbox], containers: &[&str]) -> RuntimePod {
    let mut found = RuntimePod {
        uid: "u".into(),
        namespace: "n".into(),
        name: "p".into(),
        sandboxes: sandboxes.to_vec(),
        containers: containers.iter().map(|text| container(pod, text)).collect(),
    };
    found.sort();
    found
}

pub fn show(plan: &Plan) -> String {
    let mut words = Vec::new();
    words.extend(plan.end_round.map(|n| format!("end-round{n}")));
    if plan.kill_pod {
        words.push("kill-pod".to_owned());
    }
    words.extend(plan.create_sandbox.map(|n| format!("sandbox{n}")));
    words.extend(plan.kill.iter().map(|k| format!("kill {}", k.id)));
    words.extend(plan.start.iter().map(|s| format!("start {}-{}", s.name, s.attempt)));
    words.extend(plan.waiting.iter().map(|(name, (reason, _))| format!("{name} {reason}")));
    words.extend(plan.prune_containers.iter().map(|id| format!("prune {id}")));
    words.extend(plan.prune_sandboxes.iter().map(|id| format!("prune {id}")));
    words.join(", ")
}

fn inputs<'a>(pod: &'a Pod, runtime: &'a RuntimePod, probes: &'a ProbeResults, back_off: &'a BackOff) -> Inputs<'a> {
    Inputs { pod, runtime, round: Round::of(pod, runtime, None), probes, back_off, now: at(1005) }
}

fn plan_with(pod: &Pod, runtime: &RuntimePod, probes: &ProbeResults, back_off: &BackOff) -> String {
    show(&decide(&inputs(pod, runtime, probes, back_off)))
}

fn plan(pod: &Pod, sandboxes: &[RuntimeSandbox], containers: &[&str]) -> String {
    plan_with(pod, &runtime(pod, sandboxes, containers), &ProbeResults::default(), &BackOff::default())
}

#[test]
fn app_containers_follow_the_restart_policy() {
    let with = |policy: &str| pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}));
    let up = [sandbox(0, true)];
    for (policy, containers, want) in [
        ("Always", &[][..], "start a-0, start b-0"),
        ("Always", &["a:running", "b:running"], ""),
        ("Always", &["a:running", "b:exited:0"], "start b-1"),
        ("OnFailure", &["a:running", "b:exited:0"], ""),
        ("OnFailure", &["a:running", "b:exited:1"], "start b-1"),
        ("Never", &["a:running", "b:exited:1"], ""),
        ("Never", &["a:exited:0", "b:exited:1"], "kill-pod"),
        ("OnFailure", &["a:exited:0", "b:exited:0"], "kill-pod"),
        ("Always", &["a:running", "b:unknown"], "kill b-0, start b-1"),
        ("Always", &["a:running", "b:created"], "start b-1"),
    ] {
        assert_eq!(plan(&with(policy), &up, containers), want, "{policy} {containers:?}");
    }
}

#[test]
fn a_dead_sandbox_is_replaced_only_while_something_must_run() {
    let always = pod(json!({"containers": [{"name": "a"}]}));
    let never = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let init = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    assert_eq!(plan(&always, &[], &[]), "sandbox0, start a-0");
    assert_eq!(plan(&always, &[sandbox(0, false)], &["a:running"]), "kill-pod, sandbox1, start a-1");
    assert_eq!(plan(&always, &[sandbox(0, false)], &["a:exited:137"]), "sandbox1, start a-1");
    assert_eq!(plan(&never, &[sandbox(0, false)], &["a:exited:0"]), "");
    assert_eq!(plan(&never, &[sandbox(0, false)], &[]), "sandbox1, start a-0");
    assert_eq!(plan(&init, &[sandbox(0, false)], &["i:exited:0", "a:exited:1"]), "sandbox1, start i-1");
    assert_eq!(plan(&always, &[sandbox(0, true), sandbox(1, true)], &[]), "kill-pod, sandbox2, start a-0");
    let mut addressless = sandbox(0, true);
    addressless.ips.clear();
    assert_eq!(plan(&always, &[addressless], &[]), "kill-pod, sandbox1, start a-0");
    let after = plan(&always, &[sandbox(0, false), sandbox(1, true)], &["a:running:0:1@s1"]);
    assert_eq!(after, "prune s0");
}

#[test]
fn init_containers_run_one_after_the_other_and_sidecars_stay() {
    let of = |policy: &str| {
        pod(json!({"restartPolicy": policy,
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always", "startupProbe": {}}, {"name": "j"}],
            "containers": [{"name": "a"}]}))
    };
    let up = [sandbox(0, true)];
    let mut started = ProbeResults::default();
    started.set("s-0", ProbeKind::Startup, Outcome::Success);
    let none = ProbeResults::default();
    for (policy, probes, containers, want) in [
        ("Always", &none, &[][..], "start i-0"),
        ("Always", &none, &["i:running"], ""),
        ("Always", &none, &["i:exited:1"], "start i-1"),
        ("Never", &none, &["i:exited:1"], "kill-pod"),
        ("Always", &none, &["i:exited:0"], "start s-0"),
        ("Always", &none, &["i:exited:0", "s:running"], ""),
        ("Always", &started, &["i:exited:0", "s:running"], "start j-0"),
        ("Always", &started, &["i:exited:0", "s:running", "j:exited:0"], "start a-0"),
        ("Always", &started, &["i:exited:0", "s:running", "j:exited:0", "a:running"], ""),
        ("Never", &none, &["i:exited:0", "s:exited:1", "j:exited:0", "a:running"], "start s-1"),
        ("Never", &started, &["i:exited:0", "s:running", "j:exited:0", "a:exited:0"], "kill-pod"),
        // What was done before another one began stays done, though the runtime has forgotten it, and holds nobody back.
        ("Always", &started, &["s:running", "j:running"], ""),
        ("Always", &none, &["i:exited:0", "s:running", "j:exited:1"], "start j-1"),
        ("Always", &none, &["i:exited:0", "s:exited:1", "j:exited:1"], "start s-1, start j-1"),
    ] {
        let pod = of(policy);
        assert_eq!(
            plan_with(&pod, &runtime(&pod, &up, containers), probes, &BackOff::default()),
            want,
            "{policy} {containers:?}"
        );
    }
}

#[test]
fn failed_probes_and_changed_images_restart_a_container() {
    let pod_of = |policy: &str| {
        pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "livenessProbe": {}, "startupProbe": {}}]}))
    };
    let up = [sandbox(0, true)];
    let failed = |kind| {
        let mut probes = ProbeResults::default();
        probes.set("a-0", kind, Outcome::Failure);
        probes
    };
    for (policy, kind, want) in [
        ("Always", ProbeKind::Liveness, "kill a-0, start a-1"),
        ("Always", ProbeKind::Startup, "kill a-0, start a-1"),
        ("Never", ProbeKind::Liveness, "kill a-0"),
        ("Always", ProbeKind::Readiness, ""),
    ] {
        let pod = pod_of(policy);
        assert_eq!(
            plan_with(&pod, &runtime(&pod, &up, &["a:running"]), &failed(kind), &BackOff::default()),
            want,
            "{policy} {kind:?}"
        );
    }
    let pod = pod_of("Always");
    let mut found = runtime(&pod, &up, &["a:running"]);
    found.containers[0].hash = "other".into();
    assert_eq!(plan_with(&pod, &found, &ProbeResults::default(), &BackOff::default()), "kill a-0, start a-1");
}

#[test]
fn a_probe_may_leave_its_container_another_time_to_end() {
    let probe = |grace: i64| json!({"terminationGracePeriodSeconds": grace});
    let own = json!({"name": "a", "livenessProbe": probe(5), "startupProbe": probe(7), "readinessProbe": {}});
    let pod =
        pod(json!({"terminationGracePeriodSeconds": 600, "containers": [own, {"name": "b", "livenessProbe": {}}]}));
    for (id, failed, changed, want) in [
        ("a-0", Some(ProbeKind::Liveness), false, vec![Some(5)]),
        ("a-0", Some(ProbeKind::Startup), false, vec![Some(7)]),
        ("a-0", Some(ProbeKind::Readiness), false, vec![]),
        ("b-0", Some(ProbeKind::Liveness), false, vec![None]),
        // No probe has a say in other ends.
        ("a-0", Some(ProbeKind::Liveness), true, vec![None]),
        ("a-0", None, true, vec![None]),
    ] {
        let mut found = runtime(&pod, &[sandbox(0, true)], &["a:running", "b:running"]);
        let mut probes = ProbeResults::default();
        if let Some(kind) = failed {
            probes.set(id, kind, Outcome::Failure);
        }
        if changed {
            found.containers.iter_mut().filter(|c| c.id == id).for_each(|c| c.hash = "other".into());
        }
        let plan = decide(&inputs(&pod, &found, &probes, &BackOff::default()));
        assert_eq!(plan.kill.iter().map(|kill| kill.grace).collect::<Vec<_>>(), want, "{id} {failed:?} {changed}");
    }
}

#[test]
fn a_sidecar_gets_another_image_once_it_has_started_and_an_init_container_ends_by_itself() {
    let pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": {}}, {"name": "j"}]}));
    let mut found = runtime(&pod, &[sandbox(0, true)], &["s:running", "j:running"]);
    found.containers.iter_mut().for_each(|c| c.hash = "other".into());
    let (none, mut started, back_off) = (ProbeResults::default(), ProbeResults::default(), BackOff::default());
    assert_eq!(plan_with(&pod, &found, &none, &back_off), "");
    started.set("s-0", ProbeKind::Startup, Outcome::Success);
    let plan = decide(&inputs(&pod, &found, &started, &back_off));
    assert_eq!(show(&plan), "kill s-0, start s-1");
    assert_eq!(plan.kill[0].message, "Init container s definition changed");
}

#[test]
fn whoever_is_told_of_a_kill_is_told_whether_the_container_comes_back() {
    for (policy, want) in [
        ("Always", "Container a failed liveness probe, will be restarted"),
        ("Never", "Container a failed liveness probe"),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "livenessProbe": {}}]}));
        let found = runtime(&pod, &[sandbox(0, true)], &["a:running"]);
        let mut failed = ProbeResults::default();
        failed.set("a-0", ProbeKind::Liveness, Outcome::Failure);
        assert_eq!(decide(&inputs(&pod, &found, &failed, &BackOff::default())).kill[0].message, want, "{policy}");
    }
    let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    for (lost, want) in [("i:unknown", "Init container"), ("a:unknown", "Container")] {
        let found = runtime(&pod, &[sandbox(0, true)], &[lost]);
        let plan = decide(&inputs(&pod, &found, &ProbeResults::default(), &BackOff::default()));
        assert_eq!(plan.kill[0].message, format!("{want} is in \"unknown\" state, try killing it before restart"));
    }
}

#[test]
fn a_crashing_container_waits_for_its_back_off_and_the_pod_stays() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let found = runtime(&pod, &[sandbox(0, true)], &["a:exited:1"]);
    let mut back_off = BackOff::default();
    let key = super::decide::back_off_key(&spec::app_containers(&pod)[0]);
    back_off.note(&key, at(900), at(900));
    let probes = ProbeResults::default();
    let held = decide(&inputs(&pod, &found, &probes, &back_off));
    assert_eq!(show(&held), "a CrashLoopBackOff");
    assert_eq!(held.wake_after.map(|d| d.as_secs()), Some(5));
    let message = &held.waiting["a"].1;
    assert_eq!(message, "back-off 10s restarting failed container=a pod=p_n(u)");
    let released = decide(&Inputs { now: at(1010), ..inputs(&pod, &found, &probes, &back_off) });
    assert_eq!(show(&released), "start a-1");
}

#[test]
fn ephemeral_containers_start_once_and_old_instances_are_pruned() {
    let pod = pod(json!({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "e"}]}));
    let up = [sandbox(0, true)];
    assert_eq!(plan(&pod, &up, &["a:running"]), "start e-0");
    assert_eq!(plan(&pod, &up, &["a:running", "e:exited:1"]), "");
    assert_eq!(
        plan(&pod, &up, &["a:running:0:3", "a:exited:1:2", "a:exited:1:1", "a:exited:1:0", "e:running"]),
        "prune a-1, prune a-0"
    );
}

#[test]
fn rules_of_a_container_come_before_the_policy() {
    let of = |code: i32| {
        let pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a", "restartPolicy": "Never",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]}));
        plan(&pod, &[sandbox(0, true)], &[&format!("a:exited:{code}")])
    };
    assert_eq!(of(42), "start a-1");
    assert_eq!(of(1), "kill-pod");
}
