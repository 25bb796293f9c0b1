//! Rules of claims, classes and slices of devices, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::extensions::merged;
use super::others::lets_in;
use super::{breaks, merge, prepared, resource, sample};
use crate::resources::Registry;
use crate::strategy;

#[test]
fn claims_ask_for_devices_in_known_words() {
    let devices = |devices: Value| json!({"spec": {"devices": devices}});
    let exactly = |more: Value| {
        let mut exact = json!({"deviceClassName": "c"});
        merge(&mut exact, &more);
        devices(json!({"requests": [{"name": "r", "exactly": exact}]}))
    };
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let unknown = format!("spec.devices.constraints[0].requests[0]: Invalid value: \"x\": {why}");
    breaks(
        "resourceclaims",
        &[
            (
                exactly(json!({"allocationMode": "Some"})),
                "spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            ),
            (
                exactly(json!({"tolerations": [{"operator": "Exists", "value": "v"}]})),
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
            ),
            (exactly(json!({"selectors": [{}]})), "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
            (
                devices(
                    json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}, {"name": "r", "exactly": {"deviceClassName": "c"}}]}),
                ),
                "spec.devices.requests[1]: Duplicate value: \"r\"",
            ),
            (devices(json!({"constraints": [{"requests": ["x"], "matchAttribute": "d/a"}]})), unknown.as_str()),
            (
                devices(json!({"constraints": [{"matchAttribute": "a"}]})),
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name",
            ),
            (
                devices(json!({"config": [{"opaque": {"driver": "d", "parameters": [1]}}]})),
                "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            ),
        ],
    );
    breaks(
        "resourceclaimtemplates",
        &[(json!({"spec": {"metadata": {"name": "n"}}}), "spec.metadata.name: Forbidden: cannot be set")],
    );
    breaks(
        "deviceclasses",
        &[
            (
                json!({"spec": {"extendedResourceName": "cpu"}}),
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
            ),
            (json!({"spec": {"config": [{}]}}), "spec.config[0].opaque: Required value"),
        ],
    );
}

#[test]
fn slices_list_devices_with_one_value_each() {
    let device = |more: Value| {
        let mut device = json!({"name": "d"});
        merge(&mut device, &more);
        json!({"spec": {"devices": [device]}})
    };
    let policy = |policy: Value| {
        device(json!({"allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": policy}}}))
    };
    breaks(
        "resourceslices",
        &[
            (
                json!({"spec": {"allNodes": true}}),
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`",
            ),
            (json!({"spec": {"nodeName": ""}}), "must be either unset or set to a non-empty string"),
            (
                device(json!({"attributes": {"a": {}}})),
                "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value",
            ),
            (
                device(json!({"attributes": {"a": {"version": "1"}}})),
                "spec.devices[0].attributes[a].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            ),
            (
                device(json!({"attributes": {"a-b": {"int": 1}}})),
                "spec.devices[0].attributes: Invalid value: \"a-b\": a valid C identifier",
            ),
            (
                device(json!({"capacity": {"m": {"value": "1", "requestPolicy": {}}}})),
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
            ),
            (
                policy(json!({"default": "3", "validRange": {"min": "1", "step": "4"}})),
                "requestPolicy.validRange.step: Invalid value: \"3\": value is not a multiple of a given step (4) from (1)",
            ),
            (
                policy(json!({"default": "3", "validValues": ["1", "2"]})),
                "requestPolicy.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            ),
            (
                device(json!({"taints": [{"key": "k", "effect": "Go"}]})),
                "spec.devices[0].taints[0].effect: Unsupported value: \"Go\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            ),
            (device(json!({"nodeName": "n"})), "can only be set if `perDeviceNodeSelection` is set to true"),
            (
                device(json!({"bindingConditions": ["a"]})),
                "spec.devices[0].bindingFailureConditions: Invalid value: []: bindingFailureConditions are required",
            ),
        ],
    );
}

#[test]
fn the_status_of_a_claim_follows_its_allocation() {
    let registry = Registry::builtin();
    let claims = resource(&registry, "resourceclaims");
    let old = prepared(&claims, sample("resourceclaims"));
    let user = json!({"resource": "pods", "name": "p", "uid": "u"});
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
    let allocation = json!({"devices": {"results": [result]}});
    let told = |old: &Value, status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        strategy::prepare_for_update(&claims, Some("status"), &mut new, old);
        let errors = strategy::validate_update(&claims, Some("status"), &new, old).0;
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&old, json!({"allocation": allocation, "reservedFor": [user]})), "");
    let said = told(&old, json!({"reservedFor": [user]}));
    assert_eq!(said, "status.reservedFor: Forbidden: may not be specified when `allocated` is not set");
    let said = told(&old, json!({"devices": [{"driver": "d", "pool": "p", "device": "x"}]}));
    assert!(said.contains("must be an allocated device in the claim"), "{said}");
    let mut allocated = old.clone();
    allocated["status"] = json!({"allocation": allocation, "devices": [{"driver": "d", "pool": "p", "device": "x"}]});
    let other = json!({"devices": {"results": [merged(&result, &json!({"device": "y"}))]}});
    assert!(told(&allocated, json!({"allocation": other})).contains("status.allocation: Invalid value: "));
    // What is told of a device goes with its allocation.
    assert_eq!(told(&allocated, json!({"devices": allocated["status"]["devices"]})), "");
}

/// The ordinary slice with one device, of which this is said besides.
fn device(more: Value) -> Value {
    json!({"spec": {"devices": [merged(&json!({"name": "d"}), &more)]}})
}

#[test]
fn slices_say_where_their_devices_are() {
    let spec = |more: Value| json!({"spec": more});
    let term = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    let apart = |more: Value| {
        let device = merged(&json!({"name": "d"}), &more);
        json!({"spec": {"nodeName": null, "perDeviceNodeSelection": true, "devices": [device]}})
    };
    let one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the \
               ResourceSlice spec";
    let none = format!("spec.devices[0]: Required value: {one}");
    let two = format!("spec.devices[0]: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}");
    breaks(
        "resourceslices",
        &[
            (spec(json!({"driver": ""})), "spec.driver: Required value"),
            (spec(json!({"driver": "d".repeat(64)})), "spec.driver: Too long: may not be more than 63 bytes"),
            (spec(json!({"pool": {"name": ""}})), "spec.pool.name: Required value"),
            (
                spec(json!({"pool": {"name": "P"}})),
                "spec.pool.name: Invalid value: \"P\": a lowercase RFC 1123 subdomain",
            ),
            (
                spec(json!({"pool": {"resourceSliceCount": 0}})),
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            ),
            (
                spec(json!({"pool": {"generation": -1}})),
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ),
            (spec(json!({"nodeName": "N"})), "spec.nodeName: Invalid value: \"N\": a lowercase RFC 1123 subdomain"),
            (
                spec(json!({"nodeName": null})),
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ),
            (
                spec(json!({"nodeName": null, "nodeSelector": {"nodeSelectorTerms": [term, term]}})),
                ": must have exactly one node selector term",
            ),
            (
                spec(json!({"allNodes": false})),
                "spec.allNodes: Invalid value: false: must be either unset or set to true",
            ),
            (
                spec(json!({"perDeviceNodeSelection": false})),
                "spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true",
            ),
            (apart(json!({})), none.as_str()),
            (apart(json!({"nodeName": "n", "allNodes": true})), two.as_str()),
            (apart(json!({"nodeName": ""})), "spec.devices[0].nodeName: Invalid value: \"\": must not be empty"),
            (
                apart(json!({"allNodes": false})),
                "spec.devices[0].allNodes: Invalid value: false: must be either unset or set to true",
            ),
        ],
    );
    for (key, change) in [
        ("driver", json!({"driver": "e"})),
        ("nodeName", json!({"nodeName": "m"})),
        ("pool.name", json!({"pool": {"name": "m"}})),
    ] {
        let value = if key == "driver" { "e" } else { "m" };
        let want = format!("spec.{key}: Invalid value: {value:?}: field is immutable");
        refuses("resourceslices", None, &[(json!({}), spec(change), want.as_str())]);
    }
}

#[test]
fn slices_and_what_their_devices_share_are_bounded() {
    let named = |count: usize, more: &Value| {
        let all: Vec<Value> = (0..count).map(|n| merged(&json!({"name": format!("d{n}")}), more)).collect();
        json!({"spec": {"devices": all}})
    };
    let counters = json!({"c": {"value": "1"}});
    let sets = |sets: Vec<Value>| json!({"spec": {"devices": null, "sharedCounters": sets}});
    let set = |name: &str| json!({"name": name, "counters": counters});
    let taken = |sets: &[&str]| {
        let sets: Vec<Value> = sets.iter().map(|set| json!({"counterSet": set, "counters": counters})).collect();
        device(json!({"consumesCounters": sets}))
    };
    let tainted = json!({"taints": [{"key": "k", "effect": "None"}]});
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("c{n}"), json!({"value": "1"}))).collect();
    breaks(
        "resourceslices",
        &[
            (named(129, &json!({})), "spec.devices: Too many: 129: must have at most 128 items"),
            (named(65, &tainted), "spec.devices: Too many: 65: must have at most 64 items"),
            (json!({"spec": {"devices": [{"name": "d"}, {"name": "d"}]}}), "spec.devices[1]: Duplicate value: \"d\""),
            (device(json!({"name": "D"})), "spec.devices[0].name: Invalid value: \"D\": a lowercase RFC 1123 label"),
            (
                json!({"spec": {"sharedCounters": [set("s")]}}),
                "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed",
            ),
            (
                sets((0..9).map(|n| set(&format!("s{n}"))).collect()),
                "spec.sharedCounters: Too many: 9: must have at most 8 items",
            ),
            (sets(vec![set("s"), set("s")]), "spec.sharedCounters[1]: Duplicate value: \"s\""),
            (sets(vec![set("")]), "spec.sharedCounters[0].name: Required value"),
            (sets(vec![json!({"name": "s"})]), "spec.sharedCounters[0].counters: Required value"),
            (
                sets(vec![json!({"name": "s", "counters": {"C": {"value": "1"}}})]),
                "spec.sharedCounters[0].counters: Invalid value: \"C\": a lowercase RFC 1123 label",
            ),
            (
                sets(vec![json!({"name": "s", "counters": many})]),
                "spec.sharedCounters[0].counters: Too many: 33: must have at most 32 items",
            ),
            (taken(&["a", "b", "c"]), "spec.devices[0].consumesCounters: Too many: 3: must have at most 2 items"),
            (taken(&["a", "a"]), "spec.devices[0].consumesCounters[1]: Duplicate value: \"a\""),
            (taken(&[""]), "spec.devices[0].consumesCounters[0].counterSet: Required value"),
        ],
    );
}

#[test]
fn attributes_amounts_and_taints_of_devices_are_named_and_bounded() {
    let attribute = |name: &str, value: Value| device(json!({"attributes": {name: value}}));
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("a{n}"), json!({"int": n}))).collect();
    let taint = |taint: Value| device(json!({"taints": [taint]}));
    let long = "a".repeat(33);
    let taints: Vec<Value> = (0..17).map(|n| json!({"key": format!("k{n}"), "effect": "None"})).collect();
    breaks(
        "resourceslices",
        &[
            (
                device(json!({"attributes": many})),
                "spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32",
            ),
            (
                attribute(&long, json!({"int": 1})),
                "spec.devices[0].attributes: Too long: may not be more than 32 bytes",
            ),
            (
                attribute("a/b/c", json!({"int": 1})),
                "attributes: Invalid value: \"a/b/c\": must not contain more than one slash",
            ),
            (
                attribute("/c", json!({"int": 1})),
                "spec.devices[0].attributes: Invalid value: \"\": the domain must not be empty",
            ),
            (
                attribute("d/", json!({"int": 1})),
                "spec.devices[0].attributes: Invalid value: \"\": the name must not be empty",
            ),
            (
                attribute("a", json!({"string": "s".repeat(65)})),
                "spec.devices[0].attributes[a].string: Too long: may not be more than 64 bytes",
            ),
            (
                attribute("a", json!({"version": format!("1.2.3-{}", "a".repeat(60))})),
                "spec.devices[0].attributes[a].version: Too long: may not be more than 64 bytes",
            ),
            (attribute("a", json!({"int": 1, "bool": true})), "}: exactly one value must be specified"),
            (device(json!({"capacity": {"a-b": {"value": "1"}}})), "spec.devices[0].capacity: Invalid value: \"a-b\""),
            (taint(json!({"key": "a b", "effect": "None"})), "spec.devices[0].taints[0].key: Invalid value: \"a b\""),
            (
                taint(json!({"key": "k", "value": "b c", "effect": "None"})),
                "spec.devices[0].taints[0].value: Invalid value: \"b c\"",
            ),
            (taint(json!({"key": "k"})), "spec.devices[0].taints[0].effect: Required value"),
            (device(json!({"taints": taints})), "spec.devices[0].taints: Too many: 17: must have at most 16 items"),
        ],
    );
}

#[test]
fn what_may_be_asked_of_a_capacity_lies_within_it() {
    let policy = |policy: Value| {
        device(json!({"allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": policy}}}))
    };
    let range = |default: &str, range: Value| policy(json!({"default": default, "validRange": range}));
    let options = |default: &str, options: Value| policy(json!({"default": default, "validValues": options}));
    let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let at = "spec.devices[0].capacity[m].requestPolicy";
    for (change, want) in [
        (
            policy(json!({"default": "1", "validValues": ["1"], "validRange": {"min": "1"}})),
            ": Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        (policy(json!({"validValues": ["1"]})), ".default: Required value: required when validValues is defined"),
        (policy(json!({"validRange": {"min": "1"}})), ".default: Required value: required when validRange is defined"),
        (
            options("1", json!(["2", "1"])),
            ".validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
        ),
        (
            options("1", json!(["1", "11"])),
            ".validValues[1]: Invalid value: \"11\": option is larger than capacity value: 10",
        ),
        (options("1", json!(["1", "1"])), ".validValues[1]: Duplicate value: \"1\""),
        (options("1", json!(eleven)), ".validValues: Too many: 11: must have at most 10 items"),
        (range("1", json!({})), ".validRange.min: Required value: required when validRange is defined"),
        (
            range("11", json!({"min": "11"})),
            ".validRange.min: Invalid value: \"11\": min is larger than capacity value: 10",
        ),
        (range("1", json!({"min": "2"})), ".validRange.default: Invalid value: \"1\": default is less than min: 2"),
        (
            range("5", json!({"min": "5", "max": "3"})),
            ".validRange.max: Invalid value: \"5\": min is larger than max: 3",
        ),
        (
            range("1", json!({"min": "1", "max": "11"})),
            ".validRange.max: Invalid value: \"11\": max is larger than capacity value: 10",
        ),
        (
            range("3", json!({"min": "1", "max": "2"})),
            ".validRange.default: Invalid value: \"3\": default is more than max: 2",
        ),
        (
            range("1", json!({"min": "1", "step": "0"})),
            ".validRange.step: Invalid value: \"0\": must be greater than zero",
        ),
        (
            range("1", json!({"min": "1", "step": "10"})),
            ".validRange.step: Invalid value: \"10\": one step 11 is larger than capacity value: 10",
        ),
        (
            range("1", json!({"min": "1", "max": "4", "step": "2"})),
            ".validRange.step: Invalid value: \"4\": value is not a multiple of a given step (2) from (1)",
        ),
    ] {
        let want = format!("{at}{want}");
        breaks("resourceslices", &[(change, want.as_str())]);
    }
    lets_in("resourceslices", &range("3", json!({"min": "1", "max": "9", "step": "2"})));
    lets_in("resourceslices", &options("2", json!(["1", "2", "10"])));
}
