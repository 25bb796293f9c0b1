//! Devices of drivers: what there is, who has it, and what the claims of a pod get of it (KEP-4381, structured parameters).
//!
//! Pure, like all that decides: [`Devices`] is what the API tells of slices, classes and claims, with the allocations that are on
//! their way to the API. [`Plan`] is what the claims of a pod ask for; [`Plan::search`] looks on one node for devices that
//! they can have, and [`Plan::allocations`] says how that is written. API objects are not copied: slices, classes and claims
//! are held together with the informers.

mod amount;
mod capacity;
mod constraint;
mod counters;
mod extended;
mod found;
mod inventory;
mod plan;
mod pool;
mod resolver;
mod result;
mod search;
mod selector;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use rk_api::meta::EXTENDED_CLAIM;
use rk_client::{ObjectKey, controller_of, is_controlled_by};

pub(crate) use extended::{Extended, Special};
pub(crate) use found::{Found, Refusal};
pub(crate) use plan::Plan;
pub(crate) use result::Allocation;

use crate::model::{NodeInfo, PodInfo};
use inventory::Inventory;
use resolver::Resolver;
use selector::Programs;
use usage::Usage;

/// Most users of a claim; the API's figure.
const MAX_USERS: usize = 256;

/// What decisions know of devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Devices {
    inventory: Inventory,
    /// How often slices and classes have changed.
    published: u64,
    classes: HashMap<String, Arc<DeviceClass>>,
    resolver: Resolver,
    claims: HashMap<ObjectKey, Arc<ResourceClaim>>,
    /// Claims that were made for the extended resources of pods, by the pod's uid.
    special: HashMap<String, BTreeSet<ObjectKey>>,
    /// Allocations that were decided on and are not written yet, by the claim's uid.
    pending: HashMap<String, Arc<Allocation>>,
    /// Uids of claims whose devices were not made ready in time.
    overdue: HashSet<String>,
    usage: Usage,
    programs: Programs,
}

impl Devices {
    /// Takes in a slice.
    pub(crate) fn set_slice(&mut self, slice: &Arc<ResourceSlice>) {
        self.published += 1;
        self.inventory.set(slice);
    }

    /// Forgets a slice.
    pub(crate) fn remove_slice(&mut self, name: &str) {
        self.published += 1;
        self.inventory.remove(name);
    }

    /// Takes in a class.
    pub(crate) fn set_class(&mut self, class: &Arc<DeviceClass>) {
        let name = class.metadata.name.clone().unwrap_or_default();
        self.remove_class(&name);
        self.resolver.add(class);
        self.classes.insert(name, Arc::clone(class));
    }

    /// Forgets a class.
    pub(crate) fn remove_class(&mut self, name: &str) {
        self.published += 1;
        if let Some(old) = self.classes.remove(name) {
            self.resolver.remove(&old);
        }
    }

    fn class(&self, name: &str) -> Option<&DeviceClass> {
        self.classes.get(name).map(Arc::as_ref)
    }

    /// The class whose devices an extended resource stands for.
    fn class_behind(&self, resource: &str) -> Option<&DeviceClass> {
        self.class(self.resolver.class(resource)?)
    }

    /// Whether a pod gets a resource on a node as devices of a class: the node does not offer it by itself.
    pub(crate) fn are_behind(&self, resource: &str, node: &NodeInfo) -> bool {
        let offered = node.allocatable.scalars.get(resource).copied().unwrap_or(0);
        offered <= 0 && self.class_behind(resource).is_some()
    }

    /// Takes in a claim.
    pub(crate) fn set_claim(&mut self, claim: &Arc<ResourceClaim>) {
        let key = ObjectKey::of(claim.as_ref());
        let replaced = self.take_claim(&key).filter(|old| uid(old) != uid(claim));
        if let Some(other) = replaced {
            self.overdue.remove(uid(&other));
        }
        match allocation(claim) {
            Some(allocation) => {
                self.usage.add(allocation);
                // Whoever wrote it, what was to be written is not on its way any more: nothing counts twice.
                if let Some(pending) = self.pending.remove(uid(claim)) {
                    self.usage.remove(&pending.result);
                }
            }
            None => {
                self.overdue.remove(uid(claim));
            }
        }
        if let Some(pod) = owner_of_special(claim) {
            self.special.entry(pod.to_owned()).or_default().insert(key.clone());
        }
        self.claims.insert(key, Arc::clone(claim));
    }

    /// Forgets a claim.
    pub(crate) fn remove_claim(&mut self, key: &ObjectKey) {
        if let Some(old) = self.take_claim(key) {
            self.overdue.remove(uid(&old));
        }
    }

    /// Takes out a claim and what it has.
    fn take_claim(&mut self, key: &ObjectKey) -> Option<Arc<ResourceClaim>> {
        let old = self.claims.remove(key)?;
        if let Some(allocation) = allocation(&old) {
            self.usage.remove(allocation);
        }
        if let Some(pod) = owner_of_special(&old)
            && let Some(own) = self.special.get_mut(pod)
        {
            own.remove(key);
            if own.is_empty() {
                self.special.remove(pod);
            }
        }
        Some(old)
    }

    /// A claim that an earlier attempt to place the pod made for its extended resources.
    pub(crate) fn leftover(&self, pod: &PodInfo) -> Option<&ObjectKey> {
        self.special.get(&pod.uid).and_then(BTreeSet::first)
    }

    /// Notes that the devices of a claim were not made ready in time, until it is freed of them.
    pub(crate) fn set_overdue(&mut self, uid: &str) {
        self.overdue.insert(uid.to_owned());
    }

    /// Counts allocations as if they were written already.
    pub(crate) fn begin(&mut self, allocations: &[Arc<Allocation>]) {
        for allocation in allocations {
            self.usage.add(&allocation.result);
            self.pending.insert(allocation.uid.clone(), Arc::clone(allocation));
        }
    }

    /// Counts them out again: they are written, or will not be. What was decided on for the same claims since stays.
    pub(crate) fn end(&mut self, allocations: &[Arc<Allocation>]) {
        for allocation in allocations {
            let known = self.pending.iter().find(|(_, pending)| Arc::ptr_eq(pending, allocation));
            let Some(uid) = known.map(|(uid, _)| uid.clone()) else { continue };
            self.pending.remove(&uid);
            self.usage.remove(&allocation.result);
        }
    }

    /// Notes that what was decided on under the uid `from` is on its way to the claim with the uid `to`, which was made since.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(pending) = self.pending.remove(from) {
            self.pending.insert(to.to_owned(), pending);
        }
    }

    /// The claims of a pod, each once, as far as they are there.
    pub(crate) fn claims_of<'a>(&'a self, pod: &PodInfo) -> Vec<&'a ResourceClaim> {
        pod.device_claim_keys().iter().filter_map(|key| self.claims.get(key)).map(Arc::as_ref).collect()
    }

    /// Why no node can take the pod as its claims are, in upstream's words.
    pub(crate) fn problem(&self, pod: &PodInfo) -> Option<String> {
        pod.device_claims.iter().find_map(|own| {
            let Some(claim) = self.claims.get(&ObjectKey::new(&pod.key.namespace, &own.name)) else {
                return Some(format!("resourceclaim \"{}\" not found", own.name));
            };
            let key = ObjectKey::of(claim.as_ref());
            if claim.metadata.deletion_timestamp.is_some() {
                return Some(format!("resourceclaim \"{}\" is being deleted", own.name));
            }
            if own.made_for_pod && !is_controlled_by(&claim.metadata, &pod.uid) {
                return Some(format!("ResourceClaim {key} was not created for pod {} (pod is not owner)", pod.key));
            }
            if allocation(claim).is_some() {
                let full = users(claim).count() >= MAX_USERS && !is_reserved_for(claim, &pod.uid);
                return full.then(|| "resourceclaim in use".to_owned());
            }
            let pending = self.pending.contains_key(uid(claim));
            pending.then(|| format!("resource claim {key} is in the process of being allocated"))
        })
    }

    /// Whether what was decided in the copy `then` can be begun: nothing that it was decided by has changed since.
    pub(crate) fn allow(&self, then: &Self, pod: &PodInfo, allocations: &[Arc<Allocation>]) -> bool {
        let same = |key: &ObjectKey| {
            let both = self.claims.get(key).zip(then.claims.get(key));
            both.is_some_and(|(now, then)| Arc::ptr_eq(now, then))
        };
        self.published == then.published
            && self.overdue == then.overdue
            && self.leftover(pod) == then.leftover(pod)
            && self.problem(pod).is_none()
            && pod.device_claim_keys().iter().all(same)
            && allocations.iter().all(|own| self.usage.agrees_on(&then.usage, &own.result))
    }

    /// Whether the devices of a claim that has them will not become ready on their node: they failed, or took too long.
    pub(crate) fn are_lost(&self, claim: &ResourceClaim) -> bool {
        match readiness(claim) {
            Ok(true) => false,
            Ok(false) => self.overdue.contains(uid(claim)),
            Err(_) => true,
        }
    }
}

/// What a claim has.
pub(crate) fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref().and_then(|status| status.allocation.as_ref())
}

fn uid(claim: &ResourceClaim) -> &str {
    claim.metadata.uid.as_deref().unwrap_or_default()
}

/// The uid of the pod for whose extended resources a claim was made.
pub(crate) fn owner_of_special(claim: &ResourceClaim) -> Option<&str> {
    let notes = claim.metadata.annotations.as_ref()?;
    notes.get(EXTENDED_CLAIM).filter(|own| *own == "true")?;
    controller_of(&claim.metadata).map(|owner| owner.uid.as_str())
}

fn users(claim: &ResourceClaim) -> impl Iterator<Item = &str> {
    let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    users.map(|user| user.uid.as_str())
}

/// Whether a pod may use the claim already.
pub(crate) fn is_reserved_for(claim: &ResourceClaim, pod: &str) -> bool {
    users(claim).any(|user| user == pod)
}

/// Whether nobody but `pod` uses the claim, so that its devices may be taken from it.
pub(crate) fn is_idle(claim: &ResourceClaim, pod: &str) -> bool {
    users(claim).all(|user| user == pod)
}

/// Whether devices of the claim are made ready before a pod is bound (KEP-5007).
pub(crate) fn has_conditions(claim: &ResourceClaim) -> bool {
    let devices = allocation(claim).and_then(|own| own.devices.as_ref());
    let mut results = devices.into_iter().flat_map(|devices| devices.results.iter().flatten());
    results.any(|result| result.binding_conditions.as_ref().is_some_and(|own| !own.is_empty()))
}

/// Says that a claim that had devices has none any more.
pub(crate) fn deallocated(claim: &ResourceClaim) -> String {
    format!("claim {} got deallocated elsewhere in the meantime", ObjectKey::of(claim))
}

/// Whether the devices of a claim are ready for the pod to be bound.
///
/// # Errors
/// A driver says that one never will be, in upstream's words; or the claim has none any more.
pub(crate) fn readiness(claim: &ResourceClaim) -> Result<bool, String> {
    let Some(own) = allocation(claim) else { return Err(deallocated(claim)) };
    let results = own.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    for result in results {
        let wanted = result.binding_conditions.as_deref().unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let mut told = claim.status.iter().flat_map(|status| status.devices.iter().flatten());
        let told = told
            .find(|told| (&told.driver, &told.pool, &told.device) == (&result.driver, &result.pool, &result.device));
        let Some(told) = told else { return Ok(false) };
        let holds = |name: &String| {
            told.conditions.iter().flatten().find(|own| own.type_ == *name).filter(|own| own.status == "True")
        };
        let failed = result.binding_failure_conditions.iter().flatten().find_map(holds);
        if let Some(failed) = failed {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("claim {name} binding failed: reason={}, message={:?}", failed.reason, failed.message));
        }
        if !wanted.iter().all(|name| holds(name).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}
