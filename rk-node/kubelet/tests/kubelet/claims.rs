//! Claims of a DRA driver's devices in pods, through a real control plane; the test allocates, as some scheduler would.

use k8s_openapi::api::core::v1::{PodStatus, ResourceHealth};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rk_plugin_api::dra_health::HealthStatus;
use rk_plugin_api::podresources::ListPodResourcesRequest;
use rk_plugin_api::podresources::pod_resources_lister_client::PodResourcesListerClient;
use serde_json::{Value, json};

use crate::support::{FakeDra, LAMPS, Rig, eventually, ready};

/// Makes a claim of a lamp and answers with its UID.
async fn claim(rig: &Rig, name: &str) -> String {
    let api: Api<ResourceClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let requests = json!([{"name": "lamp", "exactly": {"deviceClassName": LAMPS}}]);
    let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": requests}}});
    let made = api.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
    made.metadata.uid.unwrap()
}

/// Gives a claim the lamp, for these pods.
async fn allocate(rig: &Rig, name: &str, pods: &[&str]) {
    let api: Api<ResourceClaim> = Api::namespaced(rig.control.client.clone(), "default");
    let result = json!({"request": "lamp", "driver": LAMPS, "pool": "pool", "device": "left"});
    let mut holders = Vec::new();
    for pod in pods {
        holders.push(json!({"resource": "pods", "name": pod, "uid": uid(rig, pod).await}));
    }
    let status = json!({"status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": holders}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

async fn uid(rig: &Rig, pod: &str) -> String {
    rig.pods().get(pod).await.unwrap().metadata.uid.unwrap()
}

/// A pod whose container `main` has the lamp of a claim, and whose container `dark` has none.
fn lit(claim: &str) -> Value {
    let main = json!({"name": "main", "image": "img:1", "command": ["run"], "resources": {"claims": [{"name": "light", "request": "lamp"}]}});
    json!({"terminationGracePeriodSeconds": 1, "containers": [main, {"name": "dark", "image": "img:1", "command": ["run"]}],
        "resourceClaims": [{"name": "light", "resourceClaimName": claim}]})
}

/// The devices that the newest instance of a container was made with.
fn devices(rig: &Rig, pod: &str, container: &str) -> Vec<String> {
    let state = rig.cri.state();
    let of = |labels: &std::collections::HashMap<String, String>| {
        labels["io.kubernetes.pod.name"] == pod && labels["io.kubernetes.container.name"] == container
    };
    let found = state.containers.iter().rev().find(|c| of(&c.config.labels)).expect("the container");
    found.config.cdi_devices.iter().map(|device| device.name.clone()).collect()
}

/// How the devices of the container `main` are.
fn health(status: &PodStatus) -> Option<(String, ResourceHealth)> {
    let main = status.container_statuses.as_ref()?.iter().find(|c| c.name == "main")?;
    let told = main.allocated_resources_status.as_ref()?.first()?;
    Some((told.name.clone(), told.resources.as_ref()?.first()?.clone()))
}

fn checkpoint(rig: &Rig) -> Value {
    let text = std::fs::read(rig.options.dirs.kubelet.join("dra_manager_state")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

async fn asked(driver: &FakeDra, seconds: u64, want: &[&str]) {
    eventually("what the driver is asked", seconds, || async {
        let calls = driver.seen().calls.clone();
        if calls == want { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_prepared_once_for_its_pods_and_taken_back_after_the_last_of_them() {
    let mut rig = Rig::new().await;
    let of_claim = claim(&rig, "shared").await;
    rig.create("one", lit("shared")).await;
    let problem = "Failed to prepare dynamic resources: prepare dynamic resources:";
    let of_pod = uid(&rig, "one").await;
    let unreserved = format!("{problem} pod one ({of_pod}) is not allowed to use ResourceClaim shared ({of_claim})");
    rig.warned("one", &unreserved).await;
    allocate(&rig, "shared", &["one"]).await;
    rig.warned("one", &format!("{problem} DRA driver {LAMPS} is not registered")).await;
    assert!(rig.cri.state().sandboxes.is_empty(), "nothing of it begins before");
    let driver = FakeDra::start(&rig.options.dirs.kubelet);
    rig.status("one", "the pod is ready", 90, ready).await;
    assert_eq!(driver.plugin.outcome(), Some((true, String::new())));
    assert_eq!(devices(&rig, "one", "main"), ["example.com/lamp=left"]);
    assert!(devices(&rig, "one", "dark").is_empty());
    let known = checkpoint(&rig);
    assert_eq!(known["default/shared"]["podUIDs"], json!([of_pod]), "{known}");

    // Its health is told, and which pod has it.
    driver.seen().turn(HealthStatus::Unhealthy, "burnt out");
    let burnt =
        |status: &PodStatus| health(status).is_some_and(|(_, lamp)| lamp.health.as_deref() == Some("Unhealthy"));
    let (name, lamp) = health(&rig.status("one", "the lamp is told to be broken", 60, burnt).await).unwrap();
    assert_eq!((name.as_str(), lamp.resource_id.as_str()), ("claim:light/lamp", "example.com/lamp=left"));
    assert_eq!(lamp.message.as_deref(), Some("burnt out"));
    let socket = rig.options.dirs.kubelet.join("pod-resources/kubelet.sock");
    let mut lister = PodResourcesListerClient::new(rk_cri_api::connect(socket));
    let listed = lister.list(ListPodResourcesRequest {}).await.unwrap().into_inner().pod_resources;
    let told = &listed.iter().find(|pod| pod.name == "one").unwrap().containers[0].dynamic_resources[0];
    assert_eq!((told.claim_name.as_str(), told.claim_namespace.as_str()), ("shared", "default"));
    let of = &told.claim_resources[0];
    assert_eq!((of.driver_name.as_str(), of.pool_name.as_str(), of.device_name.as_str()), (LAMPS, "pool", "left"));
    assert_eq!(of.cdi_devices[0].name, "example.com/lamp=left");

    // Another pod shares it, also beyond a restart of the kubelet.
    rig.create("two", lit("shared")).await;
    allocate(&rig, "shared", &["one", "two"]).await;
    rig.status("two", "the other pod is ready", 60, ready).await;
    rig.kubelet = None;
    rig.start_kubelet();
    rig.node_ready().await;
    rig.cri.exit("two", "main", 1);
    let again = |s: &PodStatus| {
        let of = |name: &str| s.container_statuses.iter().flatten().find(|c| c.name == name).map(|c| c.restart_count);
        ready(s) && of("main") == Some(1)
    };
    rig.status("two", "its container runs again", 60, again).await;
    assert_eq!(devices(&rig, "two", "main"), ["example.com/lamp=left"]);
    rig.pods().delete("one", &DeleteParams::default()).await.unwrap();
    rig.gone("one", 60).await;
    asked(&driver, 1, &["prepare default/shared"]).await;

    // The last one does not end before the driver has taken it back.
    driver.seen().broken = Some("still warm".to_owned());
    rig.pods().delete("two", &DeleteParams::default()).await.unwrap();
    eventually("the driver is asked", 60, || async {
        let calls = driver.seen().calls.clone();
        if calls.iter().any(|call| call == "unprepare default/shared") { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
    assert!(rig.cri.running("two").is_empty(), "after its containers");
    assert!(rig.pods().get_opt("two").await.unwrap().is_some());
    assert_ne!(checkpoint(&rig), json!({}));
    driver.seen().broken = None;
    rig.gone("two", 60).await;
    assert_eq!(checkpoint(&rig), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_done_is_told_so_once_its_driver_has_taken_back_what_it_claimed() {
    let rig = Rig::new().await;
    let driver = FakeDra::start(&rig.options.dirs.kubelet);
    claim(&rig, "once").await;
    let mut job = lit("once");
    job["restartPolicy"] = json!("Never");
    rig.create("job", job).await;
    allocate(&rig, "once", &["job"]).await;
    rig.status("job", "the pod is ready", 90, ready).await;
    driver.seen().broken = Some("still warm".to_owned());
    for container in ["main", "dark"] {
        rig.cri.exit("job", container, 0);
    }
    let ended = |status: &PodStatus| {
        let states = status.container_statuses.iter().flatten().map(|container| container.state.as_ref());
        states.flatten().filter(|state| state.terminated.is_some()).count() == 2
    };
    let told = rig.status("job", "its containers have ended", 60, ended).await;
    assert_ne!(told.phase.as_deref(), Some("Succeeded"), "its devices would be given to others");
    driver.seen().broken = None;
    let done = |status: &PodStatus| status.phase.as_deref() == Some("Succeeded");
    rig.status("job", "the pod is done", 60, done).await;
    assert_eq!(checkpoint(&rig), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_claimed_is_taken_back_though_it_went_while_nobody_watched() {
    let mut rig = Rig::new().await;
    let driver = FakeDra::start(&rig.options.dirs.kubelet);
    claim(&rig, "lonely").await;
    rig.create("lost", lit("lonely")).await;
    allocate(&rig, "lonely", &["lost"]).await;
    rig.status("lost", "the pod is ready", 90, ready).await;
    rig.kubelet = None;
    rig.pods().delete("lost", &DeleteParams::default().grace_period(0)).await.unwrap();
    {
        let mut state = rig.cri.state();
        state.containers.clear();
        state.sandboxes.clear();
    }
    rig.start_kubelet();
    asked(&driver, 120, &["prepare default/lonely", "unprepare default/lonely"]).await;
    eventually("nothing is known of it any more", 10, || async {
        let known = checkpoint(&rig);
        if known == json!({}) { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_offers_nothing_before_its_drivers_have_registered() {
    let mut rig = Rig::new().await;
    rig.kubelet = None;
    let slices: Api<ResourceSlice> = Api::all(rig.control.client.clone());
    for node in ["node-a", "node-b"] {
        let slice = json!({"metadata": {"name": format!("of-{node}")}, "spec": {"driver": LAMPS, "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "left"}]}});
        slices.create(&PostParams::default(), &serde_json::from_value(slice).unwrap()).await.unwrap();
    }
    rig.start_kubelet();
    eventually("the node's offer is gone", 60, || async {
        match slices.get_opt("of-node-a").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|found| found.map(|slice| slice.metadata)))),
        }
    })
    .await;
    assert!(slices.get_opt("of-node-b").await.unwrap().is_some(), "another node's stays");
}
