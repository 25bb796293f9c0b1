//! Whether what the pod asks for is still free.

use std::borrow::Cow;

use super::Rejection;
use crate::model::{Cluster, NodeInfo, PodInfo, Resources};

/// Compares request and free amounts. Pods that were promised room on the node count as if they were there.
pub(super) fn fit(cluster: &Cluster, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let mut promised = cluster.ahead_of(pod, &node.name).filter(|other| !node.pods.contains_key(&other.key)).peekable();
    if promised.peek().is_none() {
        return fit_in(cluster, pod, node, (&node.requested, node.pods.len()));
    }
    let mut requested = node.requested.clone();
    let mut count = node.pods.len();
    for other in promised {
        requested.add(&other.request);
        count += 1;
    }
    fit_in(cluster, pod, node, (&requested, count))
}

fn fit_in(
    cluster: &Cluster,
    pod: &PodInfo,
    node: &NodeInfo,
    (used, pods): (&Resources, usize),
) -> Result<(), Rejection> {
    let (wanted, whole) = (&pod.request, &node.allocatable);
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut too_large = false;
    let mut compare = |name: &str, wanted: i64, used: i64, whole: i64| {
        if wanted > 0 && wanted > whole - used {
            reasons.push(Cow::Owned(format!("Insufficient {name}")));
            too_large |= wanted > whole;
        }
    };
    compare("cpu", wanted.milli_cpu, used.milli_cpu, whole.milli_cpu);
    compare("memory", wanted.memory, used.memory, whole.memory);
    compare("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, whole.ephemeral_storage);
    // What classes of devices stand for is looked for among devices.
    for (name, amount) in wanted.scalars.iter().filter(|(name, _)| !cluster.devices.are_behind(name, node)) {
        let of = |list: &std::collections::BTreeMap<String, i64>| list.get(name).copied().unwrap_or(0);
        compare(name, *amount, of(&used.scalars), of(&whole.scalars));
    }
    if pods + 1 > node.allowed_pods {
        reasons.insert(0, Cow::Borrowed("Too many pods"));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection { reasons, evicting_helps: !too_large, everywhere: false })
}
