//! Services, endpoints, ingresses, network policies.

use serde_json::Value;

use super::column::{AGE, Column, Context, NAME};
use super::text::{NONE, UNSET, joined, labels, or_none, plain, selector};
use crate::meta;

/// How many entries of a long list are shown.
const SHOWN: usize = 3;

pub(super) const SERVICES: &[Column] = &[
    NAME,
    Column::new("Type", "How the service is reached.", |c| c.text(&["spec", "type"]).into()),
    Column::new("Cluster-IP", "The service's address inside the cluster.", |c| {
        let first = c.list(&["spec", "clusterIPs"]).first().and_then(Value::as_str);
        or_none(first.unwrap_or_else(|| c.text(&["spec", "clusterIP"])))
    }),
    Column::new("External-IP", "The service's addresses outside the cluster.", external),
    Column::new("Port(s)", "The service's ports.", ports),
    AGE,
    Column::wide("Selector", "Which pods serve.", |c| labels(c.at(&["spec", "selector"]))),
];

pub(super) const ENDPOINTS: &[Column] =
    &[NAME, Column::new("Endpoints", "Where the service is served.", endpoints), AGE];

pub(super) const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    Column::new("AddressType", "The family of the addresses.", |c| c.text(&["addressType"]).into()),
    Column::new("Ports", "The ports of the endpoints.", |c| match c.list(&["ports"]) {
        [] => UNSET.into(),
        ports => shortened(ports.iter().map(|port| plain_text(meta::at(port, &["port"])))),
    }),
    Column::new("Endpoints", "The addresses of the endpoints.", |c| {
        let endpoints = c.list(&["endpoints"]).iter();
        let addresses =
            endpoints.flat_map(|endpoint| meta::at(endpoint, &["addresses"]).as_array().into_iter().flatten());
        match shortened(addresses.map(plain_text)) {
            Value::String(text) if text == NONE => UNSET.into(),
            shown => shown,
        }
    }),
    AGE,
];

pub(super) const INGRESSES: &[Column] = &[
    NAME,
    Column::new("Class", "The class of the ingress.", |c| plain(c.at(&["spec", "ingressClassName"]), NONE)),
    Column::new("Hosts", "The hosts that it serves.", |c| {
        let hosts = c.list(&["spec", "rules"]).iter().map(|rule| meta::text(rule, &["host"]).to_owned());
        match shortened(hosts.filter(|host| !host.is_empty())) {
            Value::String(text) if text == NONE => "*".into(),
            shown => shown,
        }
    }),
    Column::new("Address", "Where it is reached.", |c| {
        let points = c.list(&["status", "loadBalancer", "ingress"]).iter().map(point);
        points.collect::<Vec<_>>().join(",").into()
    }),
    Column::new("Ports", "The ports that it serves.", |c| {
        if c.list(&["spec", "tls"]).is_empty() { "80".into() } else { "80, 443".into() }
    }),
    AGE,
];

pub(super) const INGRESS_CLASSES: &[Column] = &[
    NAME,
    Column::new("Controller", "Who serves ingresses of the class.", |c| c.text(&["spec", "controller"]).into()),
    Column::new("Parameters", "Where the class is configured.", |c| {
        let parameters = c.at(&["spec", "parameters"]);
        if parameters.is_null() {
            return NONE.into();
        }
        let group = meta::text(parameters, &["apiGroup"]);
        let dot = if group.is_empty() { "" } else { "." };
        format!("{}{dot}{group}/{}", meta::text(parameters, &["kind"]), meta::text(parameters, &["name"])).into()
    }),
    AGE,
];

pub(super) const NETWORK_POLICIES: &[Column] = &[
    NAME,
    Column::new("Pod-Selector", "Which pods it applies to.", |c| selector(c.at(&["spec", "podSelector"]))),
    AGE,
];

pub(super) const SERVICE_CIDRS: &[Column] = &[
    NAME,
    Column::new("CIDRs", "The address ranges.", |c| {
        joined(c.list(&["spec", "cidrs"]).iter().filter_map(Value::as_str))
    }),
    AGE,
];

pub(super) const IP_ADDRESSES: &[Column] = &[
    NAME,
    Column::new("ParentRef", "What uses the address.", |c| {
        let parent = |field| c.text(&["spec", "parentRef", field]);
        let parts = [parent("resource"), parent("group"), parent("namespace"), parent("name")];
        let [resource, group, namespace, name] = parts;
        let dot = if group.is_empty() { "" } else { "." };
        format!("{resource}{dot}{group}/{namespace}/{name}").into()
    }),
    AGE,
];

fn external(c: &Context<'_>) -> Value {
    let declared = || c.list(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).map(str::to_owned);
    match c.text(&["spec", "type"]) {
        "ExternalName" => or_none(c.text(&["spec", "externalName"])),
        "LoadBalancer" => {
            let given =
                c.list(&["status", "loadBalancer", "ingress"]).iter().map(point).filter(|point| !point.is_empty());
            let all: Vec<String> = given.chain(declared()).collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        _ => joined(declared()),
    }
}

fn ports(c: &Context<'_>) -> Value {
    joined(c.list(&["spec", "ports"]).iter().map(|port| {
        let number = meta::at(port, &["port"]);
        let protocol = meta::text(port, &["protocol"]);
        match meta::at(port, &["nodePort"]).as_i64() {
            Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    }))
}

fn endpoints(c: &Context<'_>) -> Value {
    let all = c.list(&["subsets"]).iter().flat_map(|subset| {
        let addresses = meta::at(subset, &["addresses"]).as_array().into_iter().flatten();
        let ports = meta::at(subset, &["ports"]).as_array().map_or(&[][..], Vec::as_slice);
        addresses.flat_map(move |address| {
            let ip = meta::text(address, &["ip"]);
            let numbered = ports.iter().map(move |port| format!("{ip}:{}", meta::at(port, &["port"])));
            let bare = ports.is_empty().then(|| ip.to_owned());
            numbered.chain(bare)
        })
    });
    shortened(all)
}

/// The first few, and how many more there are.
fn shortened(texts: impl Iterator<Item = String>) -> Value {
    let all: Vec<String> = texts.collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.get(..all.len().min(SHOWN)).unwrap_or_default().join(",");
    match more {
        0 => or_none(&shown),
        more => format!("{shown} + {more} more...").into(),
    }
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The address or name of a load balancer's point of entry.
fn point(ingress: &Value) -> String {
    match meta::text(ingress, &["ip"]) {
        "" => meta::text(ingress, &["hostname"]).to_owned(),
        ip => ip.to_owned(),
    }
}
