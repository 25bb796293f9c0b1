//! All claims, volumes and classes: which node a pod's claims allow, and which volumes they get there.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use rk_client::ObjectKey;

use super::attached::Attached;
use super::capacity::Capacities;
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::volume::{Claim, Class, Volume, VolumeProblem};

const UNREACHED: &str = "node(s) didn't match PersistentVolume's node affinity";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";

/// What a claim that waited for its first consumer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) claim: ObjectKey,
    /// A volume that is there; `None` when its provisioner makes one.
    pub(crate) volume: Option<String>,
}

/// A choice whose binding is under way.
#[derive(Debug, Clone)]
struct Promise {
    pod: ObjectKey,
    node: String,
    volume: Option<String>,
}

/// What the scheduler remembers of volumes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Storage {
    claims: HashMap<ObjectKey, Claim>,
    volumes: HashMap<String, Volume>,
    classes: HashMap<String, Class>,
    /// How many volumes of a driver a node takes, by node and driver.
    limits: HashMap<String, HashMap<String, usize>>,
    promises: HashMap<ObjectKey, Promise>,
    /// Space for volumes that are still to be made.
    pub(super) capacities: Capacities,
    pub(super) attached: Attached,
}

/// A driver, and the name of a volume of its.
type Used<'a> = (&'a str, Cow<'a, str>);

fn keys(pod: &PodInfo) -> impl Iterator<Item = ObjectKey> {
    let mut seen = HashSet::new();
    let names = pod.claims.iter().filter(move |name| seen.insert(name.as_str()));
    names.map(move |name| ObjectKey::new(&pod.key.namespace, name))
}

impl Storage {
    pub(crate) fn set_claim(&mut self, claim: &PersistentVolumeClaim) {
        let (key, claim) = (ObjectKey::of(claim), Claim::new(claim));
        if claim.volume.is_some() {
            self.promises.remove(&key);
        }
        self.claims.insert(key, claim);
    }

    pub(crate) fn remove_claim(&mut self, key: &ObjectKey) {
        // Nor is anything promised to a later one of its name.
        self.promises.remove(key);
        self.claims.remove(key);
    }

    pub(crate) fn set_volume(&mut self, volume: &PersistentVolume) {
        self.volumes.insert(volume.metadata.name.clone().unwrap_or_default(), Volume::new(volume));
    }

    pub(crate) fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    pub(crate) fn set_class(&mut self, class: &StorageClass) {
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), Class::new(class));
    }

    pub(crate) fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    /// Takes over what the drivers of a node say of how much it takes.
    pub(crate) fn set_limits(&mut self, node: &CSINode) {
        let of_driver = node.spec.drivers.iter().filter_map(|driver| {
            let count = driver.allocatable.as_ref()?.count?;
            Some((driver.name.clone(), usize::try_from(count).ok()?))
        });
        self.limits.insert(node.metadata.name.clone().unwrap_or_default(), of_driver.collect());
    }

    pub(crate) fn remove_limits(&mut self, node: &str) {
        self.limits.remove(node);
    }

    /// Counts choices for a pod as made until its claims are bound or [`release`](Self::release) takes them back.
    pub(crate) fn promise(&mut self, pod: &ObjectKey, node: &str, choices: &[Choice]) {
        for Choice { claim, volume } in choices {
            let promise = Promise { pod: pod.clone(), node: node.to_owned(), volume: volume.clone() };
            self.promises.insert(claim.clone(), promise);
        }
    }

    /// Takes back what was promised to a pod.
    pub(crate) fn release(&mut self, pod: &ObjectKey) {
        self.promises.retain(|_, promise| promise.pod != *pod);
    }

    /// What keeps the pod's volumes from being anywhere.
    pub(crate) fn problem(&self, pod: &PodInfo) -> Option<VolumeProblem> {
        // One that cannot be had at all is told before one that is not bound yet.
        let mut unbound = false;
        let found = pod.claims.iter().find_map(|name| {
            let made = pod.made_claims.contains(name);
            let key = ObjectKey::new(&pod.key.namespace, name);
            let Some(claim) = self.claims.get(&key) else {
                let missing = if made { VolumeProblem::Unmade } else { VolumeProblem::Missing };
                return Some(missing(name.clone()));
            };
            if let Some(volume) = &claim.lost {
                return Some(VolumeProblem::Lost(name.clone(), volume.clone()));
            }
            if claim.deleting {
                return Some(VolumeProblem::Deleting(name.clone()));
            }
            if made && claim.owner.as_ref() != Some(&pod.uid) {
                return Some(VolumeProblem::Foreign(key, pod.key.clone()));
            }
            let late = !claim.named && self.classes.get(&claim.class).is_some_and(|class| class.late);
            unbound |= claim.volume.is_none() && !late;
            None
        });
        found.or(unbound.then_some(VolumeProblem::Unbound))
    }

    /// What the pod's waiting claims would get on the node, or why it cannot run there.
    pub(crate) fn choose(&self, pod: &PodInfo, node: &NodeInfo) -> Result<Vec<Choice>, &'static str> {
        let mut waiting: Vec<(ObjectKey, &Claim)> = Vec::new();
        for key in keys(pod) {
            let Some(claim) = self.claims.get(&key) else { continue };
            match claim.volume.as_ref().map(|name| self.volumes.get(name)) {
                None => waiting.push((key, claim)),
                Some(None) => return Err(GONE),
                Some(Some(volume)) if !volume.is_reached_from(node) => return Err(UNREACHED),
                Some(Some(_)) => {}
            }
        }
        // The least first, so that it does not take what only the larger ones could use.
        waiting.sort_by_key(|(_, claim)| claim.size);
        let mut choices = Vec::new();
        for (key, claim) in waiting {
            choices.extend(self.choose_one(key, claim, node, &choices)?);
        }
        Ok(choices)
    }

    fn choose_one(
        &self,
        key: ObjectKey,
        claim: &Claim,
        node: &NodeInfo,
        chosen: &[Choice],
    ) -> Result<Option<Choice>, &'static str> {
        if let Some(promise) = self.promises.get(&key) {
            return if promise.node == node.name { Ok(None) } else { Err(NOTHING_TO_BIND) };
        }
        if claim.selected_node.as_ref().is_some_and(|selected| *selected != node.name) {
            return Err(NOTHING_TO_BIND);
        }
        let found = match claim.selected_node {
            Some(_) => None,
            None => self.find(&key, claim, node, chosen),
        };
        if found.is_some() {
            return Ok(Some(Choice { claim: key, volume: found }));
        }
        let Some(class) = self.classes.get(&claim.class).filter(|class| class.provisions_on(node)) else {
            return Err(NOTHING_TO_BIND);
        };
        if !self.capacities.suffice(&class.provisioner, &claim.class, claim.size, node) {
            return Err(NO_SPACE);
        }
        Ok(Some(Choice { claim: key, volume: None }))
    }

    /// The volume for a claim on a node: the one promised to it, else the smallest free one.
    fn find(&self, key: &ObjectKey, claim: &Claim, node: &NodeInfo, chosen: &[Choice]) -> Option<String> {
        let taken = |name: &String| {
            chosen.iter().any(|choice| choice.volume.as_ref() == Some(name))
                || self.promises.values().any(|promise| promise.volume.as_ref() == Some(name))
        };
        let usable = self
            .volumes
            .iter()
            .filter(|(name, volume)| volume.suits(key, claim) && volume.is_reached_from(node) && !taken(name));
        let best = usable.min_by_key(|&(name, volume)| (!volume.is_promised(), volume.size, name.as_str()));
        best.map(|(name, _)| name.clone())
    }

    /// The pod's claims that only one pod may use.
    pub(crate) fn exclusive<'a>(&self, pod: &'a PodInfo) -> Vec<&'a str> {
        let one_pod = |name: &&String| {
            self.claims.get(&ObjectKey::new(&pod.key.namespace, name.as_str())).is_some_and(|claim| claim.exclusive)
        };
        pod.claims.iter().filter(one_pod).map(String::as_str).collect()
    }

    /// Whether the drivers of the node take the pod's volumes besides those that are there.
    pub(crate) fn within_limits(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let Some(limits) = self.limits.get(&node.name) else { return true };
        let wanted: HashSet<Used<'_>> = self.used_by(pod).filter(|(driver, _)| limits.contains_key(*driver)).collect();
        // What is there is counted for those alone who need to know.
        if wanted.is_empty() {
            return true;
        }
        let attached = self.attached.on(&node.name).filter_map(|name| self.of_driver(name));
        let there = node.pods.values().flat_map(|other| self.used_by(other)).chain(attached);
        let there: HashSet<Used<'_>> = there.collect();
        limits.iter().all(|(driver, limit)| {
            let new = wanted.difference(&there).filter(|(own, _)| *own == driver.as_str()).count();
            new == 0 || there.iter().filter(|(own, _)| *own == driver.as_str()).count() + new <= *limit
        })
    }

    /// The driver of a volume, and what that calls it.
    fn of_driver(&self, name: &str) -> Option<Used<'_>> {
        let (driver, handle) = self.volumes.get(name)?.handle.as_ref()?;
        Some((driver.as_str(), Cow::Borrowed(handle.as_str())))
    }

    /// Drivers and names of a pod's volumes; one that is still to be made goes by its claim.
    fn used_by<'a>(&'a self, pod: &PodInfo) -> impl Iterator<Item = Used<'a>> {
        keys(pod).filter_map(move |key| {
            let claim = self.claims.get(&key)?;
            match &claim.volume {
                Some(name) => self.of_driver(name),
                None => Some((self.classes.get(&claim.class)?.provisioner.as_str(), Cow::Owned(key.to_string()))),
            }
        })
    }

    /// Whether all of the pod's claims are bound.
    pub(crate) fn all_bound(&self, pod: &PodInfo) -> bool {
        keys(pod).all(|key| self.claims.get(&key).is_some_and(|claim| claim.volume.is_some()))
    }

    /// Whether a claim of a pod whose binding is under way will not be bound any more: it is gone, as may be the volume that it was to
    /// get, or its provisioner wants another node.
    pub(crate) fn is_given_up(&self, pod: &PodInfo) -> bool {
        keys(pod).any(|key| {
            let Some(claim) = self.claims.get(&key) else { return true };
            let waits = match self.promises.get(&key) {
                Some(promise) => {
                    let found = promise.volume.as_ref().is_some_and(|name| self.volumes.contains_key(name));
                    found || promise.pod != pod.key
                }
                None => false,
            };
            claim.volume.is_none() && claim.selected_node.is_none() && !waits
        })
    }
}

#[cfg(test)]
mod tests;
