//! Devices: whether a node has those that the pod's claims have got already, and what it has for the others.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;
use rk_client::ObjectKey;

use super::Rejection;
use crate::devices::{Allocation, Extended, Found, Plan, Refusal, Special, allocation, is_idle};
use crate::diagnosis::Remedy;
use crate::model::{Cluster, NodeInfo, NodeTerms, PodInfo};

/// Steps of all searches of one attempt: a second or two, during which nothing else is decided.
pub(crate) const STEPS: u64 = 2_000_000;
/// As many of them as are taken while nobody can tell of changes: some hundredths of a second.
pub(crate) const STEPS_AT_ONCE: u64 = STEPS / 40;

/// A claim that has its devices.
struct Settled<'a> {
    claim: &'a ResourceClaim,
    /// Where these can be used; everywhere when there are no terms.
    terms: Option<NodeTerms>,
    /// Whether they will not become ready.
    lost: bool,
}

/// What the claims that have no devices ask for on nodes of one sort.
struct Asked<'a> {
    /// The place of the claim for extended resources among those of all sorts; `None`: these nodes offer them by themselves.
    special: Option<usize>,
    /// An error when no node has to be asked.
    plan: Result<Plan<'a>, String>,
}

/// What the pod's claims ask of nodes, and what was found out.
pub(crate) struct DeviceState<'a> {
    cluster: &'a Cluster,
    pod: &'a PodInfo,
    extended: &'a Extended,
    settled: Vec<Settled<'a>>,
    /// One for each sort of nodes on which something is to be allocated.
    asked: Vec<Asked<'a>>,
    budget: Cell<u64>,
    /// What nodes have for the pod and for which of `asked`, by their names.
    found: RefCell<HashMap<&'a str, (usize, Found<'a>)>>,
    /// The settled claims that kept the pod from a node.
    in_the_way: RefCell<BTreeSet<usize>>,
}

impl<'a> DeviceState<'a> {
    pub(super) fn new(cluster: &'a Cluster, pod: &'a PodInfo, extended: &'a Extended, steps: u64) -> Self {
        let mut state = Self {
            cluster,
            pod,
            extended,
            settled: Vec::new(),
            asked: Vec::new(),
            budget: Cell::new(steps),
            found: RefCell::default(),
            in_the_way: RefCell::default(),
        };
        if pod.device_claims.is_empty() && extended.specials().is_empty() {
            return state;
        }
        let devices = &cluster.devices;
        let (with, without): (Vec<_>, Vec<_>) =
            devices.claims_of(pod).into_iter().partition(|claim| allocation(claim).is_some());
        state.settled = with
            .into_iter()
            .map(|claim| Settled { claim, terms: terms(claim), lost: devices.are_lost(claim) })
            .collect();
        if !without.is_empty() {
            state.asked.push(Asked { special: None, plan: Plan::new(devices, &without) });
        }
        state.asked.extend(extended.specials().iter().enumerate().map(|(place, special)| {
            let all: Vec<&ResourceClaim> = without.iter().copied().chain([&special.claim]).collect();
            Asked { special: Some(place), plan: Plan::new(devices, &all) }
        }));
        state
    }

    pub(super) fn check(&self, node: &'a NodeInfo) -> Result<(), Rejection> {
        if self.extended.leftover.is_some() {
            return Err(Rejection::final_("cannot schedule extended resource claim"));
        }
        let special = self.extended.place_of(&self.cluster.devices, self.pod, node);
        let asked = self.asked.iter().enumerate().find(|(_, asked)| asked.special == special);
        if let Some((index, asked)) = asked {
            let found = self.search(asked, node)?;
            self.found.borrow_mut().insert(&node.name, (index, found));
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

    fn search(&self, asked: &Asked<'a>, node: &'a NodeInfo) -> Result<Found<'a>, Rejection> {
        // What is wrong with a claim for extended resources keeps no pod off the nodes that offer these by themselves.
        let of_all = asked.special.is_none();
        let refused = |reason: String, everywhere: bool| Rejection {
            reasons: vec![Cow::Owned(reason)],
            evicting_helps: false,
            everywhere: everywhere && of_all,
        };
        let plan = asked.plan.as_ref().map_err(|why| refused(why.clone(), true))?;
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
        // Nodes that offer extended resources by themselves may serve whatever is wrong with the classes.
        let own = self.asked.iter().find(|asked| asked.special.is_none())?;
        own.plan.as_ref().err().map(String::as_str)
    }

    /// How well each node meets what the pod's claims wish for, in points.
    pub(crate) fn wishes(&self, nodes: &[&NodeInfo]) -> Vec<i64> {
        let found = self.found.borrow();
        let points = |node: &&NodeInfo| {
            let (index, own) = found.get(node.name.as_str())?;
            Some(self.plan(*index)?.wishes(own))
        };
        nodes.iter().map(|node| points(node).unwrap_or(0)).collect()
    }

    fn plan(&self, index: usize) -> Option<&Plan<'a>> {
        self.asked.get(index)?.plan.as_ref().ok()
    }

    /// What the pod's claims get on a node that was checked.
    pub(crate) fn allocations(&self, node: &str) -> Vec<Arc<Allocation>> {
        let found = self.found.borrow();
        let own = found.get(node).and_then(|(index, own)| Some(self.plan(*index)?.allocations(own, node)));
        own.unwrap_or_default()
    }

    /// The claim that is to be made for the pod's extended resources on a node that was checked.
    pub(crate) fn special(&self, node: &str) -> Option<&'a Special> {
        let index = self.found.borrow().get(node)?.0;
        self.extended.specials().get(self.asked.get(index)?.special?)
    }

    /// What may help the pod: the end of what an earlier attempt left, or that a claim is freed of devices which keep the pod off nodes
    /// and are used by nobody else, so that it may get others.
    pub(crate) fn remedy(&self) -> Option<Remedy> {
        if let Some(leftover) = &self.extended.leftover {
            return Some(Remedy::Delete(leftover.clone()));
        }
        let in_the_way = self.in_the_way.borrow();
        let mut claims = in_the_way.iter().filter_map(|index| self.settled.get(*index)).map(|own| own.claim);
        claims.find(|claim| is_idle(claim, &self.pod.uid)).map(|claim| Remedy::Free(ObjectKey::of(claim)))
    }

    /// Whether the pod has claims that were looked at, or is to get one.
    pub(crate) fn has_claims(&self) -> bool {
        !self.settled.is_empty() || !self.asked.is_empty() || self.extended.is_backed
    }
}

/// Where the devices of a claim can be used. What cannot be read is nowhere.
fn terms(claim: &ResourceClaim) -> Option<NodeTerms> {
    let selector = allocation(claim)?.node_selector.as_ref()?;
    NodeTerms::new(&selector.node_selector_terms).or_else(|_| NodeTerms::new(&[])).ok()
}
