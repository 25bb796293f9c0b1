//! What partitions of devices have in common (KEP-4815).

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::resource::v1::Device;
use rk_api::meta::Quantity as Amount;

use super::amount::{Amounts, add, amounts_of, subtract};
use super::pool::{Pool, PoolId, Slice};
use super::usage::Usage;

/// What is left of the counters of pools, as a search goes on.
pub(super) struct Counters<'a> {
    usage: &'a Usage,
    left: HashMap<&'a PoolId, BTreeMap<String, Amounts>>,
}

impl<'a> Counters<'a> {
    pub(super) fn new(usage: &'a Usage) -> Self {
        Self { usage, left: HashMap::new() }
    }

    /// Takes what a device consumes, if there is enough of it.
    pub(super) fn take(&mut self, pool: &'a Pool, device: &Device) -> bool {
        if !consumes(device) {
            return true;
        }
        let usage = self.usage;
        let left = self.left.entry(&pool.id).or_insert_with(|| left(usage, pool));
        consume(left, device);
        let short = |amount: &Amount| amount.sign() < 0;
        let touched = device.consumes_counters.iter().flatten();
        let is_short = touched
            .flat_map(|consumed| {
                let set = left.get(&consumed.counter_set);
                consumed.counters.keys().map(move |name| set.and_then(|set| set.get(name)))
            })
            .any(|amount| amount.is_none_or(short));
        if is_short {
            self.put_back(pool, device);
        }
        !is_short
    }

    /// Gives back what a device consumed.
    pub(super) fn put_back(&mut self, pool: &'a Pool, device: &Device) {
        let Some(left) = self.left.get_mut(&pool.id).filter(|_| consumes(device)) else { return };
        for consumed in device.consumes_counters.iter().flatten() {
            let Some(set) = left.get_mut(&consumed.counter_set) else { continue };
            add(set, &amounts_of(consumed.counters.iter().map(|(name, own)| (name, &own.value))));
        }
    }
}

fn consumes(device: &Device) -> bool {
    device.consumes_counters.as_ref().is_some_and(|consumed| !consumed.is_empty())
}

/// What the devices that claims have leave of a pool's counters.
fn left(usage: &Usage, pool: &Pool) -> BTreeMap<String, Amounts> {
    let mut left = pool.counters.clone();
    let taken = pool.slices.iter().flat_map(Slice::devices).filter(|device| usage.of(&pool.id, &device.name).is_some());
    taken.for_each(|device| consume(&mut left, device));
    left
}

fn consume(left: &mut BTreeMap<String, Amounts>, device: &Device) {
    for consumed in device.consumes_counters.iter().flatten() {
        let Some(set) = left.get_mut(&consumed.counter_set) else { continue };
        subtract(set, &amounts_of(consumed.counters.iter().map(|(name, own)| (name, &own.value))));
    }
}
