//! What devices of a claim must have in common, or not.

use k8s_openapi::api::resource::v1::{Device, DeviceConstraint};
use rk_cel::device::Attribute;

use super::plan::Ask;
use super::selector::worth;

/// A constraint and what the devices picked so far have of it. Devices come and go like a stack.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    requests: &'a [String],
    attribute: &'a str,
    /// Whether all have one value, or each its own.
    same: bool,
    held: Vec<Attribute<'a>>,
}

impl<'a> Rule<'a> {
    pub(super) fn new(constraint: &'a DeviceConstraint) -> Self {
        let matched = constraint.match_attribute.as_deref();
        Self {
            requests: constraint.requests.as_deref().unwrap_or_default(),
            attribute: matched.or(constraint.distinct_attribute.as_deref()).unwrap_or_default(),
            same: matched.is_some(),
            held: Vec::new(),
        }
    }

    fn concerns(&self, ask: &Ask<'_>) -> bool {
        self.requests.is_empty() || ask.is_named(self.requests)
    }

    /// Takes in a device, if it may join those that are there. One without the attribute joins nobody.
    pub(super) fn admit(&mut self, ask: &Ask<'_>, driver: &str, device: &'a Device) -> bool {
        if !self.concerns(ask) {
            return true;
        }
        let Some(own) = attribute(driver, device, self.attribute) else { return false };
        let joins = match self.same {
            true => self.held.first().is_none_or(|first| *first == own),
            false => !self.held.contains(&own),
        };
        if joins {
            self.held.push(own);
        }
        joins
    }

    /// Forgets the device that came last.
    pub(super) fn withdraw(&mut self, ask: &Ask<'_>) {
        if self.concerns(ask) {
            self.held.pop();
        }
    }
}

/// An attribute by its full name; a device may leave out its driver's domain.
fn attribute<'a>(driver: &str, device: &'a Device, name: &str) -> Option<Attribute<'a>> {
    let own = device.attributes.as_ref()?;
    let short = || name.split_once('/').filter(|(domain, _)| *domain == driver).and_then(|(_, id)| own.get(id));
    own.get(name).or_else(short).and_then(worth)
}
