//! Pools: generations, wholeness, and who reaches them.

use super::*;

fn any() -> Value {
    json!([exactly("r", json!({}))])
}

fn part(name: &str, generation: i64, count: i64, devices: &[&str]) -> Value {
    let pool = json!({"name": "p", "generation": generation, "resourceSliceCount": count});
    slice_with(name, &json!({"nodeName": "a", "pool": pool, "devices": named(devices)}))
}

#[test]
fn devices_come_from_whole_pools_of_the_newest_generation() {
    let all = || json!([exactly("r", json!({"allocationMode": "All"}))]);
    let updated =
        "everywhere: claim n/c, request r: asks for all devices, but resource pool d.example.com/p is currently";
    let cases = [
        (vec![part("s1", 1, 2, &["x"]), part("s2", 1, 2, &["y"])], "r=x", "r=x r=y".to_owned()),
        (vec![part("s1", 1, 2, &["x"])], "nothing", format!("{updated} being updated")),
        (vec![part("s1", 1, 1, &["x"]), part("s2", 2, 1, &["y"])], "r=y", "r=y".to_owned()),
        (vec![part("s1", 1, 1, &["x"]), part("s2", 2, 2, &["y"])], "nothing", format!("{updated} being updated")),
        (
            vec![part("s1", 1, 2, &["x"]), part("s2", 1, 2, &["x"])],
            "here: invalid resource pools were encountered",
            format!("{updated} invalid"),
        ),
        (vec![part("s1", 1, 1, &[])], "nothing", "nothing".to_owned()),
    ];
    for (slices, one, every) in cases {
        let world = world(&slices);
        assert_eq!(got(&world, any(), json!([])), one, "{slices:?}");
        assert_eq!(got(&world, all(), json!([])), every, "{slices:?}");
    }
}

#[test]
fn a_pool_is_looked_at_anew_when_its_slices_change() {
    let mut world = world(&[part("s1", 1, 2, &["x"]), part("s2", 1, 2, &["y"])]);
    let set = |world: &mut Devices, slice: Value| {
        world.set_slice(&Arc::new(serde_json::from_value(slice).expect("a slice")));
    };
    world.remove_slice("s1");
    assert_eq!(got(&world, any(), json!([])), "nothing");
    set(&mut world, part("s2", 2, 1, &["z"]));
    assert_eq!(got(&world, any(), json!([])), "r=z");
    let mut other = part("s2", 1, 1, &["w"]);
    other["spec"]["pool"]["name"] = json!("q");
    set(&mut world, other);
    assert_eq!(got(&world, any(), json!([])), "r=w", "its pool is gone with it");
    world.remove_slice("s2");
    assert_eq!(got(&world, any(), json!([])), "nothing");
    assert!(world.inventory.pools_of(&node("a")).is_empty());
}

#[test]
fn a_node_gets_what_it_reaches() {
    let zone = |name: &str| {
        let is = json!({"key": "zone", "operator": "In", "values": [name]});
        json!({"nodeSelectorTerms": [{"matchExpressions": [is]}]})
    };
    let each = json!([{"name": "x", "nodeName": "b"}, {"name": "y", "nodeSelector": zone("z-c")}, {"name": "z", "allNodes": true}]);
    let one = || named(&["x"]);
    let cases = [
        (json!({"nodeName": "a", "devices": one()}), ["r=x", "nothing", "nothing"]),
        (json!({"allNodes": true, "devices": one()}), ["r=x", "r=x", "r=x"]),
        (json!({"nodeSelector": zone("z-b"), "devices": one()}), ["nothing", "r=x", "nothing"]),
        (json!({"perDeviceNodeSelection": true, "devices": each}), ["r=z", "r=x", "r=y"]),
        (json!({"devices": one()}), ["nothing", "nothing", "nothing"]),
    ];
    for (spec, expected) in cases {
        let world = world(&[slice_with("p", &spec)]);
        let own = claim("c", &json!({"requests": any()}));
        let told = ["a", "b", "c"].map(|name| told(&world, &node(name), std::slice::from_ref(&own)));
        assert_eq!(told, expected, "{spec}");
    }
}

#[test]
fn devices_that_must_be_prepared_come_last() {
    let prepared = json!([{"name": "x", "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]}]);
    let world = world(&[slice("early", "a", prepared), slice("late", "a", named(&["y"]))]);
    assert_eq!(got(&world, any(), json!([])), "r=y");
    assert_eq!(got(&world, json!([exactly("r", json!({"count": 2}))]), json!([])), "r=y r=x");
}
