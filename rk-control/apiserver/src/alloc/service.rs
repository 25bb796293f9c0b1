//! Completing a Service: what its type asks for, what it had before, what is free.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use rk_api::meta;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::{Value, json};

use super::families::{self, of_range, texts};
use super::{Taken, addresses, ports};

fn type_of(service: &Value) -> &str {
    match meta::text(service, &["spec", "type"]) {
        "" => "ClusterIP",
        other => other,
    }
}

/// Whether a Service may have node ports.
fn takes_node_ports(service: &Value) -> bool {
    matches!(type_of(service), "LoadBalancer" | "NodePort")
}

/// Whether a Service gets node ports that it did not ask for.
fn wants_node_ports(service: &Value) -> bool {
    let asked = meta::at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false);
    type_of(service) == "NodePort" || (type_of(service) == "LoadBalancer" && asked)
}

/// Whether a Service gets addresses.
pub(super) fn takes_addresses(service: &Value) -> bool {
    type_of(service) != "ExternalName" && meta::text(service, &["spec", "clusterIP"]) != "None"
}

fn wants_health_check(service: &Value) -> bool {
    type_of(service) == "LoadBalancer" && meta::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// 422 for one field of a Service.
pub(super) fn refused(name: &str, path: &Path<'_>, value: impl Into<Value>, why: impl Into<String>) -> Status {
    let mut errors = FieldErrors::new();
    errors.invalid(path, value, why);
    Status::invalid("", "Service", name, &errors.0)
}

/// What a cluster has for its Services.
pub(super) struct Cluster {
    /// The families of the settings, the primary one first: they stay when every range of one is on its way out.
    families: Vec<&'static str>,
    /// What addresses are taken from.
    ranges: Vec<IpNet>,
    node_ports: RangeInclusive<u16>,
}

impl Cluster {
    /// A cluster whose settings have `own` ranges, of which and of others the `usable` ones give addresses.
    pub(super) fn new(own: &[IpNet], usable: Vec<IpNet>, node_ports: RangeInclusive<u16>) -> Self {
        Self { families: families::of_cluster(own), ranges: usable, node_ports }
    }
}

/// Completes a Service; returns what it takes. What cannot be had first is told alone, as upstream does.
///
/// # Errors
/// 422 when what was asked for cannot be had, 500 when there is nothing left to choose.
pub(super) fn complete(
    service: &mut Value,
    old: Option<&Value>,
    cluster: &Cluster,
    taken: &Taken,
) -> Result<Taken, Status> {
    let mut own = Taken::default();
    if let Some(old) = old {
        carry_over(service, old);
        release_second(service, old);
    }
    if type_of(service) == "ExternalName" {
        leave_addresses(service, old);
    } else if let Some(old) = old.filter(|old| preference_stays(service, old)) {
        own.addresses = addresses::of(old).into_iter().collect();
    } else {
        own.addresses = complete_addresses(service, old, cluster, &taken.addresses)?;
    }
    let mut busy = taken.ports.clone();
    // What it gives up is free once it is stored, and not even for itself before.
    busy.extend(old.map(ports::of).unwrap_or_default());
    if takes_node_ports(service) {
        let had = old.map(ports::of_ports);
        let rules = ports::Rules { range: &cluster.node_ports, fill: wants_node_ports(service), had };
        own.ports = ports::complete(service, &rules, &busy)?;
    }
    if wants_health_check(service) {
        busy.extend(&own.ports);
        let had = old.is_some_and(wants_health_check);
        own.ports.extend(ports::health_check(service, had, &cluster.node_ports, &busy)?);
    }
    Ok(own)
}

/// A Service that turns to one family gives up the second, unless it says otherwise what it wants to hold.
fn release_second(service: &mut Value, old: &Value) {
    if meta::text(service, &["spec", "ipFamilyPolicy"]) != "SingleStack" {
        return;
    }
    for field in ["clusterIPs", "ipFamilies"] {
        let unchanged = meta::at(service, &["spec", field]) == meta::at(old, &["spec", field]);
        let list = service.get_mut("spec").and_then(|spec| spec.get_mut(field)).and_then(Value::as_array_mut);
        if let Some(list) = list.filter(|_| unchanged) {
            list.truncate(1);
        }
    }
}

/// Whether a Service that prefers two families says so, and changes nothing of its type, families and addresses: then it keeps what it has,
/// whatever families the cluster has gained or lost since.
fn preference_stays(service: &Value, old: &Value) -> bool {
    let prefers = |of: &Value| meta::text(of, &["spec", "ipFamilyPolicy"]) == "PreferDualStack";
    let same = |field: &str| meta::at(service, &["spec", field]) == meta::at(old, &["spec", field]);
    prefers(service)
        && prefers(old)
        && type_of(service) == type_of(old)
        && ["clusterIPs", "ipFamilies"].into_iter().all(same)
}

/// Whether a Service with addresses, or one that has none for good, names others in their place. Rules refuse that, so that it need not be seen
/// whether those could be had.
fn moves(service: &Value, old: &Value) -> bool {
    let list = |of: &Value| texts(meta::at(of, &["spec", "clusterIPs"]));
    let (now, before) = (list(service), list(old));
    let (Some(first), Some(had)) = (now.first(), before.first()) else { return false };
    type_of(old) != "ExternalName" && (first != had || (now.len() == before.len() && now != before))
}

/// A Service that is only a name drops what it had as one with addresses, unless the change touches it: validation tells of that.
fn leave_addresses(service: &mut Value, old: Option<&Value>) {
    let before = old.filter(|old| type_of(old) != "ExternalName");
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let now = meta::at(service, &["spec", field]);
        let same = before.is_some_and(|before| meta::at(before, &["spec", field]) == now);
        if same || is_unset(now) {
            remove(service, field);
        }
    }
}

fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty)
}

fn remove(service: &mut Value, field: &str) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(field);
    }
}

/// An update that leaves out what was allocated keeps it; one that changes the type drops what the new type has no use for. Families that
/// are left out are those of the addresses, and the cluster's where there are none.
fn carry_over(service: &mut Value, old: &Value) {
    let had_address = type_of(old) != "ExternalName";
    if had_address && type_of(service) != "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            let before = meta::at(old, &["spec", field]);
            if is_unset(meta::at(service, &["spec", field])) && !before.is_null() {
                service["spec"][field] = before.clone();
            }
        }
        // After that: a list that was left out is one that was left as it was.
        follow_single(service, old);
    }
    if wants_node_ports(old) && wants_node_ports(service) {
        keep_node_ports(service, old);
    } else if takes_node_ports(old) && !takes_node_ports(service) && numbers(service).is_subset(&numbers(old)) {
        let list = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
        for port in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if !wants_health_check(old) {
        return;
    }
    let field = "healthCheckNodePort";
    let (now, before) = (meta::at(service, &["spec", field]), meta::at(old, &["spec", field]));
    if !wants_health_check(service) && now == before {
        remove(service, field);
    } else if wants_health_check(service) && (now.is_null() || *now == 0) && !before.is_null() {
        service["spec"][field] = before.clone();
    }
}

/// Who changes the one address and leaves the list of them as it was means the list, too.
fn follow_single(service: &mut Value, old: &Value) {
    let single = |of: &Value| meta::text(of, &["spec", "clusterIP"]).to_owned();
    let same = meta::at(service, &["spec", "clusterIPs"]) == meta::at(old, &["spec", "clusterIPs"]);
    let now = single(service);
    if same && !now.is_empty() && now != single(old) {
        service["spec"]["clusterIPs"] = json!([now]);
    }
}

/// The node ports of a Service's ports.
fn numbers(service: &Value) -> HashSet<i64> {
    let ports = meta::at(service, &["spec", "ports"]).as_array().into_iter().flatten();
    ports.filter_map(|port| ports::asked(port, "nodePort")).collect()
}

/// Ports keep their numbers by their names, whatever else of them changes.
fn keep_node_ports(service: &mut Value, old: &Value) {
    let before = meta::at(old, &["spec", "ports"]).as_array().into_iter().flatten();
    let known: HashMap<&str, i64> =
        before.filter_map(|port| Some((meta::text(port, &["name"]), ports::asked(port, "nodePort")?))).collect();
    let used: HashSet<i64> = numbers(old).intersection(&numbers(service)).copied().collect();
    let list = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
    for port in list.into_iter().flatten() {
        let unset = ports::asked(port, "nodePort").is_none();
        let number = known.get(meta::text(port, &["name"])).copied();
        if let Some(number) = number.filter(|number| unset && !used.contains(number)) {
            port["nodePort"] = json!(number);
        }
    }
}

/// Fills in the cluster IPs of a Service; answers those that it takes.
///
/// # Errors
/// As [`complete`].
fn complete_addresses(
    service: &mut Value,
    old: Option<&Value>,
    cluster: &Cluster,
    taken: &HashSet<IpAddr>,
) -> Result<HashSet<IpAddr>, Status> {
    let mut own = HashSet::new();
    let name = meta::name(service).to_owned();
    let single = meta::text(service, &["spec", "clusterIP"]).to_owned();
    let mut given = texts(meta::at(service, &["spec", "clusterIPs"]));
    if given.is_empty() && !single.is_empty() {
        given = vec![single];
        service["spec"]["clusterIPs"] = json!(given);
    }
    let families = families::decide(service, old, &cluster.families)
        .map_err(|errors| Status::invalid("", "Service", &name, &errors.0))?;
    let before = old.map(addresses::of).unwrap_or_default();
    if old.is_some_and(|old| moves(service, old)) {
        return Ok(before.into_iter().collect());
    }
    if given.first().is_some_and(|first| first == "None") {
        return Ok(own);
    }
    // A place for each family, as upstream shows them when one cannot be had.
    given.resize(families.len().max(given.len()), String::new());
    let choice = Choice { name: &name, before: &before, taken, given: &given };
    let mut chosen: Vec<String> = Vec::new();
    for (index, family) in families.iter().enumerate() {
        let of_family: Vec<&IpNet> = cluster.ranges.iter().filter(|range| of_range(range) == family).collect();
        let (address, text) = match given.get(index).filter(|text| !text.is_empty()) {
            Some(text) => choice.asked(index, text, &of_family)?,
            None => choice.free(&of_family)?,
        };
        own.insert(address);
        chosen.push(text);
    }
    service["spec"]["clusterIP"] = json!(chosen.first().cloned().unwrap_or_default());
    service["spec"]["clusterIPs"] = json!(chosen);
    Ok(own)
}

/// What decides which addresses a Service can have.
struct Choice<'a> {
    /// The name of the Service.
    name: &'a str,
    /// Those that it has already.
    before: &'a [IpAddr],
    /// Those that others have.
    taken: &'a HashSet<IpAddr>,
    /// `spec.clusterIPs` as it was sent, with nothing in the places that are to be filled.
    given: &'a [String],
}

impl Choice<'_> {
    /// The address that `text` asks for, with that text.
    fn asked(&self, index: usize, text: &str, ranges: &[&IpNet]) -> Result<(IpAddr, String), Status> {
        let list = Path::new("spec.clusterIPs");
        let Ok(address) = text.parse::<IpAddr>() else {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            return Err(refused(self.name, &list.index(index), text, why));
        };
        // What the Service holds already stays, even when its range is on its way out.
        let fits = self.before.contains(&address) || ranges.iter().any(|range| addresses::is_usable(range, address));
        if fits && !self.taken.contains(&address) {
            return Ok((address, text.to_owned()));
        }
        let why = match ranges.iter().find(|range| range.contains(&address)) {
            _ if fits => "provided IP is already allocated".to_owned(),
            // The first address of a range, or the last.
            Some(range) => {
                format!("the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}")
            }
            None => "the provided network does not match the current range".to_owned(),
        };
        Err(refused(self.name, &list, json!(self.given), format!("failed to allocate IP {text}: {why}")))
    }

    /// An address that nobody has, with its text.
    fn free(&self, ranges: &[&IpNet]) -> Result<(IpAddr, String), Status> {
        let found = ranges.iter().find_map(|range| addresses::pick(range, self.taken));
        let address = found.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?;
        Ok((address, address.to_string()))
    }
}

#[cfg(test)]
mod tests;
