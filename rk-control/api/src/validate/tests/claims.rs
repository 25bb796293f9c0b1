//! Rules of claims of devices and of what became of them, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::extensions::merged;
use super::others::lets_in;
use super::{breaks, merge};

const CHOICE: &str = "exactly one of `exactly` or `firstAvailable` is required";
const KNOWN: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

fn devices(devices: Value) -> Value {
    json!({"spec": {"devices": devices}})
}

/// A claim whose one request asks for this besides.
fn exactly(more: Value) -> Value {
    let exact = merged(&json!({"deviceClassName": "c"}), &more);
    devices(json!({"requests": [{"name": "r", "exactly": exact}]}))
}

/// A claim whose one request has these alternatives.
fn first_of(alternatives: Vec<Value>) -> Value {
    devices(json!({"requests": [{"name": "r", "exactly": null, "firstAvailable": alternatives}]}))
}

fn many(count: usize, one: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..count).map(one).collect()
}

#[test]
fn requests_for_devices_are_whole() {
    let request = |request: Value| devices(json!({"requests": [request]}));
    let selector = json!({"cel": {"expression": "true"}});
    let one = |name: &str| json!({"name": name, "deviceClassName": "c"});
    let borne = |toleration: Value| exactly(json!({"tolerations": [toleration]}));
    for (change, want) in [
        (
            devices(
                json!({"requests": many(33, |n| json!({"name": format!("r{n}"), "exactly": {"deviceClassName": "c"}}))}),
            ),
            "spec.devices.requests: Too many: 33: must have at most 32 items".to_owned(),
        ),
        (
            request(json!({"name": "R", "exactly": {"deviceClassName": "c"}})),
            "spec.devices.requests[0].name: Invalid value: \"R\": a lowercase RFC 1123 label".to_owned(),
        ),
        (
            request(json!({"name": "r", "exactly": {"deviceClassName": "c"}, "firstAvailable": [one("a")]})),
            format!("spec.devices.requests[0]: Invalid value: null: {CHOICE}, but multiple fields are set"),
        ),
        (request(json!({"name": "r"})), format!("spec.devices.requests[0]: Required value: {CHOICE}")),
        (
            exactly(json!({"deviceClassName": ""})),
            "spec.devices.requests[0].exactly.deviceClassName: Required value".to_owned(),
        ),
        (
            exactly(json!({"deviceClassName": "C"})),
            "exactly.deviceClassName: Invalid value: \"C\": a lowercase RFC 1123 subdomain".to_owned(),
        ),
        (
            exactly(json!({"allocationMode": "All", "count": 2})),
            "exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'".to_owned(),
        ),
        (exactly(json!({"count": -1})), "exactly.count: Invalid value: -1: must be greater than zero".to_owned()),
        (
            exactly(json!({"selectors": many(33, |_| selector.clone())})),
            "exactly.selectors: Too many: 33: must have at most 32 items".to_owned(),
        ),
        (
            first_of(many(9, |n| one(&format!("a{n}")))),
            "spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items".to_owned(),
        ),
        (first_of(vec![one("a"), one("a")]), "firstAvailable[1]: Duplicate value: \"a\"".to_owned()),
        (first_of(vec![one("A")]), "firstAvailable[0].name: Invalid value: \"A\"".to_owned()),
        (first_of(vec![json!({"name": "a"})]), "firstAvailable[0].deviceClassName: Required value".to_owned()),
        (
            exactly(json!({"tolerations": many(17, |_| json!({"operator": "Exists"}))})),
            "exactly.tolerations: Too many: 17: must have at most 16 items".to_owned(),
        ),
        (
            borne(json!({"key": "a/b/c", "operator": "Exists"})),
            "tolerations[0].key: Invalid value: \"a/b/c\"".to_owned(),
        ),
        (borne(json!({"key": "k", "value": "b c"})), "tolerations[0].value: Invalid value: \"b c\"".to_owned()),
        (
            borne(json!({"key": "k", "operator": "Near"})),
            "tolerations[0].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\"".to_owned(),
        ),
        (
            borne(json!({"operator": "Exists", "effect": "Go"})),
            "tolerations[0].effect: Unsupported value: \"Go\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""
                .to_owned(),
        ),
    ] {
        breaks("resourceclaims", &[(change.clone(), want.as_str())]);
        // A template holds the same, one level deeper.
        let deeper = want.replace("spec.devices", "spec.spec.devices");
        breaks("resourceclaimtemplates", &[(json!({"spec": change}), deeper.as_str())]);
    }
    lets_in("resourceclaims", &first_of(vec![one("a"), one("b")]));
    lets_in("resourceclaims", &exactly(json!({"allocationMode": "All"})));
}

#[test]
fn constraints_and_parameters_are_about_requests_that_are_there() {
    let constraint = |more: Value| {
        let constraint = merged(&json!({"matchAttribute": "d/a"}), &more);
        devices(json!({"constraints": [constraint]}))
    };
    let opaque = |opaque: Value| devices(json!({"config": [{"opaque": opaque}]}));
    let long = json!({"s": "x".repeat(10 * 1024)});
    let unknown = format!("spec.devices.constraints[0].requests[0]: Invalid value: \"r/x\": {KNOWN}");
    let deep = format!("spec.devices.constraints[0].requests[0]: Invalid value: \"r/x/y\": {KNOWN}");
    breaks(
        "resourceclaims",
        &[
            (constraint(json!({"requests": ["r/x"]})), unknown.as_str()),
            (constraint(json!({"requests": ["r/x/y"]})), deep.as_str()),
            (
                constraint(json!({"requests": ["r", "r"]})),
                "spec.devices.constraints[0].requests[1]: Duplicate value: \"r\"",
            ),
            (
                constraint(json!({"matchAttribute": null})),
                "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required",
            ),
            (
                constraint(json!({"matchAttribute": null, "distinctAttribute": "a"})),
                "spec.devices.constraints[0].distinctAttribute: Invalid value: \"a\": a fully qualified name must be a domain and",
            ),
            (constraint(json!({"matchAttribute": "/a"})), "Invalid value: \"\": the domain must not be empty"),
            (constraint(json!({"matchAttribute": "d/"})), "Invalid value: \"\": the name must not be empty"),
            (
                constraint(json!({"matchAttribute": "d/a/b"})),
                "matchAttribute: Invalid value: \"d/a/b\": must not contain more than one slash",
            ),
            (
                devices(json!({"constraints": many(33, |_| json!({"matchAttribute": "d/a"}))})),
                "spec.devices.constraints: Too many: 33: must have at most 32 items",
            ),
            (devices(json!({"config": [{}]})), "spec.devices.config[0].opaque: Required value"),
            (opaque(json!({"driver": "", "parameters": {}})), "spec.devices.config[0].opaque.driver: Required value"),
            (opaque(json!({"driver": "d"})), "spec.devices.config[0].opaque.parameters: Required value"),
            (
                opaque(json!({"driver": "d", "parameters": long})),
                "spec.devices.config[0].opaque.parameters: Too long: may not be more than 10240 bytes",
            ),
        ],
    );
    breaks(
        "deviceclasses",
        &[
            (
                json!({"spec": {"selectors": many(33, |_| json!({"cel": {"expression": "true"}}))}}),
                "spec.selectors: Too many: 33: must have at most 32 items",
            ),
            (json!({"spec": {"selectors": [{}]}}), "spec.selectors[0].cel: Required value"),
            (
                json!({"spec": {"config": many(33, |_| json!({"opaque": {"driver": "d", "parameters": {}}}))}}),
                "spec.config: Too many: 33: must have at most 32 items",
            ),
        ],
    );
    for (plural, change) in [
        ("resourceclaims", exactly(json!({"count": 2}))),
        ("resourceclaimtemplates", json!({"spec": exactly(json!({"count": 2}))})),
    ] {
        refuses(plural, None, &[(json!({}), change.clone(), "spec: Invalid value: {")]);
        refuses(plural, None, &[(json!({}), change, ": field is immutable")]);
    }
}

/// The allocation of device `x`, of which this is said besides.
fn allocated(more: Value) -> Value {
    let result = merged(&json!({"request": "r", "driver": "d", "pool": "p", "device": "x"}), &more);
    json!({"status": {"allocation": {"devices": {"results": [result]}}}})
}

#[test]
fn what_is_allocated_is_told_whole() {
    let at = "status.allocation.devices.results[0]";
    let unknown = format!("request: Invalid value: \"x\": {KNOWN}");
    for (more, want) in [
        (json!({"request": "x"}), unknown.as_str()),
        (json!({"driver": ""}), "driver: Required value"),
        (json!({"pool": ""}), "pool: Required value"),
        (json!({"pool": "p//q"}), "pool: Invalid value: \"\": a lowercase RFC 1123 subdomain"),
        (json!({"pool": "p".repeat(254)}), "pool: Too long: may not be more than 253 bytes"),
        (json!({"device": "X"}), "device: Invalid value: \"X\": a lowercase RFC 1123 label"),
        (json!({"shareID": "x"}), "shareID: Invalid value: \"x\": error validating uid: invalid UUID length: 1"),
        (json!({"tolerations": [{"operator": "Exists", "value": "v"}]}), "tolerations[0].value: Invalid value: \"v\""),
        (
            json!({"bindingConditions": ["a", "b", "c", "d", "e"]}),
            "bindingConditions: Too many: 5: must have at most 4",
        ),
        (json!({"bindingConditions": ["a b"]}), "bindingConditions[0]: Invalid value: \"a b\""),
        (
            json!({"bindingConditions": ["a", "a"], "bindingFailureConditions": ["b"]}),
            "bindingConditions[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"bindingConditions": ["a"], "bindingFailureConditions": ["a"]}),
            "bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions",
        ),
        (
            json!({"bindingFailureConditions": ["a"]}),
            "bindingConditions: Invalid value: []: bindingConditions are required to use bindingFailureConditions",
        ),
    ] {
        let want = format!("{at}.{want}");
        refuses("resourceclaims", Some("status"), &[(json!({}), allocated(more), want.as_str())]);
    }
    let configured = |config: Value| {
        let mut change = allocated(json!({}));
        merge(&mut change, &json!({"status": {"allocation": {"devices": {"config": [config]}}}}));
        change
    };
    let opaque = json!({"driver": "d", "parameters": {}});
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
    let results = many(33, |_| result.clone());
    for (change, want) in [
        (
            json!({"status": {"allocation": {"devices": {"results": results}}}}),
            "status.allocation.devices.results: Too many: 33: must have at most 32 items",
        ),
        (configured(json!({"opaque": opaque})), "status.allocation.devices.config[0].source: Required value"),
        (
            configured(json!({"source": "No", "opaque": opaque})),
            "config[0].source: Unsupported value: \"No\": supported values: \"FromClaim\", \"FromClass\"",
        ),
        (configured(json!({"source": "FromClaim"})), "status.allocation.devices.config[0].opaque: Required value"),
        (
            json!({"status": {"allocation": {"nodeSelector": {"nodeSelectorTerms": []}}}}),
            "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
    ] {
        refuses("resourceclaims", Some("status"), &[(json!({}), change, want)]);
    }
}

#[test]
fn users_of_a_claim_are_told_apart() {
    let reserved = |users: Vec<Value>| json!({"status": {"reservedFor": users}});
    let user = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
    let gone = merged(&allocated(json!({})), &json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}}));
    let late = "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
    let mut cases = vec![
        (
            allocated(json!({})),
            reserved(many(257, |n| user(&n.to_string()))),
            "status.reservedFor: Too many: 257: must have at most 256 items",
        ),
        (allocated(json!({})), reserved(vec![user("u"), user("u")]), "status.reservedFor[1]: Duplicate value: \"u\""),
        (gone, reserved(vec![user("u")]), late),
    ];
    for (key, want) in [
        ("resource", "status.reservedFor[0].resource: Required value"),
        ("name", "status.reservedFor[0].name: Required value"),
        ("uid", "status.reservedFor[0].uid: Required value"),
    ] {
        cases.push((allocated(json!({})), reserved(vec![merged(&user("u"), &json!({key: ""}))]), want));
    }
    refuses("resourceclaims", Some("status"), &cases);
}

#[test]
fn what_drivers_tell_of_devices_is_bounded_and_in_one_form() {
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let condition = |n: usize| {
        let since = "2024-01-01T00:00:00Z";
        json!({"type": format!("t{n}"), "status": "True", "reason": "R", "message": "", "lastTransitionTime": since})
    };
    let addresses = |addresses: Value| json!({"networkData": {"ips": addresses}});
    let form = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
    let upper = format!("shareID: Invalid value: {:?}: {form}", id.to_uppercase());
    let bare = format!("shareID: Invalid value: {:?}: {form}", id.replace('-', ""));
    for (more, want) in [
        (json!({"shareID": ""}), "shareID: Invalid value: \"\": error validating uid: invalid UUID length: 0"),
        (json!({"shareID": id.replace('e', "x")}), "446655440000\": error validating uid: invalid UUID format"),
        (
            json!({"shareID": id.replace('-', "").replace('e', "x")}),
            "446655440000\": error validating uid: invalid UUID format",
        ),
        (json!({"shareID": id.to_uppercase()}), upper.as_str()),
        (json!({"shareID": id.replace('-', "")}), bare.as_str()),
        (json!({"conditions": many(9, condition)}), "conditions: Too many: 9: must have at most 8 items"),
        (json!({"data": {"s": "x".repeat(10 * 1024)}}), "data: Too long: may not be more than 10240 bytes"),
        (json!({"data": "s"}), "data: Invalid value: \"<value omitted>\": must be a valid JSON object"),
        (
            json!({"networkData": {"interfaceName": "x".repeat(257)}}),
            "networkData.interfaceName: Too long: may not be more than 256 bytes",
        ),
        (
            json!({"networkData": {"hardwareAddress": "x".repeat(129)}}),
            "networkData.hardwareAddress: Too long: may not be more than 128 bytes",
        ),
        (
            addresses(json!(many(17, |n| json!(format!("10.0.0.{n}/24"))))),
            "networkData.ips: Too many: 17: must have at most 16 items",
        ),
        (addresses(json!(["10.0.0.1/24", "10.0.0.1/24"])), "networkData.ips[1]: Duplicate value: \"10.0.0.1/24\""),
        (
            addresses(json!(["300.9.8.0/24"])),
            "networkData.ips[0]: Invalid value: \"300.9.8.0/24\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        ),
        (addresses(json!(["10.9.8.7"])), "networkData.ips[0]: Invalid value: \"10.9.8.7\": must be a valid address in"),
        (
            addresses(json!(["010.009.008.000/24"])),
            "\"010.009.008.000/24\": must be in canonical form (\"10.9.8.0/24\")",
        ),
        (addresses(json!(["2001:0db8::1/64"])), "\"2001:0db8::1/64\": must be in canonical form (\"2001:db8::1/64\")"),
        (addresses(json!(["::ffff:10.0.0.1/120"])), "must be in canonical form (\"10.0.0.1/24\")"),
    ] {
        let device = merged(&json!({"driver": "d", "pool": "p", "device": "x"}), &more);
        let change = json!({"status": {"devices": [device]}});
        refuses("resourceclaims", Some("status"), &[(allocated(json!({})), change, want)]);
    }
    let twice = json!({"status": {"devices": [
        {"driver": "d", "pool": "p", "device": "x"}, {"driver": "d", "pool": "p", "device": "x"},
    ]}});
    let want = "status.devices[1]: Duplicate value";
    refuses("resourceclaims", Some("status"), &[(allocated(json!({})), twice, want)]);
}
