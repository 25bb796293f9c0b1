//! Pods that come while the node is short of something: they would take of it, and only have to go again.

use k8s_openapi::api::core::v1::{Pod, Taint};

use super::{Refusal, taints};
use crate::eviction::is_critical;
use crate::node::Pressure;
use crate::pod::status::EVICTED;
use crate::resources::{Qos, qos_class};

/// What the scheduler is told of a lack of memory by.
const MEMORY: &str = "node.kubernetes.io/memory-pressure";

/// Refuses pods while the node is short, whoever placed them: all that are not critical, but for a lack of memory alone only those that
/// ask for nothing and do not tolerate it.
pub fn pressure(pod: &Pod, short: Pressure) -> Result<(), Refusal> {
    let told = [(short.memory, "MemoryPressure"), (short.disk, "DiskPressure"), (short.pids, "PIDPressure")];
    let conditions: Vec<&str> = told.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
    let memory_alone = short == Pressure { memory: true, ..Pressure::default() };
    if conditions.is_empty() || is_critical(pod) || (memory_alone && bears_lack_of_memory(pod)) {
        return Ok(());
    }
    Err((EVICTED.to_owned(), format!("The node had condition: [{}]. ", conditions.join(" "))))
}

fn bears_lack_of_memory(pod: &Pod) -> bool {
    let taint = Taint { key: MEMORY.to_owned(), effect: "NoSchedule".to_owned(), ..Default::default() };
    qos_class(pod) != Qos::BestEffort || taints::tolerates(pod, &taint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_short_node_takes_what_is_critical_and_for_memory_alone_what_asks_for_some_or_bears_it() {
        let pod = |spec: serde_json::Value| -> Pod { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let asks = json!([{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]);
        let (plain, burstable) = (pod(json!({"containers": [{"name": "c"}]})), pod(json!({"containers": asks})));
        let bears = |key: &str| pod(json!({"containers": [], "tolerations": [{"key": key, "operator": "Exists"}]}));
        let critical = pod(json!({"containers": [], "priority": 2_000_000_000}));
        let (memory, disk, pids) = (
            Pressure { memory: true, ..Default::default() },
            Pressure { disk: true, ..Default::default() },
            Pressure { memory: true, pids: true, ..Default::default() },
        );
        let other = bears("node.kubernetes.io/disk-pressure");
        for (pod, short, want) in [
            (&plain, Pressure::default(), None),
            (&plain, memory, Some("[MemoryPressure]")),
            (&burstable, memory, None),
            (&bears(MEMORY), memory, None),
            (&other, memory, Some("[MemoryPressure]")),
            (&other, disk, Some("[DiskPressure]")),
            (&burstable, disk, Some("[DiskPressure]")),
            (&burstable, pids, Some("[MemoryPressure PIDPressure]")),
            (&critical, disk, None),
        ] {
            let want = want.map(|told| ("Evicted".to_owned(), format!("The node had condition: {told}. ")));
            assert_eq!(pressure(pod, short).err(), want, "{short:?} {:?}", pod.spec);
        }
    }
}
