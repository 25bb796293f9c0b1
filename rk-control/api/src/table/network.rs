//! Services, endpoints, ingresses, network policies.

use std::collections::BTreeSet;

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
        ports => shortened(ports.iter().map(|port| match meta::at(port, &["port"]).as_i64() {
            Some(number) => number.to_string(),
            None => port.get("name").and_then(Value::as_str).unwrap_or("*").to_owned(),
        })),
    }),
    Column::new("Endpoints", "The addresses of the endpoints.", |c| {
        let endpoints = c.list(&["endpoints"]).iter();
        let addresses =
            endpoints.flat_map(|endpoint| meta::at(endpoint, &["addresses"]).as_array().into_iter().flatten());
        match shortened(addresses.filter_map(Value::as_str).map(str::to_owned)) {
            Value::String(text) if text == NONE => UNSET.into(),
            shown => shown,
        }
    }),
    AGE,
];

pub(super) const INGRESSES: &[Column] = &[
    NAME,
    Column::new("Class", "The class of the ingress.", |c| plain(c.at(&["spec", "ingressClassName"]), NONE)),
    Column::new("Hosts", "The hosts that it serves.", hosts),
    Column::new("Address", "Where it is reached.", |c| points(c).join(",").into()),
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
        if c.at(&["spec", "parentRef"]).is_null() {
            return NONE.into();
        }
        let [resource, group, namespace, name] = ["resource", "group", "namespace", "name"].map(parent);
        let (dot, slash) = (if group.is_empty() { "" } else { "." }, if namespace.is_empty() { "" } else { "/" });
        let resource = format!("{resource}{dot}{group}").to_lowercase();
        format!("{resource}/{namespace}{slash}{name}").into()
    }),
    AGE,
];

fn external(c: &Context<'_>) -> Value {
    let declared = || c.list(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).map(str::to_owned);
    match c.text(&["spec", "type"]) {
        "ExternalName" => or_none(c.text(&["spec", "externalName"])),
        "LoadBalancer" => {
            let all: Vec<String> = points(c).into_iter().chain(declared()).collect();
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

/// The addresses of Endpoints with each of their ports; nothing where all of them are unready.
fn endpoints(c: &Context<'_>) -> Value {
    if c.list(&["subsets"]).is_empty() {
        return NONE.into();
    }
    let all = c.list(&["subsets"]).iter().flat_map(|subset| {
        let of = |key: &str| meta::list(subset, &[key]);
        let (addresses, ports) = (of("addresses"), of("ports"));
        let bare: &[Value] = if ports.is_empty() { addresses } else { &[] };
        let with_ports = ports.iter().flat_map(move |port| {
            addresses.iter().map(move |address| host_port(meta::text(address, &["ip"]), meta::at(port, &["port"])))
        });
        with_ports.chain(bare.iter().map(|address| meta::text(address, &["ip"]).to_owned()))
    });
    match shortened(all) {
        Value::String(text) if text == NONE => "".into(),
        shown => shown,
    }
}

fn host_port(ip: &str, port: &Value) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The first few hosts; how many more is told of all rules, with a host or without.
fn hosts(c: &Context<'_>) -> Value {
    let rules = c.list(&["spec", "rules"]);
    let shown: Vec<(usize, &str)> = rules
        .iter()
        .map(|rule| meta::text(rule, &["host"]))
        .enumerate()
        .filter(|(_, host)| !host.is_empty())
        .take(SHOWN)
        .collect();
    let text = shown.iter().map(|(_, host)| *host).collect::<Vec<_>>().join(",");
    match shown.last() {
        None => "*".into(),
        Some((last, _)) if shown.len() == SHOWN && last + 1 < rules.len() => {
            format!("{text} + {} more...", rules.len() - SHOWN).into()
        }
        Some(_) => text.into(),
    }
}

/// Where a load balancer is entered, in order and each once.
fn points(c: &Context<'_>) -> Vec<String> {
    let all = c.list(&["status", "loadBalancer", "ingress"]).iter().map(point).filter(|point| !point.is_empty());
    all.collect::<BTreeSet<_>>().into_iter().collect()
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

/// The address or name of a load balancer's point of entry.
fn point(ingress: &Value) -> String {
    match meta::text(ingress, &["ip"]) {
        "" => meta::text(ingress, &["hostname"]).to_owned(),
        ip => ip.to_owned(),
    }
}
