//! What devices are taken by others, administrators, partitions and shares.

use super::*;

fn results(devices: Value) -> Value {
    json!({"devices": {"results": devices}})
}

fn result(device: &str, more: Value) -> Value {
    let mut own = json!({"request": "r", "driver": DRIVER, "pool": "p", "device": device});
    for (key, value) in more.as_object().expect("fields") {
        own[key] = value.clone();
    }
    own
}

/// A claim that has devices.
fn holds(world: &mut Devices, name: &str, devices: Value) {
    let claim = json!({"metadata": {"namespace": "n", "name": name, "uid": name}, "spec": {},
        "status": {"allocation": results(devices)}});
    world.set_claim(&Arc::new(serde_json::from_value(claim).expect("a claim")));
}

fn count(count: i64) -> Value {
    json!([exactly("r", json!({"count": count}))])
}

#[test]
fn what_claims_have_nobody_else_gets_until_it_is_given_back() {
    let mut world = world(&[slice("p", "a", named(&["x", "y"]))]);
    holds(&mut world, "other", json!([result("x", json!({}))]));
    assert_eq!(got(&world, count(1), json!([])), "r=y");
    assert_eq!(got(&world, json!([exactly("r", json!({"allocationMode": "All"}))]), json!([])), "nothing");
    let own = claim("c", &json!({"requests": count(1)}));
    let decided = search(&world, &node("a"), &[own], 1000).expect("no refusal").expect("a device");
    world.begin(&decided);
    assert_eq!(got(&world, count(1), json!([])), "nothing", "it is on its way");
    holds(&mut world, "c", json!([result("y", json!({}))]));
    world.end(&decided);
    assert_eq!(got(&world, count(1), json!([])), "nothing", "it has arrived");
    world.end(&decided);
    world.remove_claim(&rk_client::ObjectKey::new("n", "c"));
    assert_eq!(got(&world, count(1), json!([])), "r=y");
    holds(&mut world, "other", json!([]));
    assert_eq!(got(&world, count(2), json!([])), "r=x r=y");
}

#[test]
fn what_is_written_is_not_on_its_way_any_more() {
    let mut world = world(&[slice("p", "a", named(&["x"]))]);
    let own = claim("c", &json!({"requests": count(1)}));
    let decide = |world: &Devices| {
        let found = search(world, &node("a"), std::slice::from_ref(&own), 1000).expect("no refusal");
        found.expect("a device")
    };
    let first = decide(&world);
    world.begin(&first);
    holds(&mut world, "c", json!([result("x", json!({}))]));
    world.set_claim(&Arc::new(own.clone()));
    assert_eq!(got(&world, count(1), json!([])), "r=x", "written and given back, while the pod is still being bound");
    let second = decide(&world);
    world.begin(&second);
    world.end(&first);
    assert_eq!(got(&world, count(1), json!([])), "nothing", "it is for somebody else by now");
    world.end(&second);
    assert_eq!(got(&world, count(1), json!([])), "r=x");
}

#[test]
fn administrators_see_devices_that_others_have_and_take_none() {
    let mut world = world(&[slice("p", "a", named(&["x", "y"]))]);
    holds(&mut world, "other", json!([result("x", json!({}))]));
    holds(&mut world, "admin", json!([result("y", json!({"adminAccess": true}))]));
    assert_eq!(got(&world, count(1), json!([])), "r=y");
    let admin = |more: Value| {
        let mut own = exactly("r", more);
        own["exactly"]["adminAccess"] = json!(true);
        json!([own])
    };
    assert_eq!(got(&world, admin(json!({"allocationMode": "All"})), json!([])), "r=x r=y");
    assert_eq!(got(&world, admin(json!({"count": 2})), json!([])), "r=x r=y");
    assert_eq!(got(&world, admin(json!({"count": 3})), json!([])), "nothing", "each of them once");
}

#[test]
fn partitions_take_of_what_they_have_in_common() {
    let part = |name: &str, amount: &str| {
        let memory = json!({"memory": {"value": amount}});
        json!({"name": name, "consumesCounters": [{"counterSet": "gpu", "counters": memory}]})
    };
    let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 2});
    let counters = json!([{"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}]);
    let slices = |parts: Value| {
        let common = json!({"nodeName": "a", "pool": pool, "sharedCounters": counters});
        let parts = json!({"nodeName": "a", "pool": pool, "devices": parts});
        [slice_with("counters", &common), slice_with("parts", &parts)]
    };
    let mut world =
        world(&slices(json!([part("whole", "40Gi"), part("h1", "20Gi"), part("h2", "20Gi"), part("h3", "20Gi")])));
    assert_eq!(got(&world, count(1), json!([])), "r=whole");
    assert_eq!(got(&world, count(2), json!([])), "r=h1 r=h2", "not beside the whole");
    assert_eq!(got(&world, count(3), json!([])), "nothing");
    holds(&mut world, "other", json!([result("h3", json!({}))]));
    assert_eq!(got(&world, count(1), json!([])), "r=h1");
    assert_eq!(got(&world, count(2), json!([])), "nothing");
    let mut unknown = part("x", "1Gi");
    unknown["consumesCounters"][0]["counterSet"] = json!("none");
    let invalid = super::world(&slices(json!([unknown, part("y", "1Gi")])));
    assert_eq!(got(&invalid, count(1), json!([])), "here: invalid resource pools were encountered");
}

#[test]
fn claims_share_a_device_as_far_as_its_capacity_goes() {
    let shared = json!([{"name": "x", "allowMultipleAllocations": true, "capacity": {"memory": {"value": "10Gi"}}}]);
    let mut world = world(&[slice("p", "a", shared)]);
    let wants = |amount: &str| json!([exactly("r", json!({"capacity": {"requests": {"memory": amount}}}))]);
    let twice = |amount: &str| {
        let own = json!({"count": 2, "capacity": {"requests": {"memory": amount}}});
        json!([exactly("r", own)])
    };
    assert_eq!(got(&world, wants("10Gi"), json!([])), "r=x");
    assert_eq!(got(&world, wants("11Gi"), json!([])), "nothing");
    assert_eq!(got(&world, twice("5Gi"), json!([])), "r=x r=x");
    assert_eq!(got(&world, twice("6Gi"), json!([])), "nothing");
    assert_eq!(got(&world, count(2), json!([])), "nothing", "who says nothing takes all of it");
    let none = json!([exactly("r", json!({"capacity": {"requests": {"cores": "1"}}}))]);
    assert_eq!(got(&world, none, json!([])), "nothing");
    let full_name = json!([exactly("r", json!({"capacity": {"requests": {format!("{DRIVER}/memory"): "4Gi"}}}))]);
    assert_eq!(got(&world, full_name, json!([])), "r=x");
    let share = json!({"shareID": "0a1b", "consumedCapacity": {"memory": "7Gi"}});
    holds(&mut world, "other", json!([result("x", share)]));
    assert_eq!(got(&world, wants("3Gi"), json!([])), "r=x");
    assert_eq!(got(&world, wants("4Gi"), json!([])), "nothing");
    holds(&mut world, "other", json!([result("x", json!({}))]));
    assert_eq!(got(&world, wants("1Gi"), json!([])), "nothing", "somebody has it as a whole");
}

#[test]
fn portions_are_what_a_policy_allows() {
    let range = json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "8Gi", "step": "2Gi"}});
    let values = json!({"default": "1Gi", "validValues": ["1Gi", "4Gi"]});
    for (policy, asked, expected) in [
        (&range, Some("1Gi"), Some("2Gi")),
        (&range, Some("3Gi"), Some("4Gi")),
        (&range, Some("8Gi"), Some("8Gi")),
        (&range, Some("9Gi"), None),
        (&range, None, Some("1Gi")),
        (&values, Some("2Gi"), Some("4Gi")),
        (&values, Some("1Gi"), Some("1Gi")),
        (&values, Some("5Gi"), None),
        (&values, None, Some("1Gi")),
        (&json!(null), Some("3Gi"), Some("3Gi")),
        (&json!(null), None, Some("16Gi")),
    ] {
        let memory = json!({"value": "16Gi", "requestPolicy": policy});
        let device = json!([{"name": "x", "allowMultipleAllocations": true, "capacity": {"memory": memory}}]);
        let world = world(&[slice("p", "a", device)]);
        let requests = asked.map_or(json!({}), |asked| json!({"capacity": {"requests": {"memory": asked}}}));
        let own = claim("c", &json!({"requests": [exactly("r", requests)]}));
        let found = search(&world, &node("a"), &[own], 1000).expect("no refusal");
        let portion = found.map(|found| json!(found[0].result)["devices"]["results"][0]["consumedCapacity"].clone());
        assert_eq!(portion, expected.map(|amount| json!({"memory": amount})), "{policy} {asked:?}");
    }
}
