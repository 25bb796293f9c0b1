//! The kubelet between a real control plane and a runtime in memory: joining, pods and their ends, as seen through the API.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, PodStatus};
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use serde_json::json;

use crate::support::{Rig, eventually, options, ready, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_survives_a_restart_of_the_kubelet_and_ends_gracefully() {
    let mut rig = Rig::new().await;
    rig.cri.state().terse = true;
    rig.create(
        "web",
        json!({"initContainers": [{"name": "init", "image": "img:1", "command": ["exit", "0"]}],
            "containers": [{"name": "c", "image": "img:1", "command": ["run"], "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}]}),
    )
    .await;
    let status = rig.status("web", "the pod is ready", 30, |s| s.phase.as_deref() == Some("Running") && ready(s)).await;
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.9.2"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.observed_generation, Some(1));
    {
        let state = rig.cri.state();
        let container =
            state.containers.iter().find(|c| c.config.labels["io.kubernetes.container.name"] == "c").unwrap();
        let env: Vec<_> = container.config.envs.iter().map(|e| (e.key.as_str(), e.value.as_slice())).collect();
        assert!(env.contains(&("IP", &b"10.244.9.2"[..])), "{env:?}");
        assert!(env.contains(&("KUBERNETES_SERVICE_HOST", &b"10.96.0.1"[..])), "{env:?}");
        let token = container
            .config
            .mounts
            .iter()
            .find(|m| m.container_path.ends_with("/serviceaccount"))
            .expect("the token's mount");
        assert!(token.readonly);
        for file in ["token", "ca.crt", "namespace"] {
            assert!(Path::new(&token.host_path).join(file).exists(), "{file}");
        }
        let hosts = container.config.mounts.iter().find(|m| m.container_path == "/etc/hosts").unwrap();
        assert!(std::fs::read_to_string(&hosts.host_path).unwrap().contains("10.244.9.2\tweb"));
    }
    eventually("the log comes through API server and kubelet", 20, || async {
        let log = rig.pods().logs("web", &LogParams { container: Some("c".into()), ..Default::default() }).await;
        match log {
            Ok(text) if text == "hello from run\n" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let before = rig.cri.running("web");
    rig.kubelet = None;
    rig.start_kubelet();
    rig.node_ready().await;
    // The new kubelet has looked at the pod once it reacts to a change of it.
    rig.cri.exit("web", "c", 3);
    let status = rig
        .status("web", "the container was restarted", 30, |s| {
            s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count == 1) && ready(s)
        })
        .await;
    let last = status.container_statuses.as_ref().unwrap()[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref(), last.message.as_deref()),
        (3, Some("Error"), Some("last words"))
    );
    assert_eq!(before.len(), 1);
    assert_eq!(rig.cri.state().calls["RunPodSandbox"], 1, "the sandbox outlived the kubelet");
    assert_eq!(rig.cri.state().calls["StartContainer"], 3, "init, c, and c after its exit");
    rig.pods().delete("web", &DeleteParams::default()).await.unwrap();
    rig.gone("web", 20).await;
    eventually("nothing is left in the runtime", 10, || async {
        let state = rig.cri.state();
        let left = state.sandboxes.len() + state.containers.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} things")) }
    })
    .await;
    eventually("nothing is left on disk", 10, || async {
        let left = std::fs::read_dir(rig.options.dirs.kubelet.join("pods")).unwrap().count();
        if left == 0 { Ok(()) } else { Err(format!("{left} directories")) }
    })
    .await;
    rig.tells("web", &["Pulled", "Created", "Started", "Killing"]).await;
    drop(rig.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_without_the_runtime_being_asked_what_it_has_told_already() {
    let rig = Rig::new().await;
    let container = json!({"name": "c", "image": "img:1", "command": ["run"]});
    rig.create("few", json!({"containers": [container]})).await;
    rig.status("few", "the pod is ready", 30, |s| s.phase.as_deref() == Some("Running") && ready(s)).await;
    // The relist has told by then what the worker has seen itself, and the API has told the worker its own writes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = rig.cri.state().calls.clone();
    assert_eq!(calls["RunPodSandbox"], 1);
    assert_eq!(calls["StartContainer"], 1);
    assert!(
        calls["PodSandboxStatus"] <= 6,
        "one look at the sandbox, one at the container, a few by the way, of which lists that come late have their part: {calls:?}"
    );
    assert_eq!(calls.get("ContainerStatus"), None, "{calls:?}");
    rig.cri.exit("few", "c", 1);
    rig.status("few", "what the runtime does by itself is seen", 30, |s| {
        s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count == 1) && ready(s)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_the_words_that_users_know() {
    let rig = Rig::new().await;
    rig.cri.state().broken_images.push("bad:1".into());
    rig.create("pull", json!({"containers": [{"name": "c", "image": "bad:1"}]})).await;
    rig.create("crash", json!({"containers": [{"name": "c", "image": "img:1", "command": ["exit", "1"]}]})).await;
    rig.create("start", json!({"containers": [{"name": "c", "image": "img:1", "command": ["missing"]}]})).await;
    rig.create("name", json!({"containers": [{"name": "c", "image": "NOT/ok"}]})).await;
    rig.create("never", json!({"containers": [{"name": "c", "image": "absent:1", "imagePullPolicy": "Never"}]})).await;
    rig.create("env", json!({"containers": [{"name": "c", "image": "img:1", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}]})).await;
    rig.create(
        "root",
        json!({"containers": [{"name": "c", "image": "img:1", "securityContext": {"runAsNonRoot": true}}]}),
    )
    .await;
    rig.create(
        "done",
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "img:1", "command": ["exit", "0"]}]}),
    )
    .await;
    rig.create("init", json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "img:1", "command": ["exit", "7"]}], "containers": [{"name": "c", "image": "img:1"}]})).await;
    for (pod, reason) in [
        ("pull", "ImagePullBackOff"),
        ("crash", "CrashLoopBackOff"),
        ("start", "CrashLoopBackOff"),
        ("name", "InvalidImageName"),
        ("never", "ErrImageNeverPull"),
        ("env", "CreateContainerConfigError"),
        ("root", "CreateContainerConfigError"),
    ] {
        rig.status(pod, &format!("{pod} waits with {reason}"), 40, |s| waiting(s, "c") == Some(reason)).await;
    }
    for (pod, told) in [
        ("pull", "Error: ErrImagePull"),
        ("pull", "Error: ImagePullBackOff"),
        ("name", "Error: InvalidImageName"),
        ("never", "Error: ErrImageNeverPull"),
        ("start", "Error: exec: \"missing\": executable file not found in $PATH"),
    ] {
        rig.warned(pod, told).await;
    }
    rig.status("done", "done has succeeded", 20, |s| s.phase.as_deref() == Some("Succeeded")).await;
    let failed = rig.status("init", "init has failed", 20, |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(waiting(&failed, "c"), Some("PodInitializing"));
    let crash = rig
        .status("crash", "the crash counts", 20, |s| {
            s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count >= 1)
        })
        .await;
    assert_eq!(crash.phase.as_deref(), Some("Running"));
    rig.pods().delete("crash", &DeleteParams::default()).await.unwrap();
    rig.gone("crash", 20).await;
    rig.pods().delete("done", &DeleteParams::default()).await.unwrap();
    rig.gone("done", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_hooks_sidecars_and_grace_periods_do_their_part() {
    let rig = Rig::new().await;
    rig.cri.state().failing_execs.insert("unready".into(), 1);
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    rig.create(
        "probed",
        json!({"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "r", "image": "img:1", "readinessProbe": {"exec": {"command": ["unready"]}, "periodSeconds": 1}},
            {"name": "l", "image": "img:1", "livenessProbe": {"exec": {"command": ["unhealthy"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1}}]}),
    )
    .await;
    let count = |s: &PodStatus, name: &str| {
        s.container_statuses.iter().flatten().find(|c| c.name == name).map_or(0, |c| c.restart_count)
    };
    rig.status("probed", "the liveness probe restarts l", 30, |s| count(s, "l") >= 1).await;
    let status = rig.status("probed", "r runs and is not ready", 30, |s| count(s, "r") == 0 && !ready(s)).await;
    assert!(!status.container_statuses.unwrap().iter().find(|c| c.name == "r").unwrap().ready);
    rig.cri.state().failing_execs.clear();
    rig.status("probed", "both are ready", 40, ready).await;

    rig.create(
        "hooked",
        json!({"terminationGracePeriodSeconds": 600,
            "initContainers": [{"name": "side", "image": "img:1", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "img:1", "command": ["stubborn"], "lifecycle": {
                "postStart": {"exec": {"command": ["after-start"]}}, "preStop": {"exec": {"command": ["before-stop"]}}}}]}),
    )
    .await;
    rig.status("hooked", "the pod is ready", 30, ready).await;
    rig.pods().delete("hooked", &DeleteParams::default()).await.unwrap();
    eventually("the preStop hook ran", 20, || async {
        let ran: Vec<_> = rig.cri.state().execs.iter().filter_map(|(_, cmd)| cmd.first().cloned()).collect();
        if ran.contains(&"after-start".to_owned()) && ran.contains(&"before-stop".to_owned()) {
            Ok(())
        } else {
            Err(format!("{ran:?}"))
        }
    })
    .await;
    assert!(rig.pods().get("hooked").await.is_ok(), "ten minutes are not over");
    // A second deletion with a shorter grace period takes over.
    rig.pods().delete("hooked", &DeleteParams { grace_period_seconds: Some(1), ..Default::default() }).await.unwrap();
    rig.gone("hooked", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_shortens_the_end_that_a_probe_began() {
    let rig = Rig::new().await;
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    let probe =
        json!({"exec": {"command": ["unhealthy"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1});
    let spec = json!({"terminationGracePeriodSeconds": 600,
        "containers": [{"name": "c", "image": "img:1", "command": ["stubborn"], "livenessProbe": probe}]});
    rig.create("ailing", spec).await;
    eventually("the probe has the container stopped", 60, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied();
        stops.map(drop).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    assert_eq!(rig.cri.running("ailing").len(), 1, "ten minutes are not over");
    rig.pods().delete("ailing", &DeleteParams { grace_period_seconds: Some(1), ..Default::default() }).await.unwrap();
    rig.gone("ailing", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_unready_as_soon_as_its_probe_says_so_though_it_ends_or_a_neighbour_does() {
    let rig = Rig::new().await;
    let probe = |command: &str| json!({"exec": {"command": [command]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1});
    let spec = |neighbours: serde_json::Value| {
        let mut containers =
            vec![json!({"name": "c", "image": "img:1", "command": ["stubborn"], "readinessProbe": probe("unready")})];
        containers.extend(neighbours.as_array().cloned().unwrap_or_default());
        json!({"terminationGracePeriodSeconds": 600, "containers": containers})
    };
    let ailing = json!({"name": "l", "image": "img:1", "command": ["stubborn"], "livenessProbe": probe("unhealthy")});
    rig.create("leaving", spec(json!([]))).await;
    rig.create("beside", spec(json!([ailing]))).await;
    for name in ["leaving", "beside"] {
        rig.status(name, "the pod is ready", 60, ready).await;
    }
    rig.pods().delete("leaving", &DeleteParams::default()).await.unwrap();
    rig.cri.state().failing_execs.insert("unhealthy".into(), 1);
    eventually("both are told to stop", 30, || async {
        let stops = rig.cri.state().calls.get("StopContainer").copied().unwrap_or_default();
        if stops >= 2 { Ok(()) } else { Err(format!("{stops} stops")) }
    })
    .await;
    let status = rig.pods().get("leaving").await.unwrap().status.unwrap();
    assert!(ready(&status), "it still serves: {status:?}");
    rig.cri.state().failing_execs.insert("unready".into(), 1);
    for (name, running) in [("leaving", 1), ("beside", 2)] {
        rig.status(name, "the pod is unready", 30, |s| !ready(s)).await;
        assert_eq!(rig.cri.running(name).len(), running, "ten minutes are not over");
    }
    for name in ["leaving", "beside"] {
        let soon = DeleteParams { grace_period_seconds: Some(1), ..Default::default() };
        rig.pods().delete(name, &soon).await.unwrap();
        rig.gone(name, 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_at_once_keeps_nobody_from_its_place() {
    let rig = Rig::new().await;
    let ports = json!([{"containerPort": 80, "hostPort": 4711}]);
    let container = json!({"name": "c", "image": "img:1", "command": ["stubborn"], "ports": ports});
    let spec = json!({"terminationGracePeriodSeconds": 15, "containers": [container]});
    rig.create("old", spec.clone()).await;
    rig.status("old", "the pod is ready", 60, ready).await;
    rig.create("beside", spec.clone()).await;
    let beside = rig.status("beside", "the pod is refused", 30, |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(beside.reason.as_deref(), Some("NodePorts"));
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    rig.pods().delete("old", &at_once).await.unwrap();
    rig.create("new", spec).await;
    rig.status("new", "the pod takes the place of one that still ends", 60, ready).await;
    eventually("the old one ends", 90, || async {
        if rig.cri.running("old").is_empty() { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_node_comes_back_and_a_wrong_token_does_not_get_in() {
    let rig = Rig::new().await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let first = nodes.get("node-a").await.unwrap().metadata.uid;
    nodes.delete("node-a", &DeleteParams::default()).await.unwrap();
    eventually("another node object is there", 30, || async {
        let found = nodes.get_opt("node-a").await.map_err(|e| e.to_string())?;
        match found.and_then(|n| n.metadata.uid) {
            uid if uid.is_some() && uid != first => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    rig.node_ready().await;

    let mut wrong = options(&rig.dir.path().join("other"), &rig.control);
    wrong.node_name = "node-b".into();
    wrong.cluster.token = Some("abcdef.ffffffffffffffff".into());
    let mut other_ca = wrong.clone();
    other_ca.cluster.token = rig.options.cluster.token.clone();
    other_ca.cluster.ca_hash = Some(format!("sha256:{}", "0".repeat(64)));
    for refused in [wrong, other_ca] {
        let joined = tokio::time::timeout(Duration::from_secs(4), rk_kubelet::join(&refused)).await;
        assert!(joined.is_err(), "it must go on trying, and not get in");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_all_containers_start_at_once_and_sidecars_stop_after_the_app() {
    let rig = Rig::new().await;
    let with_hook = |name: &str, command: &str| {
        json!({"name": name, "image": "img:1", "command": [command],
            "lifecycle": {"preStop": {"exec": {"command": ["bye", name]}}}})
    };
    let mut sidecars = [with_hook("one", "run"), with_hook("two", "run")];
    sidecars.iter_mut().for_each(|sidecar| sidecar["restartPolicy"] = json!("Always"));
    let spec = json!({"terminationGracePeriodSeconds": 600, "initContainers": sidecars,
        "containers": [with_hook("app", "stubborn")]});
    rig.create("parting", spec).await;
    rig.status("parting", "the pod is ready", 60, ready).await;
    rig.pods().delete("parting", &DeleteParams::default()).await.unwrap();
    eventually("all hooks ran", 20, || async {
        let state = rig.cri.state();
        let mut said: Vec<_> = state.execs.iter().filter(|(_, c)| c[0] == "bye").map(|(_, c)| c[1].clone()).collect();
        said.sort();
        if said == ["app", "one", "two"] { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert_eq!(rig.cri.running("parting").len(), 3, "the sidecars wait for the app");
    rig.cri.exit("parting", "app", 137);
    rig.gone("parting", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_a_feature_that_is_off_keeps_no_volume_from_its_pod() {
    let rig = Rig::new().await;
    let maps: Api<ConfigMap> = Api::namespaced(rig.control.client.clone(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let off = json!({"signerName": "example.com/s", "keyType": "ED25519", "credentialBundlePath": "bundle.pem"});
    let sources = json!([{"podCertificate": off}, {"configMap": {"name": "m"}}]);
    let mounts = json!([{"name": "files", "mountPath": "/files"}]);
    rig.create(
        "web",
        json!({"volumes": [{"name": "files", "projected": {"sources": sources}}],
            "containers": [{"name": "c", "image": "img:1", "command": ["run"], "volumeMounts": mounts}]}),
    )
    .await;
    rig.status("web", "the pod is ready", 30, ready).await;
    let uid = rig.pods().get("web").await.unwrap().metadata.uid.unwrap();
    let volume = rig.options.dirs.kubelet.join(format!("pods/{uid}/volumes/kubernetes.io~projected/files"));
    assert_eq!(std::fs::read_to_string(volume.join("k")).unwrap(), "v");
}
