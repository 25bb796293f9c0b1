//! All plans together, and what differs when one of them changes.
//!
//! Everything that belongs to one Service is an element of a map or set; chains stand for *classes*, kinds of balancing that any
//! number of Services share. So the kernel's own work for a change does not depend on how many Services there are: it validates
//! jumps only when a class comes or goes, and classes are few.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    endpoints::Backend,
    model::ServiceKey,
    plan::{Fate, Group, Plan, Serving, Side, Slot, Traffic},
};

/// A kind of balancing: one chain in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Frontends are the node's own addresses.
    pub node_port: bool,
    /// Which backends, and whether to masquerade.
    pub traffic: Traffic,
    /// Number of backends in the cluster; 0 when they are not used.
    pub cluster: u32,
    /// Number of backends on this node; 0 when they are not used.
    pub local: u32,
    /// Milliseconds that clients are remembered.
    pub sticky_ms: Option<u64>,
    /// Admitted sources; empty is everybody.
    pub ranges: Vec<IpNet>,
}

/// An element of a map or set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Frontend: address (`None` for the node's own), protocol number, port.
    Frontend(Option<IpAddr>, u8, u16),
    /// Group and index.
    Endpoint(u32, u32),
    /// Group and backend that a client may return to.
    Backend(u32, Backend),
    /// Rejected address, protocol number, port.
    Rejected(Option<IpAddr>, u8, u16),
    /// Dropped address, protocol number, port.
    Dropped(Option<IpAddr>, u8, u16),
    /// Address of a Service.
    ClusterIp(IpAddr),
    /// Pod of this node.
    Hairpin(IpAddr),
}

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Group and number of a class.
    Group(u32, u32),
    /// A backend.
    Backend(Backend),
    /// Nothing: a set.
    None,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A chain comes to be.
    AddClass(u32, Class),
    /// An element goes.
    Remove(Key),
    /// An element comes to be.
    Add(Key, Target),
    /// A chain goes.
    RemoveClass(u32, Class),
}

/// What differs, collected over any number of Services.
#[derive(Debug, Default)]
pub struct Changes {
    v4: FamilyChanges,
    v6: FamilyChanges,
}

/// Before and after, so that what passes through several states in one transaction is written once.
#[derive(Debug, Default)]
struct FamilyChanges {
    classes: BTreeMap<u32, (Class, bool, bool)>,
    elements: BTreeMap<Key, (Option<Target>, Option<Target>)>,
}

impl FamilyChanges {
    fn class(&mut self, number: u32, class: &Class, present: bool) {
        self.classes.entry(number).or_insert_with(|| (class.clone(), !present, present)).2 = present;
    }

    fn element(&mut self, key: Key, before: Option<Target>, after: Option<Target>) {
        self.elements.entry(key).or_insert((before, None)).1 = after;
    }

    /// Things are made before they are referred to, and removed after.
    fn steps(self) -> Vec<Change> {
        let (mut first, mut removals, mut additions, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, (class, before, after)) in self.classes {
            match (before, after) {
                (false, true) => first.push(Change::AddClass(number, class)),
                (true, false) => last.push(Change::RemoveClass(number, class)),
                _ => {}
            }
        }
        for (key, (before, after)) in self.elements.into_iter().filter(|(_, (before, after))| before != after) {
            removals.extend(before.map(|_| Change::Remove(key.clone())));
            additions.extend(after.map(|target| Change::Add(key, target)));
        }
        [first, removals, additions, last].concat()
    }
}

impl Changes {
    /// The steps of IPv4 and of IPv6, each in an order that the kernel accepts.
    pub fn steps(self) -> (Vec<Change>, Vec<Change>) {
        (self.v4.steps(), self.v6.steps())
    }
}

/// The plans of all Services.
#[derive(Debug, Default)]
pub struct State {
    plans: BTreeMap<ServiceKey, Plan>,
    v4: Family,
    v6: Family,
}

impl State {
    /// The plan of a Service.
    pub fn plan(&self, key: &ServiceKey) -> Option<&Plan> {
        self.plans.get(key)
    }

    /// All plans.
    pub fn plans(&self) -> impl Iterator<Item = (&ServiceKey, &Plan)> {
        self.plans.iter()
    }

    /// Replaces or removes the plan of a Service and adds what differs to `changes`.
    pub fn set(&mut self, key: &ServiceKey, plan: Option<Plan>, changes: &mut Changes) {
        let (empty, new) = (Side::default(), plan.as_ref());
        self.v4.set(key, new.map_or(&empty, |plan| &plan.v4), &mut changes.v4);
        self.v6.set(key, new.map_or(&empty, |plan| &plan.v6), &mut changes.v6);
        match plan {
            Some(plan) => drop(self.plans.insert(key.clone(), plan)),
            None => drop(self.plans.remove(key)),
        }
    }

    /// Everything, as changes to empty tables.
    pub fn all(&self) -> Changes {
        Changes { v4: self.v4.all(), v6: self.v6.all() }
    }

    /// Number of classes of IPv4 and IPv6.
    pub(crate) fn classes(&self) -> (usize, usize) {
        (self.v4.classes.len(), self.v6.classes.len())
    }
}

/// What a Service wants of a key, resolved to numbers.
type Claim = (Key, Target);

/// One family.
#[derive(Debug, Default)]
struct Family {
    services: HashMap<ServiceKey, Claims>,
    /// Who wants a key, and for what. Two Services may name the same external address and port, or share an endpoint's address;
    /// the first by name has it, and the next gets it when that one goes.
    owners: HashMap<Key, BTreeMap<ServiceKey, Target>>,
    classes: HashMap<Class, (u32, usize)>,
    next_class: u32,
    next_group: u32,
}

/// What one Service has in the maps.
#[derive(Debug, Default)]
struct Claims {
    groups: BTreeMap<String, Live>,
    shared: BTreeMap<Key, (Target, Option<Class>)>,
}

/// A group's backends by their index. The local ones are a group of their own whose number is one higher.
#[derive(Debug, Default)]
struct Live {
    number: u32,
    cluster: Vec<Backend>,
    local: Vec<Backend>,
    sticky: BTreeSet<(u32, Backend)>,
}

impl Family {
    fn set(&mut self, key: &ServiceKey, new: &Side, out: &mut FamilyChanges) {
        let mut claims = self.services.remove(key).unwrap_or_default();
        for (name, group) in &new.groups {
            let live = claims.groups.entry(name.clone()).or_insert_with(|| {
                // Even numbers, never used again: remembered clients of a Service that went must not meet its successor.
                self.next_group = self.next_group.wrapping_add(2);
                Live { number: self.next_group, ..Live::default() }
            });
            live.become_like(group, out);
        }
        let wanted = self.resolve(&claims, new, out);
        self.claim(key, &mut claims.shared, wanted, out);
        claims.groups.retain(|name, live| {
            let stays = new.groups.contains_key(name);
            if !stays {
                live.become_like(&Group::default(), out);
            }
            stays
        });
        if !claims.groups.is_empty() || !claims.shared.is_empty() {
            self.services.insert(key.clone(), claims);
        }
    }

    /// The slots with groups and classes as numbers; each class is counted once for each key.
    fn resolve(
        &mut self,
        claims: &Claims,
        new: &Side,
        out: &mut FamilyChanges,
    ) -> BTreeMap<Key, (Target, Option<Class>)> {
        let mut wanted = BTreeMap::new();
        for (slot, fate) in &new.slots {
            let ((key, target), class) = match (slot, fate) {
                (Slot::Frontend(ip, protocol, port), Fate::Serve(serving)) => {
                    let Some(live) = claims.groups.get(&serving.group) else { continue };
                    let class = live.class(ip.is_none(), serving);
                    let number = self.count(&class, out);
                    let key = Key::Frontend(*ip, protocol.number(), *port);
                    ((key, Target::Group(live.number, number)), Some(class))
                }
                (slot, fate) => match plain(slot, fate) {
                    Some(claim) => (claim, None),
                    None => continue,
                },
            };
            wanted.insert(key, (target, class));
        }
        wanted
    }

    /// Gives back what is no longer wanted and takes what is.
    fn claim(
        &mut self,
        service: &ServiceKey,
        held: &mut BTreeMap<Key, (Target, Option<Class>)>,
        wanted: BTreeMap<Key, (Target, Option<Class>)>,
        out: &mut FamilyChanges,
    ) {
        for (key, (_, class)) in std::mem::take(held) {
            if !wanted.contains_key(&key) {
                self.own(service, &key, None, out);
            }
            if let Some(class) = class {
                self.discount(&class, out);
            }
        }
        for (key, (target, _)) in &wanted {
            self.own(service, key, Some(*target), out);
        }
        *held = wanted;
    }

    fn own(&mut self, service: &ServiceKey, key: &Key, target: Option<Target>, out: &mut FamilyChanges) {
        let owners = self.owners.entry(key.clone()).or_default();
        let before = owners.values().next().copied();
        match target {
            Some(target) => drop(owners.insert(service.clone(), target)),
            None => drop(owners.remove(service)),
        }
        let after = owners.values().next().copied();
        if after.is_none() {
            self.owners.remove(key);
        }
        if before != after {
            out.element(key.clone(), before, after);
        }
    }

    fn count(&mut self, class: &Class, out: &mut FamilyChanges) -> u32 {
        if let Some((number, count)) = self.classes.get_mut(class) {
            *count += 1;
            return *number;
        }
        self.next_class = self.next_class.wrapping_add(1);
        self.classes.insert(class.clone(), (self.next_class, 1));
        out.class(self.next_class, class, true);
        self.next_class
    }

    fn discount(&mut self, class: &Class, out: &mut FamilyChanges) {
        let Some((number, count)) = self.classes.get_mut(class) else { return };
        *count -= 1;
        if *count == 0 {
            out.class(*number, class, false);
            self.classes.remove(class);
        }
    }

    fn all(&self) -> FamilyChanges {
        let mut all = FamilyChanges::default();
        for (class, (number, _)) in &self.classes {
            all.class(*number, class, true);
        }
        for (key, owners) in &self.owners {
            all.element(key.clone(), None, owners.values().next().copied());
        }
        for live in self.services.values().flat_map(|claims| claims.groups.values()) {
            for (key, target) in live.elements() {
                all.element(key, None, Some(target));
            }
        }
        all
    }
}

fn plain(slot: &Slot, fate: &Fate) -> Option<Claim> {
    let key = match (slot, fate) {
        (Slot::Refused(ip, protocol, port), Fate::Reject) => Key::Rejected(*ip, protocol.number(), *port),
        (Slot::Refused(ip, protocol, port), Fate::Drop) => Key::Dropped(*ip, protocol.number(), *port),
        (Slot::ClusterIp(ip), _) => Key::ClusterIp(*ip),
        (Slot::Hairpin(ip), _) => Key::Hairpin(*ip),
        _ => return None,
    };
    Some((key, Target::None))
}

impl Live {
    fn class(&self, node_port: bool, serving: &Serving) -> Class {
        let uses_cluster = serving.traffic != Traffic::Local;
        let uses_local = matches!(serving.traffic, Traffic::Local | Traffic::ExternalLocal);
        Class {
            node_port,
            traffic: serving.traffic,
            cluster: if uses_cluster { self.cluster.len() as u32 } else { 0 },
            local: if uses_local { self.local.len() as u32 } else { 0 },
            sticky_ms: serving.sticky_ms,
            ranges: serving.ranges.clone(),
        }
    }

    fn become_like(&mut self, group: &Group, out: &mut FamilyChanges) {
        rearrange(self.number, &mut self.cluster, &group.cluster, out);
        rearrange(self.number + 1, &mut self.local, &group.local, out);
        let mut sticky = BTreeSet::new();
        if group.sticky {
            sticky.extend(group.cluster.iter().map(|backend| (self.number, *backend)));
            sticky.extend(group.local.iter().map(|backend| (self.number + 1, *backend)));
        }
        for (number, backend) in self.sticky.difference(&sticky) {
            out.element(Key::Backend(*number, *backend), Some(Target::None), None);
        }
        for (number, backend) in sticky.difference(&self.sticky) {
            out.element(Key::Backend(*number, *backend), None, Some(Target::None));
        }
        self.sticky = sticky;
    }

    fn elements(&self) -> impl Iterator<Item = Claim> {
        let indexed = |number: u32, backends: &[Backend]| -> Vec<Claim> {
            let all = backends.iter().zip(0u32..);
            all.map(|(backend, index)| (Key::Endpoint(number, index), Target::Backend(*backend))).collect()
        };
        let sticky = self.sticky.iter().map(|(number, backend)| (Key::Backend(*number, *backend), Target::None));
        indexed(self.number, &self.cluster).into_iter().chain(indexed(self.number + 1, &self.local)).chain(sticky)
    }
}

/// Makes the list hold exactly these backends, with as few entries changed as possible: the last one fills a gap.
fn rearrange(number: u32, list: &mut Vec<Backend>, wanted: &BTreeSet<Backend>, out: &mut FamilyChanges) {
    let before = list.clone();
    let mut at = 0;
    while let Some(backend) = list.get(at) {
        if wanted.contains(backend) {
            at += 1;
        } else {
            list.swap_remove(at);
        }
    }
    let known: BTreeSet<Backend> = list.iter().copied().collect();
    list.extend(wanted.difference(&known));
    for index in 0..before.len().max(list.len()) {
        let (old, new) = (before.get(index).copied(), list.get(index).copied());
        if old != new {
            out.element(Key::Endpoint(number, index as u32), old.map(Target::Backend), new.map(Target::Backend));
        }
    }
}
