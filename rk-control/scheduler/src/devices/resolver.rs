//! Which class stands behind an extended resource (KEP-5004).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::resource::v1::DeviceClass;
use rk_api::meta::CLASS_RESOURCE;

/// Of several classes the newest comes first, then the name: so that one class can take the place of another.
type Rank = (Reverse<Option<Timestamp>>, String);

/// Classes by the extended resource that they name.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolver(HashMap<String, BTreeSet<Rank>>);

impl Resolver {
    /// Takes in a class.
    pub(super) fn add(&mut self, class: &DeviceClass) {
        if let Some(resource) = &class.spec.extended_resource_name {
            self.0.entry(resource.clone()).or_default().insert(rank(class));
        }
    }

    /// Forgets a class as it was taken in.
    pub(super) fn remove(&mut self, class: &DeviceClass) {
        let Some(resource) = &class.spec.extended_resource_name else { return };
        let Some(classes) = self.0.get_mut(resource) else { return };
        classes.remove(&rank(class));
        if classes.is_empty() {
            self.0.remove(resource);
        }
    }

    /// The name of the class that a resource stands for, which need not be there when the name says so itself.
    pub(super) fn class<'a>(&'a self, resource: &'a str) -> Option<&'a str> {
        if let Some(class) = resource.strip_prefix(CLASS_RESOURCE) {
            return Some(class);
        }
        self.0.get(resource)?.first().map(|(_, class)| class.as_str())
    }
}

fn rank(class: &DeviceClass) -> Rank {
    let created = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (Reverse(created), class.metadata.name.clone().unwrap_or_default())
}
