//! Which devices claims have.

use std::collections::HashMap;

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequestAllocationResult};

use super::amount::{Amounts, add, amounts_of, subtract};
use super::pool::PoolId;

/// What claims have of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many have it as a whole: one, unless somebody else than a scheduler wrote allocations.
    pub(crate) whole: usize,
    /// How many share it.
    pub(crate) shares: usize,
    /// What those who share it have of its capacity.
    pub(crate) capacity: Amounts,
}

/// What all claims have. Access of administrators takes nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage(HashMap<PoolId, HashMap<String, Taken>>);

impl Usage {
    /// What claims have of a device.
    pub(crate) fn of(&self, pool: &PoolId, device: &str) -> Option<&Taken> {
        self.0.get(pool).and_then(|pool| pool.get(device))
    }

    /// Whether claims have the same of the pools of an allocation as `other` says.
    pub(crate) fn agrees_on(&self, other: &Self, allocation: &AllocationResult) -> bool {
        results(allocation).map(pool).all(|pool| self.0.get(&pool) == other.0.get(&pool))
    }

    /// Counts an allocation in.
    pub(crate) fn add(&mut self, allocation: &AllocationResult) {
        for result in results(allocation) {
            let taken = self.0.entry(pool(result)).or_default().entry(result.device.clone()).or_default();
            match result.share_id {
                Some(_) => {
                    taken.shares += 1;
                    add(&mut taken.capacity, &capacity(result));
                }
                None => taken.whole += 1,
            }
        }
    }

    /// Counts an allocation out that was counted in.
    pub(crate) fn remove(&mut self, allocation: &AllocationResult) {
        for result in results(allocation) {
            let pool = pool(result);
            let Some(devices) = self.0.get_mut(&pool) else { continue };
            let Some(taken) = devices.get_mut(&result.device) else { continue };
            match result.share_id {
                Some(_) => {
                    taken.shares = taken.shares.saturating_sub(1);
                    subtract(&mut taken.capacity, &capacity(result));
                }
                None => taken.whole = taken.whole.saturating_sub(1),
            }
            if taken.whole == 0 && taken.shares == 0 {
                devices.remove(&result.device);
            }
            if devices.is_empty() {
                self.0.remove(&pool);
            }
        }
    }
}

fn results(allocation: &AllocationResult) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let all = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    all.filter(|result| result.admin_access != Some(true))
}

fn pool(result: &DeviceRequestAllocationResult) -> PoolId {
    PoolId { driver: result.driver.clone(), name: result.pool.clone() }
}

fn capacity(result: &DeviceRequestAllocationResult) -> Amounts {
    amounts_of(result.consumed_capacity.iter().flatten())
}
