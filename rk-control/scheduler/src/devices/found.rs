//! What a search sees on a node, and what it finds there.

use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use rk_cel::{Failure, Value};

use super::amount::Amounts;
use super::plan::Plan;
use super::pool::{Pool, State};
use crate::model::NodeInfo;

/// Why a search ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something is wrong with a claim or a class: no node is to be asked.
    Everywhere(String),
    /// This node does not serve.
    Here(String),
}

/// Claim, request and alternative, by their places.
pub(super) type Place = (usize, usize, usize);

/// A device that is to be allocated.
#[derive(Debug, Clone)]
pub(crate) struct Pick<'a> {
    pub(super) place: Place,
    pub(super) pool: &'a Pool,
    pub(super) slice: &'a ResourceSlice,
    pub(super) device: &'a Device,
    /// What is taken of a device that others share.
    pub(super) portion: Option<Amounts>,
}

/// What a node has for the claims of a pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found<'a> {
    /// The devices of each claim.
    pub(super) picks: Vec<Vec<Pick<'a>>>,
}

/// A device that the node reaches.
pub(super) struct Seen<'a> {
    pub(super) pool: &'a Pool,
    pub(super) slice: &'a ResourceSlice,
    pub(super) device: &'a Device,
    /// As selectors see it, once one has asked.
    pub(super) value: Option<Result<Value<'a>, Failure>>,
    /// Whether another pod's claim has it as a whole.
    pub(super) used: bool,
    /// The claims of this pod that have it as a whole.
    pub(super) holders: Vec<usize>,
    /// How many share it, those of this pod included.
    pub(super) shares: usize,
    /// What those have of its capacity.
    pub(super) shared: Amounts,
}

impl Seen<'_> {
    pub(super) fn is_shared(&self) -> bool {
        self.device.allow_multiple_allocations == Some(true)
    }
}

/// The devices of pools that may be allocated from.
pub(super) fn seen<'a>(plan: &Plan<'a>, pools: &[&'a Pool], node: &'a NodeInfo) -> Vec<Seen<'a>> {
    let whole = pools.iter().copied().filter(|pool| pool.state == State::Whole);
    let slices = whole.flat_map(|pool| pool.slices.iter().map(move |slice| (pool, slice)));
    let devices = slices.flat_map(|(pool, slice)| slice.devices_of(node).map(move |device| (pool, slice, device)));
    devices
        .map(|(pool, slice, device)| {
            let taken = plan.devices.usage.of(&pool.id, &device.name);
            Seen {
                pool,
                slice: &slice.object,
                device,
                value: None,
                used: taken.is_some_and(|taken| taken.whole > 0),
                holders: Vec::new(),
                shares: taken.map_or(0, |taken| taken.shares),
                shared: taken.map(|taken| taken.capacity.clone()).unwrap_or_default(),
            }
        })
        .collect()
}
