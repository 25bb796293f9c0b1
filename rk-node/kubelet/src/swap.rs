//! How much of the node's swap a container may use (KEP-2400). Values only.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::eviction::is_critical;
use crate::quantity::units_of;
use crate::resources::{Qos, qos_class};

/// The file of cgroup v2 that holds the limit.
pub const SWAP_FILE: &str = "memory.swap.max";

/// What containers may do with the node's swap (`memorySwap.swapBehavior`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapBehavior {
    /// Nothing.
    #[default]
    NoSwap,
    /// Those of Burstable pods may use a share as large as that of the memory that they ask for.
    LimitedSwap,
}

/// The rule of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapRule {
    /// What containers may do.
    pub behavior: SwapBehavior,
    /// The node's memory in bytes.
    pub memory: i64,
    /// The node's swap in bytes.
    pub capacity: i64,
    /// Whether the kernel can limit it.
    pub controlled: bool,
}

impl SwapRule {
    /// Most bytes of swap that a container may use; `None` where the kernel cannot limit it.
    pub fn limit(&self, pod: &Pod, container: &Container) -> Option<i64> {
        self.controlled.then(|| match self.behavior {
            SwapBehavior::NoSwap => 0,
            SwapBehavior::LimitedSwap => self.share(pod, container),
        })
    }

    fn share(&self, pod: &Pod, container: &Container) -> i64 {
        let resources = container.resources.as_ref();
        let limit = units_of(resources.and_then(|r| r.limits.as_ref()), "memory");
        let asked = resources.and_then(|r| r.requests.as_ref()).filter(|list| list.contains_key("memory"));
        let request = asked.map_or(limit, |list| units_of(Some(list), "memory"));
        // Who has all memory that it may ever use needs no swap, and who asks for none has no share.
        let none = qos_class(pod) != Qos::Burstable || is_critical(pod) || request == 0 || request == limit;
        if none || self.memory <= 0 || request > self.memory {
            return 0;
        }
        let share = i128::from(request) * i128::from(self.capacity) / i128::from(self.memory);
        i64::try_from(share).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_burstable_containers_that_ask_for_less_than_they_may_use_have_a_share_of_swap() {
        let rule =
            SwapRule { behavior: SwapBehavior::LimitedSwap, memory: 40 << 30, capacity: 20 << 30, controlled: true };
        let limit = |rule: SwapRule, requests: serde_json::Value, limits: serde_json::Value, priority: i64| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"priority": priority,
                "containers": [{"name": "a", "resources": {"requests": requests, "limits": limits}}]}}))
            .unwrap();
            let container = pod.spec.as_ref().unwrap().containers.first().unwrap().clone();
            rule.limit(&pod, &container)
        };
        for (requests, limits, priority, want) in [
            (json!({"memory": "4Gi"}), json!({}), 0, 2 << 30),
            (json!({"memory": "4Gi"}), json!({"memory": "8Gi"}), 0, 2 << 30),
            (json!({"memory": "4Gi", "cpu": "1"}), json!({"memory": "4Gi"}), 0, 0),
            (json!({}), json!({"memory": "4Gi"}), 0, 0),
            (json!({"cpu": "1"}), json!({}), 0, 0),
            (json!({}), json!({}), 0, 0),
            (json!({"memory": "4Gi", "cpu": "1"}), json!({"memory": "4Gi", "cpu": "1"}), 0, 0),
            (json!({"memory": "4Gi"}), json!({}), 2_000_001_000, 0),
            (json!({"memory": "41Gi"}), json!({}), 0, 0),
            (json!({"memory": "40Gi"}), json!({}), 0, 20 << 30),
        ] {
            assert_eq!(limit(rule, requests.clone(), limits.clone(), priority), Some(want), "{requests} {limits}");
        }
        let none = SwapRule { behavior: SwapBehavior::NoSwap, ..rule };
        assert_eq!(limit(none, json!({"memory": "4Gi"}), json!({}), 0), Some(0));
        let other_kernel = SwapRule { controlled: false, ..rule };
        assert_eq!(limit(other_kernel, json!({"memory": "4Gi"}), json!({}), 0), None);
    }
}
