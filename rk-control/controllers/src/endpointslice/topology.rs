//! Zones that endpoints are for, where a Service asks for that by an annotation: every zone gets as many endpoints as its share of the
//! cluster's CPUs, its own ones first. Rule: KEP-2433. Slices that nothing else changes keep theirs while those are bearable (ADR 0324).

use super::endpoint::zone_of;
use super::plan::{Plan, identity};
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
/// What each zone is to have of a Service's endpoints.
type Parts = BTreeMap<String, Part>;
type Counts = BTreeMap<String, usize>;

/// How many endpoints a zone is to have.
#[derive(Debug)]
struct Part {
    desired: f64,
    /// With fewer, each has more to do than it bears.
    least: f64,
    /// With more, others cannot have the least that they need.
    most: f64,
}

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

/// Lets endpoints that are ready be for the zones that they are for in these slices, until [`assign`] says otherwise.
pub(super) fn inherit<'a>(endpoints: impl Iterator<Item = &'a mut Endpoint>, existing: &[EndpointSlice]) {
    let known = existing.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let given: HashMap<_, &String> = known.filter_map(|known| Some((identity(known), given_zone(known)?))).collect();
    for endpoint in endpoints.filter(|endpoint| is_ready(endpoint)) {
        endpoint.hints = given.get(&identity(endpoint)).map(|zone| hints((*zone).clone()));
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
}

fn given_zone(endpoint: &Endpoint) -> Option<&String> {
    Some(&endpoint.hints.as_ref()?.for_zones.as_ref()?.first()?.name)
}

fn hints(zone: String) -> EndpointHints {
    EndpointHints { for_zones: Some(vec![ForZone { name: zone }]), for_nodes: None }
}

fn endpoints_of(slice: &mut EndpointSlice) -> impl Iterator<Item = &mut Endpoint> {
    slice.endpoints.iter_mut().flatten()
}

/// Gives a zone to each of a Service's endpoints of one family that are ready, or tells why there are none to give. Slices that are kept
/// stay so where all zones have their parts with what these give.
pub(super) fn assign(plan: &mut Plan, family: &str, shares: Option<&Shares>) -> Result<(), String> {
    let (kept, others): (Vec<EndpointSlice>, Vec<EndpointSlice>) =
        std::mem::take(&mut plan.keep).into_iter().partition(|slice| slice.address_type == family);
    plan.keep = others;
    let mut now = kept.clone();
    let given = spread(plan.written(family), now.iter_mut().flat_map(endpoints_of).collect(), shares);
    if given.is_err() {
        let all = plan.written(family).into_iter().chain(now.iter_mut().flat_map(endpoints_of));
        all.for_each(|endpoint| endpoint.hints = None);
    }
    for (before, now) in kept.into_iter().zip(now) {
        if before == now { plan.keep.push(now) } else { plan.update.push(now) }
    }
    given
}

/// Gives zones to endpoints of slices that are written, and where that is not enough to those of the others, too. Given again, all are the
/// same: what is bearable stays, and else the moves depend on homes alone, with those first who have moved already.
fn spread<'a>(
    mut written: Vec<&'a mut Endpoint>,
    kept: Vec<&'a mut Endpoint>,
    shares: Option<&Shares>,
) -> Result<(), String> {
    let ready = written.iter().chain(&kept).filter(|endpoint| is_ready(endpoint)).count();
    let parts = parts(shares, ready)?;
    if let Some(held) = tally(&kept, &parts) {
        let own = homes(&written)?;
        let moves = Moves::new(&parts, &held, &own);
        if moves.are_bearable(&parts, &held, &own) {
            hand_out(written, moves);
            return Ok(());
        }
    }
    written.extend(kept);
    let moves = Moves::new(&parts, &Counts::new(), &homes(&written)?);
    hand_out(written, moves);
    Ok(())
}

/// How many endpoints each zone is to have: its part, and no fewer than keep the load of each bearable.
fn parts(shares: Option<&Shares>, endpoints: usize) -> Result<Parts, String> {
    let Some(shares) = shares else {
        let why = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(why.to_owned());
    };
    let refuse = |why: &str| Err(format!("{why} ({endpoints} endpoints, {} zones)", shares.len()));
    if shares.len() > endpoints {
        return refuse("Insufficient number of endpoints");
    }
    let all = endpoints as f64;
    let least = |share: f64| (share * all * (1.0 / (1.0 + OVERLOAD))).ceil();
    let spare = all - shares.values().map(|share| least(*share)).sum::<f64>();
    if spare < 0.0 {
        return refuse(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold",
        );
    }
    let part = |share: f64| {
        let least = least(share);
        Part { desired: (share * all).max(least), least, most: least + spare }
    };
    Ok(shares.iter().map(|(zone, share)| (zone.clone(), part(*share))).collect())
}

/// How many endpoints are for each zone now; `None` where one is for none, or for one that has no part.
fn tally(endpoints: &[&mut Endpoint], parts: &Parts) -> Option<Counts> {
    let mut held = Counts::new();
    for endpoint in endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
        let zone = given_zone(endpoint).filter(|zone| parts.contains_key(*zone))?;
        *held.entry(zone.clone()).or_default() += 1;
    }
    Some(held)
}

/// How many endpoints are in each zone.
fn homes(endpoints: &[&mut Endpoint]) -> Result<Counts, String> {
    let mut own = Counts::new();
    for endpoint in endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
        let home = endpoint.zone.clone().ok_or("One or more endpoints do not have a zone specified")?;
        *own.entry(home).or_default() += 1;
    }
    Ok(own)
}

fn count(counts: &Counts, zone: &str) -> f64 {
    counts.get(zone).map_or(0.0, |count| *count as f64)
}

/// How many endpoints zones give to others, and how many others get.
#[derive(Debug)]
struct Moves {
    giving: Counts,
    lacking: Counts,
}

impl Moves {
    /// One after the other, where the most is too much and too little; `held` are for a zone and stay so, `own` are free.
    fn new(parts: &Parts, held: &Counts, own: &Counts) -> Self {
        let (mut over, mut under) = (BTreeMap::new(), BTreeMap::new());
        for (zone, part) in parts {
            let surplus = count(held, zone) + count(own, zone) - part.desired;
            over.insert(zone, surplus.min(count(own, zone)));
            under.insert(zone, -surplus);
        }
        let mut moves = Self { giving: Counts::new(), lacking: Counts::new() };
        while let (Some((giver, more)), Some((taker, less))) = (most(&over), most(&under)) {
            if (more < 1.0 && less < 1.0) || more < 0.5 || less < 0.5 {
                break;
            }
            *moves.giving.entry(giver.clone()).or_default() += 1;
            *moves.lacking.entry(taker.clone()).or_default() += 1;
            over.insert(giver, more - 1.0);
            under.insert(taker, less - 1.0);
        }
        moves
    }

    /// Whether each zone then has what it needs, and leaves it to others.
    fn are_bearable(&self, parts: &Parts, held: &Counts, own: &Counts) -> bool {
        parts.iter().all(|(zone, part)| {
            let before = count(held, zone) + count(own, zone);
            let after = before + count(&self.lacking, zone) - count(&self.giving, zone);
            (part.least..=part.most).contains(&after)
        })
    }

    /// The zone that an endpoint goes to from its home, if any: the one that it was for before, or the first that lacks one.
    fn send(&mut self, home: &str, before: Option<&String>) -> Option<String> {
        let left = self.giving.get_mut(home).filter(|left| **left > 0)?;
        let before = before.filter(|zone| self.lacking.contains_key(*zone));
        let zone = before.or_else(|| self.lacking.keys().next())?.clone();
        *left -= 1;
        let lack = self.lacking.get_mut(&zone)?;
        *lack -= 1;
        if *lack == 0 {
            self.lacking.remove(&zone);
        }
        Some(zone)
    }
}

fn most<'a>(zones: &BTreeMap<&'a String, f64>) -> Option<(&'a String, f64)> {
    let all = zones.iter().map(|(zone, count)| (*zone, *count)).filter(|(_, count)| *count > 0.0);
    all.reduce(|most, next| if next.1 > most.1 { next } else { most })
}

/// Lets endpoints that are ready be for their own zone, but for those that are sent to another. Who is for another zone than its own stays so
/// while one has to be.
fn hand_out(mut endpoints: Vec<&mut Endpoint>, mut moves: Moves) {
    endpoints.retain(|endpoint| is_ready(endpoint));
    let at_home = |endpoint: &Endpoint| given_zone(endpoint).is_none_or(|zone| endpoint.zone.as_ref() == Some(zone));
    endpoints.sort_by_key(|endpoint| (at_home(endpoint), identity(endpoint)));
    for endpoint in endpoints {
        let Some(home) = endpoint.zone.clone() else { continue };
        let zone = moves.send(&home, given_zone(endpoint)).unwrap_or(home);
        endpoint.hints = Some(hints(zone));
    }
}

#[cfg(test)]
mod tests;
