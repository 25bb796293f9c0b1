//! Zones that endpoints are for, where a Service asks for that by an annotation: every zone gets as many endpoints as its share of the
//! cluster's CPUs, its own ones first. Rule: KEP-2433.

use super::endpoint::zone_of;
use super::plan::identity;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForZone};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const MODE: &str = "service.kubernetes.io/topology-mode";
const MODE_OF_OLD: &str = "service.kubernetes.io/topology-aware-hints";
/// Nodes with one of these labels are no clients of Services to speak of.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// How much more than its part an endpoint may get to do, as a fraction.
const OVERLOAD: f64 = 0.2;

/// Parts of the cluster's CPUs by zone; together they are 1.
pub(super) type Shares = BTreeMap<String, f64>;
/// The zones that endpoints are for now, by the identity of the endpoint.
pub(super) type Given = HashMap<(String, Option<String>), String>;
type Counts = BTreeMap<String, usize>;

/// Whether a Service with these annotations asks for zones; the older annotation goes before the newer one.
pub(super) fn is_wanted(annotations: Option<&BTreeMap<String, String>>) -> bool {
    let mode = annotations.and_then(|all| all.get(MODE_OF_OLD).or_else(|| all.get(MODE)));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// What of a node says which share its zone has, as far as it changes at times.
pub(super) fn facts(node: &Node) -> (bool, Option<&String>) {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True");
    (ready, zone_of(node))
}

/// The share of each zone; `None` when a node does not tell its zone or its CPUs, or all are in one zone.
pub(super) fn shares(nodes: &[Arc<Node>]) -> Option<Shares> {
    let mut cpus: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes.iter().filter(|node| counts(node)) {
        let cpu = cpus_of(node).filter(|cpu| *cpu > 0.0)?;
        *cpus.entry(zone_of(node)?.clone()).or_default() += cpu;
    }
    let total: f64 = cpus.values().sum();
    (cpus.len() > 1).then(|| cpus.into_iter().map(|(zone, cpu)| (zone, cpu / total)).collect())
}

fn counts(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let leads = CONTROL_PLANE.iter().any(|label| labels.is_some_and(|all| all.contains_key(*label)));
    !leads && facts(node).0
}

fn cpus_of(node: &Node) -> Option<f64> {
    let cpu = &node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?.0;
    Some(cpu.parse::<rk_api::meta::Quantity>().ok()?.as_f64())
}

/// The zones that the endpoints of these slices are for.
pub(super) fn given(slices: &[EndpointSlice]) -> Given {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let zone = |endpoint: &Endpoint| Some(endpoint.hints.as_ref()?.for_zones.as_ref()?.first()?.name.clone());
    endpoints.filter_map(|endpoint| Some((identity(endpoint), zone(endpoint)?))).collect()
}

/// Gives a zone to each of a Service's endpoints of one family that are ready, or tells why there are none to give. Who is for another
/// zone than its own stays so while one has to be.
pub(super) fn assign(mut endpoints: Vec<&mut Endpoint>, shares: Option<&Shares>, given: &Given) -> Result<(), String> {
    endpoints.retain(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true)));
    let Some(shares) = shares else {
        let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(why.to_owned());
    };
    let desired = desired(shares, endpoints.len())?;
    if endpoints.iter().any(|endpoint| endpoint.zone.is_none()) {
        return Err("One or more endpoints do not have a zone specified".to_owned());
    }
    let mut own = Counts::new();
    for zone in endpoints.iter().filter_map(|endpoint| endpoint.zone.clone()) {
        *own.entry(zone).or_default() += 1;
    }
    let (mut giving, mut lacking) = moves(&desired, &own);
    let at_home =
        |endpoint: &Endpoint| given.get(&identity(endpoint)).is_none_or(|zone| endpoint.zone.as_ref() == Some(zone));
    endpoints.sort_by_key(|endpoint| (at_home(endpoint), identity(endpoint)));
    for endpoint in endpoints {
        let Some(home) = endpoint.zone.clone() else { continue };
        let before = given.get(&identity(endpoint));
        let name = send(&home, before, &mut giving, &mut lacking).unwrap_or(home);
        endpoint.hints = Some(EndpointHints { for_zones: Some(vec![ForZone { name }]), for_nodes: None });
    }
    Ok(())
}

/// How many endpoints each zone is to have: its part, and no fewer than keep the load of each bearable.
fn desired(shares: &Shares, endpoints: usize) -> Result<Shares, String> {
    let refuse = |why: &str| Err(format!("{why} ({endpoints} endpoints, {} zones)", shares.len()));
    if shares.len() > endpoints {
        return refuse("Insufficient number of endpoints");
    }
    let least = |part: f64| (part * (1.0 / (1.0 + OVERLOAD))).ceil();
    let parts: Shares = shares.iter().map(|(zone, share)| (zone.clone(), share * endpoints as f64)).collect();
    if parts.values().map(|part| least(*part)).sum::<f64>() > endpoints as f64 {
        return refuse(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold",
        );
    }
    Ok(parts.into_iter().map(|(zone, part)| (zone, part.max(least(part)))).collect())
}

/// How many endpoints zones give to others, and how many others get: one after the other, where the most is too much and too little.
fn moves(desired: &Shares, own: &Counts) -> (Counts, Counts) {
    let surplus = |zone: &String, wanted: f64| own.get(zone).map_or(0.0, |count| *count as f64) - wanted;
    let (mut over, mut under) = (BTreeMap::new(), BTreeMap::new());
    for (zone, wanted) in desired {
        let surplus = surplus(zone, *wanted);
        over.insert(zone, surplus);
        under.insert(zone, -surplus);
    }
    let (mut giving, mut lacking) = (Counts::new(), Counts::new());
    while let (Some((giver, more)), Some((taker, less))) = (most(&over), most(&under)) {
        if (more < 1.0 && less < 1.0) || more < 0.5 || less < 0.5 {
            break;
        }
        *giving.entry(giver.clone()).or_default() += 1;
        *lacking.entry(taker.clone()).or_default() += 1;
        over.insert(giver, more - 1.0);
        under.insert(taker, less - 1.0);
    }
    (giving, lacking)
}

fn most<'a>(zones: &BTreeMap<&'a String, f64>) -> Option<(&'a String, f64)> {
    let all = zones.iter().map(|(zone, count)| (*zone, *count)).filter(|(_, count)| *count > 0.0);
    all.reduce(|most, next| if next.1 > most.1 { next } else { most })
}

/// The zone that an endpoint goes to from its home, if any: the one that it was for before, or the first that lacks one.
fn send(home: &str, before: Option<&String>, giving: &mut Counts, lacking: &mut Counts) -> Option<String> {
    let left = giving.get_mut(home).filter(|left| **left > 0)?;
    let zone = before.filter(|zone| lacking.contains_key(*zone)).or_else(|| lacking.keys().next())?.clone();
    *left -= 1;
    let lack = lacking.get_mut(&zone)?;
    *lack -= 1;
    if *lack == 0 {
        lacking.remove(&zone);
    }
    Some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(zone: Option<&str>, cpu: &str, ready: &str, label: &str) -> Arc<Node> {
        let labels = json!({"topology.kubernetes.io/zone": zone, label: ""});
        let labels: BTreeMap<String, Option<String>> = serde_json::from_value(labels).expect("labels");
        let labels: BTreeMap<_, _> = labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let status = json!({"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"labels": labels}, "status": status})).expect("a node"))
    }

    fn endpoint(at: usize, zone: &str) -> Endpoint {
        let ready = json!({"ready": true});
        let endpoint = json!({"addresses": [format!("10.0.0.{at}")], "conditions": ready, "zone": zone});
        serde_json::from_value(endpoint).expect("an endpoint")
    }

    /// One endpoint for each letter, in the zone of this name.
    fn endpoints(zones: &str) -> Vec<Endpoint> {
        zones.chars().enumerate().map(|(at, zone)| endpoint(at, &zone.to_string())).collect()
    }

    /// The zones that they are for, in their order.
    fn zones(endpoints: &[Endpoint]) -> String {
        let zone = |endpoint: &Endpoint| Some(endpoint.hints.as_ref()?.for_zones.as_ref()?.first()?.name.clone());
        endpoints.iter().map(|endpoint| zone(endpoint).unwrap_or_else(|| "-".to_owned())).collect()
    }

    fn assigned(endpoints: &mut [Endpoint], shares: &[(&str, f64)], given: &Given) -> Result<String, String> {
        let shares: Shares = shares.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect();
        assign(endpoints.iter_mut().collect(), Some(&shares), given)?;
        Ok(zones(endpoints))
    }

    #[test]
    fn zones_have_shares_by_the_processors_of_their_nodes_that_are_ready() {
        let (a, b) = (node(Some("a"), "3", "True", "x"), node(Some("b"), "1000m", "True", "x"));
        let expected = Shares::from([("a".to_owned(), 0.75), ("b".to_owned(), 0.25)]);
        let leader = node(None, "8", "True", "node-role.kubernetes.io/control-plane");
        let away = node(Some("c"), "8", "False", "x");
        assert_eq!(shares(&[Arc::clone(&a), Arc::clone(&b), leader, away]), Some(expected));
        for other in [node(None, "1", "True", "x"), node(Some(""), "1", "True", "x"), node(Some("c"), "0", "True", "x")]
        {
            assert_eq!(shares(&[Arc::clone(&a), Arc::clone(&b), other]), None);
        }
        assert_eq!(shares(&[Arc::clone(&a), a]), None, "one zone");
    }

    #[test]
    fn endpoints_are_for_their_own_zone_and_for_others_where_those_lack_some() {
        let even = [("a", 0.5), ("b", 0.5)];
        let none = Given::new();
        assert_eq!(assigned(&mut endpoints("ab"), &even, &none).as_deref(), Ok("ab"));
        assert_eq!(assigned(&mut endpoints("aaab"), &even, &none).as_deref(), Ok("baab"));
        assert_eq!(assigned(&mut endpoints("aaaa"), &even, &none).as_deref(), Ok("bbaa"));
        let thirds = [("a", 0.5), ("b", 0.25), ("c", 0.25)];
        assert_eq!(assigned(&mut endpoints("aaaabbbb"), &thirds, &none).as_deref(), Ok("aaaaccbb"));
        // The one that is for another zone already stays for it.
        let later = Given::from([(identity(&endpoint(2, "a")), "b".to_owned())]);
        assert_eq!(assigned(&mut endpoints("aaab"), &even, &later).as_deref(), Ok("aabb"));
        let mut unready = endpoints("aab");
        unready[1].conditions = None;
        assert_eq!(assigned(&mut unready, &even, &none).as_deref(), Ok("a-b"));
    }

    #[test]
    fn where_shares_cannot_be_kept_nobody_gets_a_zone() {
        let even = [("a", 0.5), ("b", 0.5)];
        let refused = |homes: &str, shares: &[(&str, f64)]| {
            let mut all = endpoints(homes);
            (assigned(&mut all, shares, &Given::new()).unwrap_err(), zones(&all))
        };
        let (why, all) = refused("a", &even);
        assert_eq!((why.as_str(), all.as_str()), ("Insufficient number of endpoints (1 endpoints, 2 zones)", "-"));
        let (why, all) = refused("ab", &[("a", 0.9), ("b", 0.1)]);
        assert!(why.starts_with("Unable to allocate minimum required endpoints") && all == "--", "{why} {all}");
        let mut homeless = endpoints("ab");
        homeless[0].zone = None;
        assert!(assigned(&mut homeless, &even, &Given::new()).unwrap_err().contains("do not have a zone specified"));
        assert!(assign(Vec::new(), None, &Given::new()).unwrap_err().starts_with("Insufficient Node information"));
    }

    #[test]
    fn the_older_annotation_goes_before_the_newer_one() {
        let asks = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            is_wanted(Some(&all))
        };
        assert!(asks(&[(MODE, "Auto")]) && asks(&[(MODE_OF_OLD, "auto")]));
        assert!(!asks(&[(MODE, "Auto"), (MODE_OF_OLD, "Disabled")]) && !asks(&[(MODE, "AUTO")]) && !is_wanted(None));
    }
}
