//! What is written of the devices that claims get.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::ObjectKey;

use super::found::{Found, Pick};
use super::plan::{Ask, Plan, Wanted};

/// Points of a first alternative; the second has one fewer, and so on. Upstream's figure, which is how many there may be.
const FIRST_CHOICE: i64 = 8;

/// The devices that a claim gets, once that is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Allocation {
    pub(crate) claim: ObjectKey,
    pub(crate) uid: String,
    pub(crate) result: AllocationResult,
}

impl<'a> Plan<'a> {
    /// What a search found on `node`, as it is to be written. Shares of devices get their ids here.
    pub(crate) fn allocations(&self, found: &Found<'a>, node: &str) -> Vec<Arc<Allocation>> {
        let claims = self.claims.iter().zip(&found.picks);
        let allocation = |(wanted, picks): (&Wanted<'a>, &Vec<Pick<'a>>)| {
            Arc::new(Allocation {
                claim: ObjectKey::of(wanted.claim),
                uid: wanted.claim.metadata.uid.clone().unwrap_or_default(),
                result: result(wanted, picks, node),
            })
        };
        claims.map(allocation).collect()
    }

    /// How well a search met wishes: points for each request that has alternatives.
    pub(crate) fn wishes(&self, found: &Found<'a>) -> i64 {
        let chosen: BTreeSet<_> = found.picks.iter().flatten().map(|pick| pick.place).collect();
        let points = chosen.into_iter().map(|(claim, demand, index)| {
            let asks = self.claims.get(claim).and_then(|own| own.demands.get(demand));
            let wished = asks.and_then(|asks| asks.get(index)).is_some_and(|ask| ask.alternative.is_some());
            if wished { FIRST_CHOICE - i64::try_from(index).unwrap_or(FIRST_CHOICE) } else { 0 }
        });
        points.sum()
    }
}

fn result(wanted: &Wanted<'_>, picks: &[Pick<'_>], node: &str) -> AllocationResult {
    let ask = |pick: &Pick<'_>| wanted.demands.get(pick.place.1).and_then(|asks| asks.get(pick.place.2));
    let results = picks.iter().filter_map(|pick| Some(device(ask(pick)?, pick))).collect();
    let config = configuration(wanted, picks);
    AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult {
            config: Some(config).filter(|config| !config.is_empty()),
            results: Some(results),
        }),
        node_selector: selector(picks, node),
    }
}

fn device(ask: &Ask<'_>, pick: &Pick<'_>) -> DeviceRequestAllocationResult {
    let portion = pick.portion.as_ref();
    let consumed = portion.into_iter().flatten().map(|(name, own)| (name.clone(), Quantity(own.to_string())));
    let consumed: BTreeMap<String, Quantity> = consumed.collect();
    DeviceRequestAllocationResult {
        admin_access: ask.admin.then_some(true),
        binding_conditions: pick.device.binding_conditions.clone(),
        binding_failure_conditions: pick.device.binding_failure_conditions.clone(),
        consumed_capacity: Some(consumed).filter(|own| !own.is_empty()),
        device: pick.device.name.clone(),
        driver: pick.pool.id.driver.clone(),
        pool: pick.pool.id.name.clone(),
        request: ask.full_name(),
        share_id: portion.map(|_| rk_api::meta::new_uid()),
        tolerations: Some(ask.tolerations.to_vec()).filter(|own| !own.is_empty()),
    }
}

/// Configurations of the classes first, each once, then those of the claim that speak of what was chosen.
fn configuration(wanted: &Wanted<'_>, picks: &[Pick<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let chosen: BTreeSet<_> = picks.iter().map(|pick| (pick.place.1, pick.place.2)).collect();
    let asks: Vec<&Ask<'_>> =
        chosen.into_iter().filter_map(|(demand, index)| wanted.demands.get(demand)?.get(index)).collect();
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut of_class: HashMap<&str, std::ops::Range<usize>> = HashMap::new();
    for ask in &asks {
        let name = ask.class.metadata.name.as_deref().unwrap_or_default();
        if let Some(known) = of_class.get(name) {
            let known = all.get_mut(known.clone()).into_iter().flatten();
            known.for_each(|config| config.requests.get_or_insert_default().push(ask.full_name()));
            continue;
        }
        let from = all.len();
        all.extend(ask.class.spec.config.iter().flatten().map(|config| DeviceAllocationConfiguration {
            opaque: config.opaque.clone(),
            requests: Some(vec![ask.full_name()]),
            source: "FromClass".to_owned(),
        }));
        of_class.insert(name, from..all.len());
    }
    let own = wanted.claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
    let meant = own.filter(|config| match config.requests.as_deref() {
        None | Some([]) => true,
        Some(names) => asks.iter().any(|ask| ask.is_named(names)),
    });
    all.extend(meant.map(|config| DeviceAllocationConfiguration {
        opaque: config.opaque.clone(),
        requests: config.requests.clone(),
        source: "FromClaim".to_owned(),
    }));
    all
}

/// Where the devices can be used: on the node when one of them is there only, else where all of their slices say; nothing when
/// that is everywhere.
fn selector(picks: &[Pick<'_>], node: &str) -> Option<NodeSelector> {
    let own = |pick: &Pick<'_>| pick.slice.spec.per_device_node_selection == Some(true);
    let is_local = |pick: &Pick<'_>| {
        let name = if own(pick) { &pick.device.node_name } else { &pick.slice.spec.node_name };
        name.is_some() || pick.device.binds_to_node == Some(true)
    };
    if picks.iter().any(is_local) {
        let is_node = NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        };
        return Some(one_term(Vec::new(), vec![is_node]));
    }
    let (mut labels, mut fields) = (Vec::new(), Vec::new());
    for pick in picks {
        let selector = if own(pick) { &pick.device.node_selector } else { &pick.slice.spec.node_selector };
        // The API admits one term.
        let Some(term) = selector.as_ref().and_then(|selector| selector.node_selector_terms.first()) else { continue };
        merge(&mut labels, term.match_expressions.as_deref());
        merge(&mut fields, term.match_fields.as_deref());
    }
    (!labels.is_empty() || !fields.is_empty()).then(|| one_term(labels, fields))
}

fn one_term(labels: Vec<NodeSelectorRequirement>, fields: Vec<NodeSelectorRequirement>) -> NodeSelector {
    let some = |own: Vec<NodeSelectorRequirement>| Some(own).filter(|own| !own.is_empty());
    NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm { match_expressions: some(labels), match_fields: some(fields) }],
    }
}

fn merge(all: &mut Vec<NodeSelectorRequirement>, more: Option<&[NodeSelectorRequirement]>) {
    for requirement in more.unwrap_or_default() {
        if !all.contains(requirement) {
            all.push(requirement.clone());
        }
    }
}
