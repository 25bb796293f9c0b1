//! Pods.

use serde_json::{Value, json};

use super::column::{AGE, Column, Context, NAME};
use super::pod_status::Summary;
use super::text::{NONE, or_none};
use crate::meta;
use crate::resources::Resource;

pub(super) const PODS: &[Column] = &[
    NAME,
    Column::new("Ready", "How many of the pod's containers are ready.", |c| {
        let summary = Summary::of(c);
        format!("{}/{}", summary.ready, summary.total).into()
    }),
    Column::new("Status", "The pod's state in one word.", |c| Summary::of(c).reason.into()),
    Column::new("Restarts", "How often containers were restarted, and when last.", |c| {
        Summary::of(c).restarts(c.now).into()
    }),
    AGE,
    Column::wide("IP", "The pod's address.", ip),
    Column::wide("Node", "The node that the pod is bound to.", |c| or_none(c.text(&["spec", "nodeName"]))),
    Column::wide("Nominated Node", "The node on which room is being made for the pod.", |c| {
        or_none(c.text(&["status", "nominatedNodeName"]))
    }),
    Column::wide("Readiness Gates", "How many of the pod's readiness gates are met.", gates),
];

/// What a row says of a pod that has come to its end.
pub(super) fn completed(resource: &Resource, object: &Value) -> Option<Value> {
    if !resource.gvk.group.is_empty() || resource.gvk.kind != "Pod" {
        return None;
    }
    let reason = meta::text(object, &["status", "phase"]);
    let message = match reason {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn ip(c: &Context<'_>) -> Value {
    let first = c.list(&["status", "podIPs"]).first().map(|ip| meta::text(ip, &["ip"]));
    or_none(first.unwrap_or_else(|| c.text(&["status", "podIP"])))
}

fn gates(c: &Context<'_>) -> Value {
    let gates = c.list(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.into();
    }
    let conditions = c.list(&["status", "conditions"]);
    let met = |gate: &&Value| {
        let kind = meta::text(gate, &["conditionType"]);
        conditions.iter().any(|c| meta::text(c, &["type"]) == kind && meta::text(c, &["status"]) == "True")
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len()).into()
}
