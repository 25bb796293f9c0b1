//! What is written of an allocation, and what claims let their pods do.

use super::*;
use crate::devices::{has_conditions, is_idle, readiness};
use crate::model::PodInfo;

/// The allocation of one claim on node `a`.
fn allocation(world: &Devices, devices: &Value) -> Value {
    let found = search(world, &node("a"), &[claim("c", devices)], 1000).expect("no refusal").expect("devices");
    json!(found[0].result)
}

#[test]
fn an_allocation_tells_devices_configurations_and_where_they_can_be_used() {
    let conditions = json!({"name": "y", "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]});
    let mut world = world(&[slice("p", "a", json!([{"name": "x"}, conditions]))]);
    let opaque = |value: &str| json!({"driver": DRIVER, "parameters": {"mode": value}});
    let class = json!({"metadata": {"name": "tuned"}, "spec": {"config": [{"opaque": opaque("class")}]}});
    world.set_class(&Arc::new(serde_json::from_value(class).expect("a class")));
    let tolerations = json!([{"key": "k", "operator": "Exists"}]);
    let parts = json!([{"name": "none", "deviceClassName": "never"}, {"name": "tuned", "deviceClassName": "tuned"}]);
    let never = json!({"selectors": [{"cel": {"expression": "false"}}], "config": [{"opaque": opaque("never")}]});
    let class = json!({"metadata": {"name": "never"}, "spec": never});
    world.set_class(&Arc::new(serde_json::from_value(class).expect("a class")));
    let told = allocation(
        &world,
        &json!({
            "requests": [
                exactly("one", json!({"deviceClassName": "tuned", "adminAccess": true, "tolerations": tolerations})),
                {"name": "two", "firstAvailable": parts},
            ],
            "config": [
                {"opaque": opaque("all")},
                {"requests": ["two/tuned"], "opaque": opaque("second")},
                {"requests": ["two/none"], "opaque": opaque("never")},
                {"requests": ["one", "two"], "opaque": opaque("both")},
            ],
        }),
    );
    let from = |source: &str, requests: Value, value: &str| {
        let mut config = json!({"source": source, "opaque": opaque(value)});
        if !requests.is_null() {
            config["requests"] = requests;
        }
        config
    };
    let result = |request: &str, device: &str, more: Value| {
        let mut own = json!({"request": request, "driver": DRIVER, "pool": "p", "device": device});
        for (key, value) in more.as_object().expect("fields") {
            own[key] = value.clone();
        }
        own
    };
    let by_name = json!({"nodeSelectorTerms": [{"matchFields":
        [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]});
    let expected = json!({
        "devices": {
            "results": [
                result("one", "x", json!({"adminAccess": true, "tolerations": tolerations})),
                result("two/tuned", "y", json!({"bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]})),
            ],
            "config": [
                from("FromClass", json!(["one", "two/tuned"]), "class"),
                from("FromClaim", Value::Null, "all"),
                from("FromClaim", json!(["two/tuned"]), "second"),
                from("FromClaim", json!(["one", "two"]), "both"),
            ],
        },
        "nodeSelector": by_name,
    });
    assert_eq!(told, expected);
}

#[test]
fn devices_of_many_nodes_say_where_they_can_be_used() {
    let is = |key: &str| json!({"key": key, "operator": "Exists"});
    let reach = |keys: &[&str]| {
        let all: Vec<Value> = keys.iter().map(|key| is(key)).collect();
        json!({"nodeSelectorTerms": [{"matchExpressions": all}]})
    };
    let two = json!({"requests": [exactly("r", json!({"count": 2}))]});
    let cases = [
        (json!({"allNodes": true}), json!({"allNodes": true}), Value::Null),
        (json!({"allNodes": true}), json!({"nodeSelector": reach(&["zone"])}), reach(&["zone"])),
        (json!({"nodeSelector": reach(&["zone"])}), json!({"nodeSelector": reach(&["zone"])}), reach(&["zone"])),
    ];
    for (first, second, expected) in cases {
        let with = |name: &str, mut own: Value| {
            own["devices"] = named(&[name]);
            slice_with(name, &own)
        };
        let world = world(&[with("x", first), with("y", second)]);
        assert_eq!(allocation(&world, &two)["nodeSelector"], expected);
    }
    let bound = json!({"allNodes": true, "devices": [{"name": "x", "bindsToNode": true}]});
    let told = allocation(&world(&[slice_with("p", &bound)]), &json!({"requests": [exactly("r", json!({}))]}));
    assert_eq!(told["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!(["a"]));
}

#[test]
fn every_share_has_an_id_of_its_own() {
    let shared = json!([{"name": "x", "allowMultipleAllocations": true}]);
    let told =
        allocation(&world(&[slice("p", "a", shared)]), &json!({"requests": [exactly("r", json!({"count": 2}))]}));
    let ids: Vec<&str> = (0..2usize).filter_map(|n| told["devices"]["results"][n]["shareID"].as_str()).collect();
    assert!(matches!(ids[..], [one, other] if one != other && one.len() == 36), "{told}");
}

fn pod(name: &str, template: bool) -> PodInfo {
    let own = if template { "resourceClaimTemplateName" } else { "resourceClaimName" };
    let pod = json!({"metadata": {"namespace": "n", "name": name, "uid": name},
        "spec": {"containers": [], "resourceClaims": [{"name": "r", own: "c"}]},
        "status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "c"}]}});
    PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
}

fn stored(meta: Value, status: Value) -> Arc<ResourceClaim> {
    let mut claim = json!({"metadata": {"namespace": "n", "name": "c", "uid": "u"}, "spec": {}, "status": status});
    for (key, value) in meta.as_object().expect("fields") {
        claim["metadata"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(claim).expect("a claim"))
}

#[test]
fn a_pod_waits_while_its_claim_is_not_there_or_not_its_own() {
    let mut devices = Devices::default();
    let (own, made) = (pod("p", false), pod("p", true));
    let problem = |devices: &Devices, pod: &PodInfo| devices.problem(pod).unwrap_or_default();
    assert_eq!(problem(&devices, &own), "resourceclaim \"c\" not found");
    devices.set_claim(&stored(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({})));
    assert_eq!(problem(&devices, &own), "resourceclaim \"c\" is being deleted");
    devices.set_claim(&stored(json!({}), json!({})));
    assert_eq!(problem(&devices, &own), "");
    assert_eq!(problem(&devices, &made), "ResourceClaim n/c was not created for pod n/p (pod is not owner)");
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    devices.set_claim(&stored(json!({"ownerReferences": owner}), json!({})));
    assert_eq!(problem(&devices, &made), "");
    let result = serde_json::from_value(json!({})).expect("an allocation");
    let decided = [Arc::new(Allocation { claim: made.device_claim_keys().remove(0), uid: "u".to_owned(), result })];
    devices.begin(&decided);
    assert_eq!(problem(&devices, &made), "resource claim n/c is in the process of being allocated");
    devices.end(&decided);
    let users: Vec<Value> =
        (0..256).map(|n| json!({"resource": "pods", "name": "q", "uid": format!("q{n}")})).collect();
    devices.set_claim(&stored(json!({}), json!({"allocation": {}, "reservedFor": users})));
    assert_eq!(problem(&devices, &own), "resourceclaim in use");
    assert_eq!(problem(&devices, &pod("q7", false)), "", "it is one of them");
}

#[test]
fn devices_are_ready_when_their_driver_says_so() {
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x",
        "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]});
    let allocation = json!({"devices": {"results": [result]}});
    let told = |conditions: &[(&str, &str)]| {
        let all = conditions.iter().map(|(name, status)| {
            json!({"type": name, "status": status, "reason": "Because", "message": "so", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        });
        let device = json!({"driver": "d", "pool": "p", "device": "x", "conditions": all.collect::<Vec<_>>()});
        stored(json!({}), json!({"allocation": allocation, "devices": [device]}))
    };
    assert_eq!(readiness(&stored(json!({}), json!({"allocation": allocation}))), Ok(false));
    assert_eq!(readiness(&told(&[("Attached", "False")])), Ok(false));
    assert_eq!(readiness(&told(&[("Attached", "True")])), Ok(true));
    let why = "claim c binding failed: reason=Because, message=\"so\"";
    assert_eq!(readiness(&told(&[("Attached", "True"), ("Broken", "True")])), Err(why.to_owned()));
    let plain = stored(json!({}), json!({"allocation": {}}));
    assert!(readiness(&plain) == Ok(true) && !has_conditions(&plain) && has_conditions(&told(&[])));
    let mut devices = Devices::default();
    let waiting = told(&[]);
    devices.set_claim(&waiting);
    assert!(!devices.are_lost(&waiting) && devices.are_lost(&told(&[("Broken", "True")])));
    devices.set_overdue("u");
    assert!(devices.are_lost(&waiting));
    devices.set_claim(&stored(json!({}), json!({})));
    assert!(!devices.are_lost(&waiting), "it was freed since");
    for replaced in [false, true] {
        devices.set_overdue("u");
        match replaced {
            true => devices.set_claim(&stored(json!({"uid": "later"}), json!({"allocation": {}}))),
            false => devices.remove_claim(&rk_client::ObjectKey::new("n", "c")),
        }
        assert!(!devices.are_lost(&waiting), "nothing is remembered of a claim that is gone");
        devices.set_claim(&waiting);
    }
    let gone = readiness(&stored(json!({}), json!({}))).expect_err("it has no devices to wait for");
    assert_eq!(gone, "claim n/c got deallocated elsewhere in the meantime");
    let users = json!([{"resource": "pods", "name": "p", "uid": "p"}]);
    let used = stored(json!({}), json!({"allocation": {}, "reservedFor": users}));
    assert!(is_idle(&plain, "p") && is_idle(&used, "p") && !is_idle(&used, "q"));
}
