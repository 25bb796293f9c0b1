//! All plans together, and what differs when one of them changes.

use std::collections::{BTreeMap, HashMap};

use crate::{
    endpoints::Backend,
    model::ServiceKey,
    plan::{Fate, Plan, Rule, Side, Slot},
};

/// One step of a transaction, of one family's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A map of clients and a set of backends come to be.
    AddSticky(String),
    /// A chain comes to be.
    AddChain(String),
    /// A key leaves its map or set.
    RemoveSlot(Slot),
    /// Sticky clients may return to this backend.
    AddStickyBackend(String, Backend),
    /// Sticky clients may no longer return to this backend.
    RemoveStickyBackend(String, Backend),
    /// A chain's rules are replaced.
    SetRules(String, Vec<Rule>),
    /// A key enters its map or set.
    AddSlot(Slot, Fate),
    /// A chain's rules are removed, so that nothing refers to other chains any more.
    ClearChain(String),
    /// A chain goes.
    RemoveChain(String),
    /// A map of clients and a set of backends go.
    RemoveSticky(String),
}

impl Change {
    /// Within a transaction things are made before they are referred to and removed after.
    fn phase(&self) -> u8 {
        match self {
            Self::AddSticky(_) => 0,
            Self::AddChain(_) => 1,
            Self::RemoveSlot(_) => 2,
            Self::RemoveStickyBackend(..) => 3,
            Self::AddStickyBackend(..) => 4,
            Self::SetRules(..) => 5,
            Self::AddSlot(..) => 6,
            Self::ClearChain(_) => 7,
            Self::RemoveChain(_) => 8,
            Self::RemoveSticky(_) => 9,
        }
    }
}

/// One family.
#[derive(Debug, Default)]
struct Family {
    /// Who wants a slot, and for what. Two Services may name the same external address and port, or share an endpoint's
    /// address; the first by name has it, and the next gets it when that one goes.
    owners: HashMap<Slot, BTreeMap<ServiceKey, Fate>>,
}

/// The plans of all Services.
#[derive(Debug, Default)]
pub struct State {
    plans: BTreeMap<ServiceKey, Plan>,
    v4: Family,
    v6: Family,
}

/// What differs, collected over any number of Services.
#[derive(Debug, Default)]
pub struct Changes {
    v4: FamilyChanges,
    v6: FamilyChanges,
}

type SlotChanges = BTreeMap<Slot, (Option<Fate>, Option<Fate>)>;

#[derive(Debug, Default)]
struct FamilyChanges {
    steps: Vec<Change>,
    /// What the kernel holds and what it shall hold. Slots may pass through several owners before a transaction.
    slots: SlotChanges,
}

impl Changes {
    /// The steps of one family in an order that the kernel accepts.
    pub fn steps(self, v6: bool) -> Vec<Change> {
        let FamilyChanges { mut steps, slots } = if v6 { self.v6 } else { self.v4 };
        for (slot, (before, after)) in slots.into_iter().filter(|(_, (before, after))| before != after) {
            steps.extend(before.map(|_| Change::RemoveSlot(slot.clone())));
            steps.extend(after.map(|fate| Change::AddSlot(slot, fate)));
        }
        steps.sort_by_key(Change::phase);
        steps
    }

    /// Both families' steps, IPv4 first.
    pub fn split(self) -> (Vec<Change>, Vec<Change>) {
        let Self { v4, v6 } = self;
        let v4 = Self { v4, v6: FamilyChanges::default() }.steps(false);
        (v4, Self { v4: FamilyChanges::default(), v6 }.steps(true))
    }
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
        let empty = Plan::default();
        let old = self.plans.remove(key).unwrap_or_default();
        let new = plan.as_ref().unwrap_or(&empty);
        self.v4.change(key, &old.v4, &new.v4, &mut changes.v4);
        self.v6.change(key, &old.v6, &new.v6, &mut changes.v6);
        if let Some(plan) = plan {
            self.plans.insert(key.clone(), plan);
        }
    }

    /// Everything, as changes to empty tables.
    pub fn all(&self) -> Changes {
        let mut fresh = State::default();
        let mut all = Changes::default();
        for (key, plan) in &self.plans {
            fresh.set(key, Some(plan.clone()), &mut all);
        }
        all
    }
}

impl Family {
    fn change(&mut self, key: &ServiceKey, old: &Side, new: &Side, out: &mut FamilyChanges) {
        self.slots(key, old, new, &mut out.slots);
        let changes = &mut out.steps;
        for name in new.sticky.keys().filter(|name| !old.sticky.contains_key(*name)) {
            changes.push(Change::AddSticky(name.clone()));
        }
        for (name, rules) in &new.chains {
            let before = old.chains.get(name);
            if before.is_none() {
                changes.push(Change::AddChain(name.clone()));
            }
            if before != Some(rules) {
                changes.push(Change::SetRules(name.clone(), rules.clone()));
            }
        }
        for (name, backends) in &new.sticky {
            let before = old.sticky.get(name).cloned().unwrap_or_default();
            changes.extend(before.difference(backends).map(|b| Change::RemoveStickyBackend(name.clone(), *b)));
            changes.extend(backends.difference(&before).map(|b| Change::AddStickyBackend(name.clone(), *b)));
        }
        for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
            changes.push(Change::ClearChain(name.clone()));
            changes.push(Change::RemoveChain(name.clone()));
        }
        for name in old.sticky.keys().filter(|name| !new.sticky.contains_key(*name)) {
            changes.push(Change::RemoveSticky(name.clone()));
        }
    }

    fn slots(&mut self, key: &ServiceKey, old: &Side, new: &Side, changes: &mut SlotChanges) {
        for slot in old.slots.keys().filter(|slot| !new.slots.contains_key(*slot)) {
            self.own(key, slot, None, changes);
        }
        for (slot, fate) in &new.slots {
            if old.slots.get(slot) != Some(fate) {
                self.own(key, slot, Some(fate.clone()), changes);
            }
        }
    }

    fn own(&mut self, key: &ServiceKey, slot: &Slot, fate: Option<Fate>, changes: &mut SlotChanges) {
        let owners = self.owners.entry(slot.clone()).or_default();
        let before = owners.values().next().cloned();
        match fate {
            Some(fate) => drop(owners.insert(key.clone(), fate)),
            None => drop(owners.remove(key)),
        }
        let after = owners.values().next().cloned();
        if after.is_none() {
            self.owners.remove(slot);
        }
        changes.entry(slot.clone()).or_insert((before, None)).1 = after;
    }
}
