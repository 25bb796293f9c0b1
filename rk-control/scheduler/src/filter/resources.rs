//! Whether what the pod asks for is still free.

use std::borrow::Cow;

use super::Rejection;
use crate::model::{Cluster, NodeInfo, PodInfo};

/// Compares request and free amounts.
pub(super) fn fit(cluster: &Cluster, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let (wanted, used, whole) = (&pod.request, &node.requested, &node.allocatable);
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
    if node.pods.len() >= node.allowed_pods {
        reasons.insert(0, Cow::Borrowed("Too many pods"));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection { reasons, evicting_helps: !too_large, everywhere: false })
}
