//! Gives every node its own range of pod addresses, in a dual-stack cluster one of each family.

use crate::context::{Context, PodRange};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::Patch;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, Recorder};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const FULL_RETRY: Duration = Duration::from_secs(30);

struct Controller {
    nodes: Informer<Node>,
    recorder: Recorder,
    ranges: Vec<PodRange>,
}

/// Starts the loop, if a range is configured.
pub(crate) fn register(ctx: &Context) {
    if ctx.config.pod_ranges.is_empty() {
        return;
    }
    let controller = Arc::new(Controller {
        nodes: ctx.informers.of(),
        recorder: ctx.recorders.of("cidrAllocator"),
        ranges: ctx.config.pod_ranges.clone(),
    });
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.nodes.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    // One worker: two at once could hand out the same range.
    ctx.work("node_ipam", queue, 1, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn ranges_of(node: &Node) -> impl Iterator<Item = IpNet> {
    let spec = node.spec.as_ref();
    let several = spec.and_then(|s| s.pod_cidrs.as_ref()).into_iter().flatten();
    several.chain(spec.and_then(|s| s.pod_cidr.as_ref())).filter_map(|text| text.parse().ok())
}

/// The first subnet that no node uses.
fn first_free(range: IpNet, mask: u8, used: &HashSet<IpNet>) -> Option<IpNet> {
    let overlaps =
        |subnet: &IpNet| used.contains(subnet) || used.iter().any(|u| u.contains(subnet) || subnet.contains(u));
    range.subnets(mask).ok()?.find(|subnet| !overlaps(subnet))
}

/// A free subnet of every range, in their order, or the range that has none: a node gets all of its ranges or none.
fn assign(ranges: &[PodRange], used: &HashSet<IpNet>) -> Result<Vec<IpNet>, IpNet> {
    ranges.iter().map(|pods| first_free(pods.range, pods.mask, used).ok_or(pods.range)).collect()
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(node) = self.nodes.get(key) else { return Ok(Outcome::AwaitChange) };
        if ranges_of(&node).next().is_some() {
            return Ok(Outcome::AwaitChange);
        }
        let used: HashSet<IpNet> = self.nodes.list().iter().flat_map(|n| ranges_of(n).collect::<Vec<_>>()).collect();
        let free: Vec<String> = match assign(&self.ranges, &used) {
            Ok(free) => free.iter().map(IpNet::to_string).collect(),
            Err(range) => {
                let text = format!("Node {} status is now: CIDRNotAvailable", key.name);
                self.recorder.normal(node.as_ref(), "CIDRNotAvailable", text);
                tracing::warn!(node = key.name, %range, "no range for pods is left; enlarge --pod-cidr or remove nodes");
                return Ok(Outcome::RequeueAfter(FULL_RETRY));
            }
        };
        let patch = json!({"spec": {"podCIDR": free.first(), "podCIDRs": free}});
        self.nodes.patch(key, &Patch::Merge(patch)).await?;
        tracing::info!(node = key.name, range = free.join(","), "assigned pod range");
        Ok(Outcome::AwaitChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_distinct_and_end() {
        let range: IpNet = "10.244.0.0/23".parse().expect("range");
        let net = |text: &str| text.parse::<IpNet>().expect("range");
        let mut used = HashSet::new();
        assert_eq!(first_free(range, 24, &used), Some(net("10.244.0.0/24")));
        used.insert(net("10.244.0.0/24"));
        assert_eq!(first_free(range, 24, &used), Some(net("10.244.1.0/24")));
        used.insert(net("10.244.1.128/25"));
        assert_eq!(first_free(range, 24, &used), None, "a foreign, smaller range also blocks");
    }

    #[test]
    fn a_node_gets_a_range_of_each_family_or_none() {
        let net = |text: &str| text.parse::<IpNet>().expect("range");
        let four = PodRange { range: net("10.244.0.0/23"), mask: 24 };
        let six = PodRange { range: net("fd00:10:244::/62"), mask: 64 };
        let mut used = HashSet::new();
        assert_eq!(assign(&[four], &used), Ok(vec![net("10.244.0.0/24")]));
        for (a, b) in [("10.244.0.0/24", "fd00:10:244::/64"), ("10.244.1.0/24", "fd00:10:244:1::/64")] {
            let both = vec![net(a), net(b)];
            assert_eq!(assign(&[four, six], &used), Ok(both.clone()));
            used.extend(both);
        }
        assert_eq!(assign(&[four, six], &used), Err(four.range));
        assert_eq!(assign(&[six], &used), Ok(vec![net("fd00:10:244:2::/64")]), "families do not block each other");
        used.remove(&net("10.244.1.0/24"));
        used.insert(net("fd00:10:244::/62"));
        assert_eq!(assign(&[four, six], &used), Err(six.range), "half of its ranges would be none");
    }
}
