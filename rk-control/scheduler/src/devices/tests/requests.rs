//! Requests, selectors, alternatives, constraints, taints and bounds.

use super::*;

#[test]
fn a_request_gets_as_many_devices_as_it_asks_for() {
    let world = world(&[slice("p", "a", named(&["x", "y", "z"]))]);
    let cases = [
        (json!([exactly("r", json!({}))]), "r=x"),
        (json!([exactly("r", json!({"allocationMode": "ExactCount", "count": 2}))]), "r=x r=y"),
        (json!([exactly("r", json!({"count": 2})), exactly("s", json!({}))]), "r=x r=y s=z"),
        (json!([exactly("r", json!({"count": 4}))]), "nothing"),
        (json!([exactly("r", json!({"allocationMode": "All"}))]), "r=x r=y r=z"),
        (json!([exactly("r", json!({"allocationMode": "All"})), exactly("s", json!({}))]), "nothing"),
        (
            json!([exactly("r", json!({"allocationMode": "Some"}))]),
            "everywhere: claim n/c, request r: unsupported count mode Some",
        ),
        (json!([{"name": "r"}]), "everywhere: resource claim n/c, request r: unknown request type"),
        (
            json!([exactly("r", json!({"deviceClassName": "none"}))]),
            "everywhere: request r: device class none does not exist",
        ),
    ];
    for (requests, expected) in cases {
        assert_eq!(got(&world, requests.clone(), json!([])), expected, "{requests}");
    }
    assert_eq!(told(&world, &node("b"), &[claim("c", &json!({"requests": [exactly("r", json!({}))]}))]), "nothing");
}

#[test]
fn selectors_of_class_and_request_must_both_mean_a_device() {
    let world = world(&[slice("p", "a", numbered(&[("x", 0), ("y", 1), ("z", 1)]))]);
    let not_y = json!([{"cel": {"expression": format!("device.attributes['{DRIVER}'].numa >= 0")}},
        {"cel": {"expression": "device.driver == 'd.example.com'"}}]);
    let class = |name: &str, selectors: &Value| exactly("r", json!({"deviceClassName": name, "selectors": selectors}));
    assert_eq!(got(&world, json!([class("any", &not_y)]), json!([])), "r=x");
    assert_eq!(got(&world, json!([class("big", &not_y)]), json!([])), "r=y");
    let none = json!([{"cel": {"expression": "device.driver == 'other'"}}]);
    assert_eq!(got(&world, json!([class("big", &none)]), json!([])), "nothing");
    let fails = json!([{"cel": {"expression": format!("device.attributes['{DRIVER}'].nope == 1")}}]);
    let why = "everywhere: claim n/c: selector #0: CEL runtime error: no such key: nope";
    assert_eq!(got(&world, json!([class("any", &fails)]), json!([])), why);
    let broken = got(&world, json!([class("any", &json!([{"cel": {"expression": "device."}}]))]), json!([]));
    assert!(broken.starts_with("everywhere: claim n/c: selector #0: CEL compile error: "), "{broken}");
}

#[test]
fn the_first_alternative_that_can_be_had_is_taken() {
    let world = world(&[slice("p", "a", numbered(&[("x", 0), ("y", 1), ("z", 0)]))]);
    let first = |parts: Value| json!([{"name": "r", "firstAvailable": parts}]);
    let part = |name: &str, class: &str, count: i64| json!({"name": name, "deviceClassName": class, "count": count});
    assert_eq!(got(&world, first(json!([part("big", "big", 1), part("any", "any", 1)])), json!([])), "r/big=y");
    assert_eq!(got(&world, first(json!([part("big", "big", 2), part("any", "any", 1)])), json!([])), "r/any=x");
    assert_eq!(got(&world, first(json!([part("big", "big", 2), part("any", "any", 4)])), json!([])), "nothing");
    // The second request needs what the first one wishes for most.
    let mut both = first(json!([part("big", "big", 1), part("any", "any", 1)]));
    both.as_array_mut().expect("requests").push(exactly("s", json!({"deviceClassName": "big"})));
    assert_eq!(got(&world, both, json!([])), "r/any=x s=y");
}

#[test]
fn wishes_are_worth_more_the_earlier_they_are_named() {
    let world = world(&[slice("p", "a", numbered(&[("x", 1)])), slice("q", "b", numbered(&[("x", 0)]))]);
    let parts = json!([{"name": "big", "deviceClassName": "big"}, {"name": "any", "deviceClassName": "any"}]);
    let own = claim("c", &json!({"requests": [{"name": "r", "firstAvailable": parts}]}));
    let plan = Plan::new(&world, &[&own]).expect("a plan");
    for (name, points) in [("a", 8), ("b", 7)] {
        let node = node(name);
        let found = plan.search(&node, &Cell::new(1000)).expect("no refusal").expect("a device");
        assert_eq!(plan.wishes(&found), points, "{name}");
    }
}

#[test]
fn choices_are_taken_back_until_constraints_hold() {
    let world = world(&[slice("p", "a", numbered(&[("x", 0), ("y", 1), ("z", 1), ("w", 2)]))]);
    let name = format!("{DRIVER}/numa");
    let two = || json!([exactly("r", json!({"count": 2}))]);
    assert_eq!(got(&world, two(), json!([{"matchAttribute": name}])), "r=y r=z");
    assert_eq!(got(&world, two(), json!([{"distinctAttribute": name}])), "r=x r=y");
    let three = || json!([exactly("r", json!({"count": 3}))]);
    assert_eq!(got(&world, three(), json!([{"distinctAttribute": name}])), "r=x r=y r=w");
    assert_eq!(got(&world, three(), json!([{"matchAttribute": name}])), "nothing");
    let pair = || json!([exactly("r", json!({})), exactly("s", json!({})), exactly("t", json!({}))]);
    let some = json!([{"matchAttribute": name, "requests": ["r", "t"]}]);
    assert_eq!(got(&world, pair(), some), "r=y s=x t=z");
    assert_eq!(got(&world, two(), json!([{"matchAttribute": format!("{DRIVER}/other")}])), "nothing");
    assert_eq!(got(&world, two(), json!([{"matchAttribute": "other.example.com/numa"}])), "nothing");
    let why = "everywhere: claim n/c, constraint #0: empty constraint (unsupported constraint type?)";
    assert_eq!(got(&world, two(), json!([{}])), why);
    let all = got(&world, json!([exactly("r", json!({"allocationMode": "All"}))]), json!([{"matchAttribute": name}]));
    let why = "everywhere: claim n/c, request r: cannot add device d.example.com/p/y because a claim constraint would \
               not be satisfied";
    assert_eq!(all, why);
}

#[test]
fn a_tainted_device_is_for_those_who_tolerate_it() {
    let taint =
        |effect: &str| json!({"name": effect.to_lowercase(), "taints": [{"key": "k", "value": "v", "effect": effect}]});
    let world = world(&[slice("p", "a", json!([taint("NoSchedule"), taint("NoExecute"), taint("None")]))]);
    let cases = [
        (json!([]), "r=none"),
        (json!([{"key": "k", "operator": "Exists"}]), "r=noschedule"),
        (json!([{"key": "k", "value": "v", "effect": "NoExecute"}]), "r=noexecute"),
        (json!([{"key": "k", "operator": "Equal", "value": "w"}]), "r=none"),
        (json!([{"operator": "Exists", "effect": "NoSchedule"}]), "r=noschedule"),
        (json!([{"key": "other", "operator": "Exists"}]), "r=none"),
    ];
    for (tolerations, expected) in cases {
        let requests = json!([exactly("r", json!({"tolerations": tolerations}))]);
        assert_eq!(got(&world, requests, json!([])), expected, "{tolerations}");
    }
}

#[test]
fn a_claim_has_32_devices_at_most_and_a_search_an_end() {
    let names: Vec<String> = (0..40).map(|n| format!("x{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = world(&[slice("p", "a", named(&names))]);
    let many = got(&world, json!([exactly("r", json!({"count": 20})), exactly("s", json!({"count": 13}))]), json!([]));
    assert_eq!(many, "everywhere: claim n/c: number of requested devices 33 exceeds the claim limit of 32");
    let parts = json!([{"name": "most", "deviceClassName": "any", "count": 30}, {"name": "few", "deviceClassName": "any", "count": 2}]);
    let both = json!([exactly("s", json!({"count": 3})), {"name": "r", "firstAvailable": parts}]);
    assert_eq!(got(&world, both, json!([])), "s=x00 s=x01 s=x02 r/few=x03 r/few=x04");
    let all = got(&world, json!([exactly("r", json!({"allocationMode": "All"}))]), json!([]));
    assert_eq!(all, "everywhere: claim n/c: number of requested devices 40 exceeds the claim limit of 32");
    let shared = json!([{"name": "x", "allowMultipleAllocations": true}]);
    let endless = super::world(&[slice("p", "a", shared)]);
    let full = |name: usize| claim(&format!("c{name}"), &json!({"requests": [exactly("r", json!({"count": 32}))]}));
    let most: Vec<ResourceClaim> = (0..16).map(full).collect();
    assert!(search(&endless, &node("a"), &most, 10_000).is_ok_and(|found| found.is_some()), "512 in all");
    let more: Vec<ResourceClaim> = (0..17).map(full).collect();
    let why = "everywhere: the claims of a pod can have 512 devices together";
    assert_eq!(told(&endless, &node("a"), &more), why);
    let own = claim("c", &json!({"requests": [exactly("r", json!({"count": 30}))]}));
    let short = search(&world, &node("a"), &[own], 29).expect_err("the budget is spent");
    assert_eq!(short, Refusal::Here("timed out trying to allocate devices".to_owned()));
}

#[test]
fn claims_of_one_pod_are_met_together() {
    let world = world(&[slice("p", "a", numbered(&[("x", 1), ("y", 0)]))]);
    let any = claim("one", &json!({"requests": [exactly("r", json!({}))]}));
    let big = claim("two", &json!({"requests": [exactly("s", json!({"deviceClassName": "big"}))]}));
    assert_eq!(told(&world, &node("a"), &[any.clone(), big]), "r=y; s=x");
    let third = claim("three", &json!({"requests": [exactly("t", json!({}))]}));
    assert_eq!(told(&world, &node("a"), &[any.clone(), third.clone(), any]), "nothing");
    assert_eq!(told(&world, &node("a"), &[third]), "t=x");
}
