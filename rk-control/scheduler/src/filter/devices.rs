//! Devices: whether a node has those that the pod's claims have got already, and what it has for the others.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;
use rk_client::ObjectKey;

use super::Rejection;
use crate::devices::{Allocation, Found, Plan, Refusal, allocation, is_idle};
use crate::model::{Cluster, NodeInfo, NodeTerms, PodInfo};

/// Steps of all searches of one attempt: a second or two, during which nothing else is decided.
pub(crate) const STEPS: u64 = 2_000_000;

/// A claim that has its devices.
struct Settled<'a> {
    claim: &'a ResourceClaim,
    /// Where these can be used; everywhere when there are no terms.
    terms: Option<NodeTerms>,
    /// Whether they will not become ready.
    lost: bool,
}

/// What the pod's claims ask of nodes, and what was found out.
pub(crate) struct DeviceState<'a> {
    settled: Vec<Settled<'a>>,
    /// What those without devices ask for; an error when no node has to be asked. `None` when all have theirs.
    plan: Option<Result<Plan<'a>, String>>,
    budget: Cell<u64>,
    /// What nodes have for the pod, by their names.
    found: RefCell<HashMap<&'a str, Found<'a>>>,
    /// The settled claims that kept the pod from a node.
    in_the_way: RefCell<BTreeSet<usize>>,
}

impl<'a> DeviceState<'a> {
    pub(super) fn new(cluster: &'a Cluster, pod: &PodInfo, steps: u64) -> Self {
        let mut state = Self {
            settled: Vec::new(),
            plan: None,
            budget: Cell::new(steps),
            found: RefCell::default(),
            in_the_way: RefCell::default(),
        };
        if pod.device_claims.is_empty() {
            return state;
        }
        let devices = &cluster.devices;
        let (with, without): (Vec<_>, Vec<_>) =
            devices.claims_of(pod).into_iter().partition(|claim| allocation(claim).is_some());
        state.settled = with
            .into_iter()
            .map(|claim| Settled { claim, terms: terms(claim), lost: devices.are_lost(claim) })
            .collect();
        state.plan = (!without.is_empty()).then(|| Plan::new(devices, &without));
        state
    }

    pub(super) fn check(&self, node: &'a NodeInfo) -> Result<(), Rejection> {
        if let Some(plan) = &self.plan {
            let found = self.search(plan, node)?;
            self.found.borrow_mut().insert(&node.name, found);
        }
        let keeps = |own: &Settled<'_>| {
            own.lost || own.terms.as_ref().is_some_and(|terms| !terms.matches(&node.name, &node.labels))
        };
        let against = self.settled.iter().enumerate().filter(|(_, own)| keeps(own)).map(|(index, _)| index);
        let against: Vec<usize> = against.collect();
        if against.is_empty() {
            return Ok(());
        }
        self.in_the_way.borrow_mut().extend(against);
        Err(Rejection::final_("resourceclaim not available on the node"))
    }

    fn search(&self, plan: &Result<Plan<'a>, String>, node: &'a NodeInfo) -> Result<Found<'a>, Rejection> {
        let refused = |reason: String, everywhere: bool| Rejection {
            reasons: vec![Cow::Owned(reason)],
            evicting_helps: false,
            everywhere,
        };
        let plan = plan.as_ref().map_err(|why| refused(why.clone(), true))?;
        match plan.search(node, &self.budget) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Rejection::final_("cannot allocate all claims")),
            Err(Refusal::Here(why)) => Err(refused(why, false)),
            Err(Refusal::Everywhere(why)) => Err(refused(why, true)),
        }
    }

    /// How many steps are left; none once a search was given up.
    pub(crate) fn steps_left(&self) -> u64 {
        self.budget.get()
    }

    /// Why no node has to be asked.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.plan.as_ref().and_then(|plan| plan.as_ref().err()).map(String::as_str)
    }

    /// How well each node meets what the pod's claims wish for, in points.
    pub(crate) fn wishes(&self, nodes: &[&NodeInfo]) -> Vec<i64> {
        let Some(Ok(plan)) = &self.plan else { return vec![0; nodes.len()] };
        let found = self.found.borrow();
        nodes.iter().map(|node| found.get(node.name.as_str()).map_or(0, |own| plan.wishes(own))).collect()
    }

    /// What the pod's claims get on a node that was checked.
    pub(crate) fn allocations(&self, node: &str) -> Vec<Arc<Allocation>> {
        let Some(Ok(plan)) = &self.plan else { return Vec::new() };
        self.found.borrow().get(node).map_or_else(Vec::new, |own| plan.allocations(own, node))
    }

    /// A claim whose devices keep the pod off nodes and are used by nobody else: without them it may get others.
    pub(crate) fn to_free(&self, pod: &PodInfo) -> Option<ObjectKey> {
        let in_the_way = self.in_the_way.borrow();
        let mut claims = in_the_way.iter().filter_map(|index| self.settled.get(*index)).map(|own| own.claim);
        claims.find(|claim| is_idle(claim, &pod.uid)).map(ObjectKey::of)
    }

    /// Whether the pod has claims that were looked at.
    pub(crate) fn has_claims(&self) -> bool {
        !self.settled.is_empty() || self.plan.is_some()
    }
}

/// Where the devices of a claim can be used. What cannot be read is nowhere.
fn terms(claim: &ResourceClaim) -> Option<NodeTerms> {
    let selector = allocation(claim)?.node_selector.as_ref()?;
    NodeTerms::new(&selector.node_selector_terms).or_else(|_| NodeTerms::new(&[])).ok()
}
