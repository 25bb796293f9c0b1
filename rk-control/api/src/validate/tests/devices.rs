//! Rules of claims, classes and slices of devices, one broken at a time.

use serde_json::{Value, json};

use super::extensions::merged;
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
