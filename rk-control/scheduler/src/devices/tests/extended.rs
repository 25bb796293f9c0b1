//! Extended resources: the class behind each, and the claim that says what a pod asks for.

use super::*;
use crate::devices::Extended;
use crate::devices::pool::PoolId;
use crate::model::PodInfo;

const GPU: &str = "example.com/gpu";
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/any";

/// A class of all devices that stands for a resource.
fn class(name: &str, resource: &str, created: &str) -> Arc<k8s_openapi::api::resource::v1::DeviceClass> {
    let meta = json!({"name": name, "creationTimestamp": created});
    let class = json!({"metadata": meta, "spec": {"extendedResourceName": resource}});
    Arc::new(serde_json::from_value(class).expect("a class"))
}

fn with_class(slices: &[Value]) -> Devices {
    let mut world = world(slices);
    world.set_class(&class("gpus", GPU, "2026-01-01T00:00:00Z"));
    world
}

fn asks(name: &str, requests: Value) -> Value {
    json!({"name": name, "resources": {"requests": requests}})
}

fn sidecar(name: &str, requests: Value) -> Value {
    let mut container = asks(name, requests);
    container["restartPolicy"] = json!("Always");
    container
}

fn pod(init: &[Value], containers: &[Value]) -> PodInfo {
    let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "p1"},
        "spec": {"initContainers": init, "containers": containers}});
    PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
}

#[test]
fn the_newest_class_stands_behind_a_resource_and_of_equals_the_first_by_name() {
    let mut world = world(&[]);
    let behind = |world: &Devices, resource: &str| {
        world.class_behind(resource).and_then(|class| class.metadata.name.clone()).unwrap_or_default()
    };
    assert_eq!((behind(&world, GPU), behind(&world, IMPLICIT)), (String::new(), "any".to_owned()));
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    for (name, created, expected) in [("m", old, "m"), ("z", new, "z"), ("b", old, "z"), ("y", new, "y")] {
        world.set_class(&class(name, GPU, created));
        assert_eq!(behind(&world, GPU), expected);
    }
    for (gone, expected) in [("y", "z"), ("z", "b"), ("m", "b")] {
        world.remove_class(gone);
        assert_eq!(behind(&world, GPU), expected);
    }
    world.set_class(&class("b", "example.com/other", old));
    assert_eq!((behind(&world, GPU), behind(&world, "example.com/other")), (String::new(), "b".to_owned()));
    assert_eq!(behind(&world, "deviceclass.resource.kubernetes.io/gone"), "");
}

/// Requests as `name=class*count`, mappings as `container:request`, of a pod on a node that offers nothing by itself.
fn told(pod: &PodInfo) -> (String, String) {
    let (world, node) = (with_class(&[]), node("a"));
    let extended = Extended::new(&world, pod, [&node].into_iter());
    let special = extended.specials().first().expect("a claim");
    let requests = special.claim.spec.devices.clone().and_then(|own| own.requests).unwrap_or_default();
    let requests = requests.iter().map(|own| {
        let exactly = own.exactly.clone().unwrap_or_default();
        assert_eq!(exactly.allocation_mode.as_deref(), Some("ExactCount"));
        format!("{}={}*{}", own.name, exactly.device_class_name, exactly.count.unwrap_or_default())
    });
    let mappings = special.mappings.iter().map(|own| format!("{}:{}", own.container_name, own.request_name));
    (requests.collect::<Vec<_>>().join(" "), mappings.collect::<Vec<_>>().join(" "))
}

#[test]
fn containers_that_end_before_others_use_what_these_will_have() {
    let gpu = |name: &str, amount: &str| asks(name, json!({GPU: amount}));
    for (init, containers, requests, mappings) in [
        (
            vec![],
            vec![asks("c", json!({"cpu": "1", GPU: "2"}))],
            "container-0-request-1=gpus*2",
            "c:container-0-request-1",
        ),
        (
            vec![gpu("i", "1")],
            vec![gpu("c", "2")],
            "container-1-request-0=gpus*2",
            "c:container-1-request-0 i:container-1-request-0",
        ),
        (
            vec![gpu("i", "3")],
            vec![gpu("c", "2")],
            "container-0-request-0=gpus*1 container-1-request-0=gpus*2",
            "c:container-1-request-0 i:container-1-request-0 i:container-0-request-0",
        ),
        (
            vec![gpu("i", "3"), gpu("j", "4")],
            vec![gpu("c", "2")],
            "container-1-request-0=gpus*2 container-2-request-0=gpus*2",
            "c:container-2-request-0 i:container-2-request-0 i:container-1-request-0 j:container-2-request-0 \
             j:container-1-request-0",
        ),
        (
            vec![sidecar("s", json!({GPU: "1"})), gpu("i", "1")],
            vec![asks("c", json!({}))],
            "container-0-request-0=gpus*1 container-1-request-0=gpus*1",
            "s:container-0-request-0 i:container-1-request-0",
        ),
        (
            vec![],
            vec![asks("c", json!({IMPLICIT: "1", GPU: "1"})), gpu("d", "1")],
            "container-0-request-0=any*1 container-0-request-1=gpus*1 container-1-request-0=gpus*1",
            "c:container-0-request-0 c:container-0-request-1 d:container-1-request-0",
        ),
    ] {
        assert_eq!(told(&pod(&init, &containers)), (requests.to_owned(), mappings.to_owned()));
    }
}

#[test]
fn the_claim_is_the_pods_and_one_for_each_sort_of_nodes() {
    let world = with_class(&[]);
    let both = pod(&[], &[asks("c", json!({GPU: "1", IMPLICIT: "1"}))]);
    let offering = |name: &str, offer: Value| {
        let mut node = node(name);
        let own = json!({"metadata": {"name": name}, "status": {"allocatable": offer}});
        node.update(&serde_json::from_value(own).expect("a node"));
        node
    };
    let nodes =
        [node("a"), offering("b", json!({GPU: "1"})), node("c"), offering("d", json!({GPU: "1", IMPLICIT: "1"}))];
    let extended = Extended::new(&world, &both, nodes.iter());
    let places = nodes.each_ref().map(|node| extended.place_of(&world, &both, node));
    assert!(places[0] == places[2] && places[0] != places[1] && places[3].is_none(), "{places:?}");
    assert_eq!(extended.specials().len(), 2);
    let made = extended.specials()[0].to_make();
    let (mut meta, owner) = (
        json!(made.metadata),
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p1",
        "controller": true}),
    );
    assert_eq!(meta["ownerReferences"].take(), json!([owner]));
    assert_eq!(meta["annotations"].take(), json!({"resource.kubernetes.io/extended-resource-claim": "true"}));
    assert_eq!((&meta["generateName"], &meta["name"]), (&json!("p-extended-resources-"), &Value::Null));
    assert_eq!((&meta["namespace"], &meta["uid"]), (&json!("n"), &Value::Null));
    let none = Extended::new(&world, &pod(&[], &[asks("c", json!({"example.com/other": "1"}))]), nodes.iter());
    assert!(!none.is_backed && none.specials().is_empty());
}

#[test]
fn what_was_decided_for_a_claim_counts_once_when_the_claim_is_made() {
    let mut world = with_class(&[slice("p", "a", named(&["x"]))]);
    let own = pod(&[], &[asks("c", json!({GPU: "1"}))]);
    let extended = Extended::new(&world, &own, [&node("a")].into_iter());
    let special = extended.specials()[0].clone();
    let found = search(&world, &node("a"), std::slice::from_ref(&special.claim), 100).expect("no refusal");
    let decided = found.expect("devices");
    assert!(special.is_of(&decided[0]));
    world.begin(&decided);
    world.rename(&decided[0].uid, "made");
    let taken = |world: &Devices| {
        let pool = PoolId { driver: DRIVER.to_owned(), name: "p".to_owned() };
        world.usage.of(&pool, "x").map_or(0, |taken| taken.whole)
    };
    assert_eq!(taken(&world), 1);
    let mut made = special.to_make();
    made.metadata.name = Some("p-extended-resources-x".to_owned());
    made.metadata.uid = Some("made".to_owned());
    world.set_claim(&Arc::new(made.clone()));
    assert_eq!((taken(&world), world.leftover(&own).is_some()), (1, true));
    let status = json!({"allocation": decided[0].result});
    made.status = Some(serde_json::from_value(status).expect("a status"));
    world.set_claim(&Arc::new(made.clone()));
    assert_eq!(taken(&world), 1);
    world.end(&decided);
    assert_eq!(taken(&world), 1, "it is the claim's by now");
    world.remove_claim(&rk_client::ObjectKey::of(&made));
    assert_eq!((taken(&world), world.leftover(&own)), (0, None));
}

#[test]
fn what_an_earlier_attempt_made_goes_though_its_class_went_before() {
    let (mut world, a) = (with_class(&[]), node("a"));
    let own = pod(&[], &[asks("c", json!({GPU: "1"}))]);
    let mut made = Extended::new(&world, &own, [&a].into_iter()).specials()[0].to_make();
    (made.metadata.name, made.metadata.uid) = (Some("p-extended-resources-x".to_owned()), Some("made".to_owned()));
    world.set_claim(&Arc::new(made.clone()));
    world.remove_class("gpus");
    let leftover = Extended::new(&world, &own, [&a].into_iter()).leftover;
    assert_eq!(leftover, Some(rk_client::ObjectKey::of(&made)));
    let plain = pod(&[], &[asks("c", json!({"cpu": "1"}))]);
    assert_eq!(Extended::new(&world, &plain, [&a].into_iter()).leftover, None, "it never had one");
}
