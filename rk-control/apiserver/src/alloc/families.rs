//! IP families of a Service (KEP-563).

use std::net::IpAddr;

use ipnet::IpNet;
use rk_api::meta;
use rk_api::status::{FieldErrors, Path};
use rk_api::validate::cluster_addresses;
use serde_json::{Value, json};

/// `IPv4` or `IPv6`.
pub(super) fn of_range(range: &IpNet) -> &'static str {
    match range {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

fn of_address(address: &str) -> Option<&'static str> {
    match address.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

const SINGLE: &str = "SingleStack";
const REQUIRED: &str = "RequireDualStack";

/// Decides `ipFamilyPolicy` and `ipFamilies` of a Service that has addresses, from what was asked for, what it had and the families of the
/// `cluster`, of which the first is the primary one. Returns the families.
///
/// # Errors
/// What contradicts itself, the Service before or the cluster, by field.
pub(super) fn decide(service: &mut Value, old: Option<&Value>, cluster: &[&str]) -> Result<Vec<String>, FieldErrors> {
    let headless = meta::text(service, &["spec", "clusterIP"]) == "None";
    let selects = meta::at(service, &["spec", "selector"]).as_object().is_some_and(|selector| !selector.is_empty());
    let unbound = headless && !selects;
    let policy = policy(service, old, unbound);
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    let mut errors = FieldErrors::new();
    cluster_addresses(meta::at(service, &["spec"]), &mut errors);
    fulfilled(errors)?;

    let mut families = texts(meta::at(service, &["spec", "ipFamilies"]));
    let mut errors = FieldErrors::new();
    if policy == SINGLE {
        one_of_each(service, &mut errors);
    } else if let Some(old) = old {
        none_given_up(service, old, &policy, &mut errors);
    }
    infer(service, cluster, &mut families, &mut errors);
    fulfilled(errors)?;

    if !unbound {
        fulfilled(lacking(&policy, &families, cluster))?;
    }
    if families.is_empty() {
        families.push(cluster.first().copied().unwrap_or("IPv4").to_owned());
    }
    if policy != SINGLE && families.len() == 1 && (unbound || cluster.len() == 2) {
        let other = if families.first().is_some_and(|first| first == "IPv4") { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    service["spec"]["ipFamilies"] = json!(families);
    Ok(families)
}

fn fulfilled(errors: FieldErrors) -> Result<(), FieldErrors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The families of a cluster with these ranges, the primary one first.
pub(super) fn of_cluster(ranges: &[IpNet]) -> Vec<&'static str> {
    let mut cluster = Vec::new();
    for family in ranges.iter().map(of_range) {
        if !cluster.contains(&family) {
            cluster.push(family);
        }
    }
    cluster
}

/// The policy that was asked for, else that of before; one family, unless nothing says which pods the Service is for.
fn policy(service: &Value, old: Option<&Value>, unbound: bool) -> String {
    // One of no letters is one that was asked for, to be refused.
    let of = |service: &Value| meta::at(service, &["spec", "ipFamilyPolicy"]).as_str().map(str::to_owned);
    let usual = if unbound { REQUIRED } else { SINGLE };
    of(service).or_else(|| of(old?)).unwrap_or_else(|| usual.to_owned())
}

/// A Service of one family names no two addresses or families.
fn one_of_each(service: &Value, errors: &mut FieldErrors) {
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if texts(meta::at(service, &["spec", field])).len() == 2 {
            let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.invalid(&Path::new("spec.ipFamilyPolicy"), SINGLE, why);
        }
    }
}

/// A Service lets go of its second address or family only with the policy that says so.
fn none_given_up(service: &Value, old: &Value, policy: &str, errors: &mut FieldErrors) {
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let [now, before] = [service, old].map(|of| texts(meta::at(of, &["spec", field])).len());
        if (1..before).contains(&now) {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.invalid(&Path::new("spec.ipFamilyPolicy"), policy, why);
        }
    }
}

/// Families that are not named are those of the addresses in their places.
fn infer(service: &Value, cluster: &[&str], families: &mut Vec<String>, errors: &mut FieldErrors) {
    let given = meta::at(service, &["spec", "clusterIPs"]);
    for (index, address) in texts(given).iter().enumerate().skip(families.len()) {
        let Some(family) = of_address(address) else { return };
        if cluster.contains(&family) {
            families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.invalid(&Path::new("spec.clusterIPs").index(index), given.clone(), why);
        }
    }
}

/// What is asked for that the cluster does not have.
fn lacking(policy: &str, families: &[String], cluster: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if policy == REQUIRED && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), policy, why);
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| !cluster.contains(&family.as_str())) {
        errors.invalid(&Path::new("spec.ipFamilies").index(index), family.as_str(), "not configured on this cluster");
    }
    errors
}

/// The strings of a JSON list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}
