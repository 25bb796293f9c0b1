//! The places of all caches, found by what their resources are called: nearly every lookup of admission begins here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rk_api::resources::Resource;

use super::key::{plural_of_prefix, prefix, prefix_of_key};
use super::slot::Slot;

/// By plural: nearly always one.
#[derive(Default)]
pub(super) struct Slots(RwLock<HashMap<Box<str>, Vec<Arc<Slot>>>>);

impl Slots {
    /// The place of a resource that somebody asked for.
    pub(super) fn known(&self, hub: &Resource) -> Option<Arc<Slot>> {
        self.find(&hub.plural, |slot| slot.is_of(hub))
    }

    /// The place of a resource, made on first use. One of another form is from a request that knew the definition as it was before a
    /// change: its cache ends, as others of that form did with the change.
    pub(super) fn of(&self, hub: &Arc<Resource>) -> Arc<Slot> {
        if let Some(slot) = self.known(hub).filter(|slot| slot.has_form_of(hub)) {
            return slot;
        }
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let all = slots.entry(Box::from(&*hub.plural)).or_default();
        // Another may have come first.
        if let Some(slot) = all.iter().find(|slot| slot.is_of(hub) && slot.has_form_of(hub)) {
            return Arc::clone(slot);
        }
        for stale in all.extract_if(.., |slot| slot.is_of(hub)) {
            stale.retire();
        }
        let slot = Arc::new(Slot::new(Arc::clone(hub), prefix(hub)));
        all.push(Arc::clone(&slot));
        slot
    }

    /// Takes the place of a resource out and ends its cache. In one step: no change passes by a cache that seems to follow still.
    pub(super) fn retire(&self, hub: &Resource) {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = slots.get_mut(&*hub.plural) else { return };
        if let Some(at) = all.iter().position(|slot| slot.is_of(hub)) {
            all.swap_remove(at).retire();
        }
    }

    /// The place that an object's key belongs to.
    pub(super) fn of_key(&self, key: &str) -> Option<Arc<Slot>> {
        let prefix = prefix_of_key(key)?;
        self.find(plural_of_prefix(prefix), |slot| slot.prefix() == prefix)
    }

    /// All places.
    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }

    fn find(&self, plural: &str, is_it: impl Fn(&Slot) -> bool) -> Option<Arc<Slot>> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(plural)?.iter().find(|slot| is_it(slot)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_api::resources::Registry;
    use serde_json::json;

    #[test]
    fn resources_of_one_plural_are_told_apart_by_their_groups_and_not_by_their_versions() {
        let registry = Registry::builtin();
        let row = |group, version, plural| registry.get(group, version, plural).unwrap();
        let (core, events) = (row("", "v1", "events"), row("events.k8s.io", "v1", "events"));
        let slots = Slots::default();
        assert!(slots.known(core).is_none() && slots.of_key("/registry/core/events/n/a").is_none());
        let slot = slots.of(core);
        assert!(Arc::ptr_eq(&slot, &slots.of(core)));
        assert!(slots.known(events).is_none());
        assert!(!Arc::ptr_eq(&slot, &slots.of(events)));
        assert!(slots.of_key("/registry/core/events/n/a").is_some_and(|own| Arc::ptr_eq(&own, &slot)));
        assert!(slots.of_key("/registry/core/pods/n/a").is_none());
        assert_eq!(slots.all().len(), 2);
        slots.retire(core);
        assert!(slots.known(core).is_none() && slots.known(events).is_some());
    }

    #[test]
    fn a_place_has_the_form_of_the_definition_that_is_asked_with() {
        let rows = || {
            let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {}}});
            let names = json!({"plural": "foos", "kind": "Foo"});
            let spec = json!({"group": "example.com", "names": names, "scope": "Cluster", "versions": [version]});
            rk_api::custom::rows(&json!({"spec": spec})).pop().unwrap()
        };
        let (first, changed) = (Arc::new(rows()), Arc::new(rows()));
        let slots = Slots::default();
        let slot = slots.of(&first);
        // As it is with each change of any other definition.
        assert!(Arc::ptr_eq(&slot, &slots.of(&Arc::new(Resource::clone(&first)))));
        let new = slots.of(&changed);
        assert!(!Arc::ptr_eq(&slot, &new) && !slot.has_form_of(&changed));
        assert!(Arc::ptr_eq(&new, &slots.of(&changed)));
        assert_eq!(slots.all().len(), 1);
    }
}
