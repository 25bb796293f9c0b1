//! How many pods to add or remove, and which to remove.

use crate::pods::{crowd_of, deletion_order};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Create(usize),
    Delete(usize),
}

/// From `active` pods to the wanted number.
pub(crate) fn plan(active: usize, wanted: i32) -> Step {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    match active.cmp(&wanted) {
        std::cmp::Ordering::Less => Step::Create(wanted - active),
        std::cmp::Ordering::Equal => Step::Nothing,
        std::cmp::Ordering::Greater => Step::Delete(active - wanted),
    }
}

/// The `count` pods whose loss hurts least.
pub(crate) fn victims(mut active: Vec<Arc<Pod>>, related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count < active.len() {
        let crowd = crowd_of(related.iter());
        active.sort_by(|a, b| deletion_order(a, b, &crowd, now));
        active.truncate(count);
    }
    active
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_made_up_and_never_negative() {
        assert_eq!(plan(0, 3), Step::Create(3));
        assert_eq!(plan(3, 3), Step::Nothing);
        assert_eq!(plan(5, 3), Step::Delete(2));
        assert_eq!(plan(1, -1), Step::Delete(1));
    }
}
