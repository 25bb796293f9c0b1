//! IP families of a Service (KEP-563).

use std::net::IpAddr;

use ipnet::IpNet;
use rk_api::meta;
use rk_api::status::{FieldErrors, Path};
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

/// Decides `ipFamilyPolicy` and `ipFamilies` of a Service from what was asked for and what the cluster has. Returns the families.
pub(super) fn decide(
    service: &mut Value,
    ranges: &[IpNet],
    headless_without_selector: bool,
    errors: &mut FieldErrors,
) -> Vec<String> {
    let asked: Vec<String> = texts(meta::at(service, &["spec", "ipFamilies"]));
    let pinned: Vec<&str> =
        texts(meta::at(service, &["spec", "clusterIPs"])).iter().filter_map(|ip| of_address(ip)).collect();
    let mut cluster: Vec<&str> = Vec::new();
    for family in ranges.iter().map(of_range) {
        if !cluster.contains(&family) {
            cluster.push(family);
        }
    }
    let mut policy = meta::text(service, &["spec", "ipFamilyPolicy"]).to_owned();
    if policy.is_empty() {
        let two = asked.len() == 2 || pinned.len() == 2;
        policy = if headless_without_selector || two { "RequireDualStack" } else { "SingleStack" }.to_owned();
    }
    let mut families =
        if asked.is_empty() { pinned.iter().map(|family| (*family).to_owned()).collect() } else { asked };
    for (index, family) in families.iter().enumerate() {
        if !headless_without_selector && !cluster.contains(&family.as_str()) {
            let list = Path::new("spec.ipFamilies");
            errors.invalid(&list.index(index), family.as_str(), "not configured on this cluster");
        }
    }
    let wanted = match policy.as_str() {
        "SingleStack" => 1,
        "PreferDualStack" => cluster.len().clamp(1, 2),
        _ if headless_without_selector => 2,
        _ => {
            if cluster.len() < 2 {
                errors.invalid(
                    &Path::new("spec.ipFamilyPolicy"),
                    policy.as_str(),
                    "this cluster is not configured for dual-stack services",
                );
            }
            2
        }
    };
    let others = if headless_without_selector {
        vec![cluster.first().copied().unwrap_or("IPv4"), "IPv4", "IPv6"]
    } else {
        cluster
    };
    for family in others {
        if families.len() < wanted && !families.iter().any(|own| own == family) {
            families.push(family.to_owned());
        }
    }
    families.truncate(wanted);
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    service["spec"]["ipFamilies"] = json!(families);
    families
}

/// The strings of a JSON list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}
