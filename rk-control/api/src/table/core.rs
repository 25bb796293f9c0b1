//! Nodes, namespaces, events, component statuses.

use std::collections::BTreeSet;

use serde_json::Value;

use super::age::since;
use super::column::{AGE, Column, Context, NAME};
use super::text::{joined, or_none};
use crate::meta;

pub(super) const NODES: &[Column] = &[
    NAME,
    Column::new("Status", "Whether the node is ready and takes pods.", node_status),
    Column::new("Roles", "The node's roles.", roles),
    AGE,
    Column::new("Version", "The kubelet's version.", |c| c.text(&["status", "nodeInfo", "kubeletVersion"]).into()),
    Column::wide("Internal-IP", "The node's address inside the cluster.", |c| address(c, "InternalIP")),
    Column::wide("External-IP", "The node's address outside the cluster.", |c| address(c, "ExternalIP")),
    Column::wide("OS-Image", "The node's operating system.", |c| known(c, "osImage")),
    Column::wide("Kernel-Version", "The node's kernel.", |c| known(c, "kernelVersion")),
    Column::wide("Container-Runtime", "The node's container runtime.", |c| known(c, "containerRuntimeVersion")),
];

pub(super) const NAMESPACES: &[Column] =
    &[NAME, Column::new("Status", "The namespace's phase.", |c| c.text(&["status", "phase"]).into()), AGE];

pub(super) const COMPONENT_STATUSES: &[Column] = &[
    NAME,
    Column::new("Status", "Whether the component is healthy.", |c| match component(c, "status") {
        "True" => "Healthy".into(),
        "False" => "Unhealthy".into(),
        _ => "Unknown".into(),
    }),
    Column::new("Message", "What the component says.", |c| component(c, "message").into()),
    Column::new("Error", "What is wrong with the component.", |c| component(c, "error").into()),
];

pub(super) const EVENTS: &[Column] = &[
    Column::new("Last Seen", "How long ago the event happened last.", |c| since(last_seen(c), c.now).into()),
    Column::new("Type", "Normal or Warning.", |c| c.text(&["type"]).into()),
    Column::new("Reason", "Why the event happened.", |c| c.text(&["reason"]).into()),
    Column::new("Object", "What the event is about.", object),
    Column::wide("Subobject", "The part of the object that the event is about.", |c| regarding(c, "fieldPath").into()),
    Column::wide("Source", "Who saw the event.", source),
    Column::new("Message", "What happened.", |c| first(c, "message", "note").trim().into()),
    Column::wide("First Seen", "How long ago the event happened first.", first_seen),
    Column::wide("Count", "How often the event happened.", count),
    Column::wide("Name", "The name of the event object.", |c| c.text(&["metadata", "name"]).into()).naming(),
];

fn node_status(c: &Context<'_>) -> Value {
    let ready = c.list(&["status", "conditions"]).iter().find(|condition| meta::text(condition, &["type"]) == "Ready");
    let word = match ready.map(|condition| meta::text(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if c.at(&["spec", "unschedulable"]) == true { format!("{word},SchedulingDisabled").into() } else { word.into() }
}

fn roles(c: &Context<'_>) -> Value {
    let labels = c.at(&["metadata", "labels"]).as_object().into_iter().flatten();
    let roles = labels.filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    });
    joined(roles.filter(|role| !role.is_empty()).collect::<BTreeSet<_>>())
}

fn address(c: &Context<'_>, kind: &str) -> Value {
    let found = c.list(&["status", "addresses"]).iter().find(|address| meta::text(address, &["type"]) == kind);
    or_none(found.map_or("", |address| meta::text(address, &["address"])))
}

fn known(c: &Context<'_>, field: &str) -> Value {
    match c.text(&["status", "nodeInfo", field]) {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

fn component<'a>(c: &Context<'a>, field: &str) -> &'a str {
    let healthy = c.list(&["conditions"]).iter().find(|condition| meta::text(condition, &["type"]) == "Healthy");
    healthy.map_or("", |condition| meta::text(condition, &[field]))
}

/// A field under its name in core events, or in `events.k8s.io`.
fn first<'a>(c: &Context<'a>, core: &str, events: &str) -> &'a str {
    match c.text(&[core]) {
        "" => c.text(&[events]),
        text => text,
    }
}

fn regarding<'a>(c: &Context<'a>, field: &str) -> &'a str {
    match c.text(&["involvedObject", field]) {
        "" => c.text(&["regarding", field]),
        text => text,
    }
}

fn object(c: &Context<'_>) -> Value {
    let (kind, name) = (regarding(c, "kind").to_lowercase(), regarding(c, "name"));
    if name.is_empty() { kind.into() } else { format!("{kind}/{name}").into() }
}

fn source(c: &Context<'_>) -> Value {
    let legacy = |field| match c.text(&["source", field]) {
        "" => c.text(&["deprecatedSource", field]),
        text => text,
    };
    let component = if legacy("component").is_empty() {
        first(c, "reportingComponent", "reportingController")
    } else {
        legacy("component")
    };
    let host = if legacy("host").is_empty() { c.text(&["reportingInstance"]) } else { legacy("host") };
    if host.is_empty() { component.into() } else { format!("{component}, {host}").into() }
}

/// The newest of an event's times.
fn last_seen<'a>(c: &Context<'a>) -> &'a str {
    let paths: [&[&str]; 6] = [
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["deprecatedLastTimestamp"],
        &["firstTimestamp"],
        &["deprecatedFirstTimestamp"],
        &["eventTime"],
    ];
    paths.iter().map(|path| c.text(path)).find(|time| !time.is_empty()).unwrap_or_default()
}

fn first_seen(c: &Context<'_>) -> Value {
    let legacy = first(c, "firstTimestamp", "deprecatedFirstTimestamp");
    let time = if legacy.is_empty() { c.text(&["eventTime"]) } else { legacy };
    since(time, c.now).into()
}

fn count(c: &Context<'_>) -> Value {
    let counts = [c.number(&["series", "count"]), c.number(&["count"]), c.number(&["deprecatedCount"])];
    counts.into_iter().find(|count| *count > 0).unwrap_or(1).into()
}
