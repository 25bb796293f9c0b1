//! A machine that goes off, and one whose API is away when it comes back: what its pods do then.

use std::time::Duration;

use rk_kubelet::ShutdownGrace;
use serde_json::json;

use crate::support::{Rig, eventually, ready};

#[tokio::test(flavor = "multi_thread")]
async fn pods_end_in_turn_with_the_machine_and_those_that_come_then_are_refused() {
    let mut rig = Rig::new().await;
    rig.options.shutdown = ShutdownGrace { again: false, ..ShutdownGrace::of_machine(180) };
    rig.kubelet = None;
    rig.start_kubelet();
    rig.node_ready().await;
    let container = |command: &str| {
        json!([{"name": "c", "image": "img:1", "command": [command],
            "lifecycle": {"preStop": {"exec": {"command": ["bye", command]}}}}])
    };
    rig.create("ordinary", json!({"terminationGracePeriodSeconds": 100, "containers": container("stubborn")})).await;
    let critical = json!({"priorityClassName": "system-node-critical", "containers": container("run")});
    rig.create("critical", critical).await;
    for name in ["ordinary", "critical"] {
        rig.status(name, "the pod is ready", 60, ready).await;
    }
    rig.stop.send_replace(true);
    eventually("the ordinary pod is told to stop", 20, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied();
        stops.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!(rig.cri.running("critical").len(), 1, "it waits for its turn");
    rig.create("late", json!({"containers": container("run")})).await;
    let late = rig.status("late", "it is refused", 20, |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(late.reason.as_deref(), Some("NodeShutdown"));
    assert_eq!(late.message.as_deref(), Some("Pod was rejected: Pod was rejected as the node is shutting down."));
    assert_eq!(rig.cri.running("critical").len(), 1, "it still waits");
    rig.tells("node-a", &["NodeShutdown"]).await;
    rig.cri.exit("ordinary", "c", 137);
    let kubelet = rig.kubelet.take().unwrap();
    tokio::time::timeout(Duration::from_secs(240), kubelet).await.expect("the kubelet ends").unwrap();
    // What the API says now was written before the kubelet ended.
    for name in ["ordinary", "critical"] {
        let status = rig.pods().get(name).await.unwrap().status.unwrap();
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Terminated")), "{name}");
        let target = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget").unwrap();
        assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    }
    let byes: Vec<String> =
        rig.cri.state().execs.iter().filter(|(_, c)| c[0] == "bye").map(|(_, c)| c[1].clone()).collect();
    assert_eq!(byes, ["stubborn", "run"], "the hooks ran, in the order of the turns");
    assert_eq!(rig.reasons("node-a").await.iter().filter(|reason| *reason == "NodeShutdown").count(), 1);
    // The pods have ended for good: the next kubelet runs none of them.
    rig.start_kubelet();
    rig.node_ready().await;
    for name in ["ordinary", "critical"] {
        assert!(rig.cri.running(name).is_empty());
        let status = rig.pods().get(name).await.unwrap().status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("Terminated"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_rest_while_their_machine_is_off_and_begin_again_with_it() {
    let mut rig = Rig::new().await;
    let container = json!([{"name": "c", "image": "img:1", "command": ["run"]}]);
    for (name, policy) in [("plain", "Always"), ("job", "OnFailure"), ("once", "Never")] {
        rig.create(name, json!({"restartPolicy": policy, "containers": container})).await;
        rig.status(name, "the pod is ready", 60, ready).await;
    }
    rig.stop.send_replace(true);
    // What comes meanwhile waits for the machine.
    rig.create("late", json!({"containers": container})).await;
    eventually("the pod is ended", 20, || async {
        if rig.cri.running("plain").is_empty() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let kubelet = rig.kubelet.take().unwrap();
    tokio::time::timeout(Duration::from_secs(240), kubelet).await.expect("the kubelet ends").unwrap();
    let plain = rig.pods().get("plain").await.unwrap();
    let status = plain.status.unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref(), ready(&status)), (Some("Running"), None, false));
    let once = rig.pods().get("once").await.unwrap().status.unwrap();
    assert_eq!((once.phase.as_deref(), once.reason.as_deref()), (Some("Failed"), Some("Terminated")));
    assert_eq!(rig.cri.running("job").len(), 1, "how it is ended is not how it ended");
    rig.start_kubelet();
    for name in ["plain", "late"] {
        rig.status(name, "it runs", 60, ready).await;
    }
    assert_eq!(rig.pods().get("plain").await.unwrap().metadata.uid, plain.metadata.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_starts_without_its_api_runs_what_it_knew_but_for_secrets() {
    let mut rig = Rig::new().await;
    let container = json!([{"name": "c", "image": "img:1", "command": ["run"]}]);
    rig.create("plain", json!({"automountServiceAccountToken": false, "containers": container})).await;
    rig.create("with-token", json!({"containers": container})).await;
    rig.create(
        "over",
        json!({"automountServiceAccountToken": false, "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "img:1", "command": ["exit", "0"]}]}),
    )
    .await;
    for name in ["plain", "with-token"] {
        rig.status(name, "the pod is ready", 60, ready).await;
    }
    rig.status("over", "the pod has ended", 60, |s| s.phase.as_deref() == Some("Succeeded")).await;
    let known = rig.options.dirs.kubelet.join("known");
    eventually("two pods and what is around them are kept", 20, || async {
        let found = std::fs::read_dir(&known).map_or(0, Iterator::count);
        if found == 3 { Ok(()) } else { Err(format!("{found} files")) }
    })
    .await;
    // As after the loss of power: nothing runs, and nobody answers.
    rig.kubelet = None;
    rig.control.kill();
    {
        let mut state = rig.cri.state();
        state.containers.clear();
        state.sandboxes.clear();
    }
    let manifest =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {"containers": container}});
    std::fs::create_dir_all(&rig.options.dirs.manifests).unwrap();
    std::fs::write(rig.options.dirs.manifests.join("own.json"), manifest.to_string()).unwrap();
    rig.start_kubelet();
    for name in ["plain", "own-node-a"] {
        eventually("the pod runs again, and that of the manifest", 60, || async {
            if rig.cri.running(name).len() == 1 { Ok(()) } else { Err(format!("{name}: not yet")) }
        })
        .await;
    }
    {
        let state = rig.cri.state();
        let plain = state.containers.iter().find(|c| c.config.labels["io.kubernetes.pod.name"] == "plain").unwrap();
        let env: Vec<&str> = plain.config.envs.iter().map(|e| e.key.as_str()).collect();
        assert!(env.contains(&"KUBERNETES_SERVICE_HOST"), "{env:?}");
    }
    assert!(rig.cri.running("with-token").is_empty(), "its token is in nobody's memory");
    assert!(rig.cri.running("over").is_empty(), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_a_probe_has_stopped_does_not_outstay_its_machine() {
    let mut rig = Rig::new().await;
    rig.options.shutdown = ShutdownGrace { again: false, ..ShutdownGrace::of_machine(12) };
    rig.kubelet = None;
    rig.start_kubelet();
    rig.node_ready().await;
    let probe =
        json!({"exec": {"command": ["unhealthy"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1});
    let container = json!({"name": "c", "image": "img:1", "command": ["stubborn"], "livenessProbe": probe});
    rig.create("ailing", json!({"terminationGracePeriodSeconds": 600, "containers": [container]})).await;
    rig.status("ailing", "the pod is ready", 60, ready).await;
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    eventually("the container is told to stop", 20, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied();
        stops.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    rig.stop.send_replace(true);
    let kubelet = rig.kubelet.take().unwrap();
    tokio::time::timeout(Duration::from_secs(240), kubelet).await.expect("the kubelet ends").unwrap();
    assert!(rig.cri.running("ailing").is_empty(), "ten minutes are not over, but those of the machine are");
    let status = rig.pods().get("ailing").await.unwrap().status.unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Terminated")));
}
