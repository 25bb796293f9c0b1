//! Allocation as tables: what drivers publish, what claims ask for, and what comes of it.

mod extended;
mod pools;
mod requests;
mod sharing;
mod written;

use std::cell::Cell;
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};

use super::{Allocation, Devices, Plan, Refusal};
use crate::model::NodeInfo;

/// The driver of all devices here.
const DRIVER: &str = "d.example.com";

/// A slice of one pool with the same name, for node `node`.
fn slice(name: &str, node: &str, devices: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": node, "devices": devices,
        "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}})
}

/// A slice with other fields of its spec.
fn slice_with(name: &str, more: &Value) -> Value {
    let mut slice = slice(name, "a", json!([]));
    slice["spec"]["nodeName"].take();
    for (key, value) in more.as_object().expect("fields") {
        slice["spec"][key] = value.clone();
    }
    slice
}

/// Devices of these names.
fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

/// Devices that have a number each.
fn numbered(all: &[(&str, i64)]) -> Value {
    all.iter().map(|(name, number)| json!({"name": name, "attributes": {"numa": {"int": number}}})).collect()
}

/// What there is: these slices, class `any` of all devices, and class `big` of those with number 1.
fn world(slices: &[Value]) -> Devices {
    let mut devices = Devices::default();
    for slice in slices {
        devices.set_slice(&Arc::new(serde_json::from_value(slice.clone()).expect("a slice")));
    }
    let big = format!("device.attributes['{DRIVER}'].numa == 1");
    for class in [
        json!({"metadata": {"name": "any"}, "spec": {}}),
        json!({"metadata": {"name": "big"}, "spec": {"selectors": [{"cel": {"expression": big}}]}}),
    ] {
        devices.set_class(&Arc::new(serde_json::from_value(class).expect("a class")));
    }
    devices
}

fn node(name: &str) -> NodeInfo {
    let mut node = NodeInfo::unknown(name);
    let own = json!({"metadata": {"name": name, "labels": {"zone": format!("z-{name}")}}});
    node.update(&serde_json::from_value(own).expect("a node"));
    node
}

/// A request for devices of class `any`, with more fields.
fn exactly(name: &str, more: Value) -> Value {
    let mut own = json!({"deviceClassName": "any"});
    for (key, value) in more.as_object().expect("fields") {
        own[key] = value.clone();
    }
    json!({"name": name, "exactly": own})
}

fn claim(name: &str, devices: &Value) -> ResourceClaim {
    let meta = json!({"namespace": "n", "name": name, "uid": name});
    serde_json::from_value(json!({"metadata": meta, "spec": {"devices": devices}})).expect("a claim")
}

/// What claims get on a node with a budget of steps.
fn search(
    devices: &Devices,
    node: &NodeInfo,
    claims: &[ResourceClaim],
    steps: u64,
) -> Result<Option<Vec<Arc<Allocation>>>, Refusal> {
    let claims: Vec<&ResourceClaim> = claims.iter().collect();
    let plan = Plan::new(devices, &claims).map_err(Refusal::Everywhere)?;
    let found = plan.search(node, &Cell::new(steps))?;
    Ok(found.map(|found| plan.allocations(&found, &node.name)))
}

/// `request=device` of all results, claim by claim; else why there are none.
fn told(devices: &Devices, node: &NodeInfo, claims: &[ResourceClaim]) -> String {
    match search(devices, node, claims, 100_000) {
        Ok(Some(found)) => {
            let of = |own: &Arc<Allocation>| {
                let devices = own.result.devices.clone().unwrap_or_default();
                let results = devices.results.unwrap_or_default();
                results.iter().map(|own| format!("{}={}", own.request, own.device)).collect::<Vec<_>>().join(" ")
            };
            found.iter().map(of).collect::<Vec<_>>().join("; ")
        }
        Ok(None) => "nothing".to_owned(),
        Err(Refusal::Here(why)) => format!("here: {why}"),
        Err(Refusal::Everywhere(why)) => format!("everywhere: {why}"),
    }
}

/// The same of one claim with these requests and constraints, on node `a`.
fn got(devices: &Devices, requests: Value, constraints: Value) -> String {
    told(devices, &node("a"), &[claim("c", &json!({"requests": requests, "constraints": constraints}))])
}
