//! In which turns pods end when the machine goes down, and how long each turn has. Values only.
//!
//! The rules are upstream's (`pkg/kubelet/nodeshutdown`): turns from the least important pods to the most important ones.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::{Deserialize, Serialize};

use crate::pod::spec::{self, RestartPolicy};

/// Reason of a pod that ended because its machine went down.
pub const TERMINATED: &str = "Terminated";
/// Its message.
pub const TERMINATED_MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// Reason of a pod that came when its machine was going down already, and of the node's event.
pub const NODE_SHUTDOWN: &str = "NodeShutdown";
/// The message of such a pod.
pub const REFUSED_MESSAGE: &str = "Pod was rejected as the node is shutting down.";

/// From this priority on a pod is critical (upstream's `SystemCriticalPriority`).
const CRITICAL: i32 = 2_000_000_000;

/// The time of the pods from one priority up to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityGrace {
    /// The least priority of these pods.
    pub priority: i32,
    /// How long they have, seconds.
    pub shutdown_grace_period_seconds: i64,
}

/// How long pods may take to end when the machine goes down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownGrace {
    /// All of it (`shutdownGracePeriod`).
    pub whole: Duration,
    /// The end of it, for critical pods alone (`shutdownGracePeriodCriticalPods`).
    pub critical: Duration,
    /// By the priorities of pods, instead of the other two, when it is not empty (`shutdownGracePeriodByPodPriority`).
    pub by_priority: Vec<PriorityGrace>,
    /// Whether pods begin again with their machine, as upstream's do where no `KubeletConfiguration` asks for a graceful shutdown.
    pub again: bool,
}

/// What becomes of a pod when its machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ends for good, and the API is told.
    Fails,
    /// It ends in its own time, and begins again with the machine.
    Rests,
    /// It ends with the machine alone: an exit that it was told to make must not pass for success.
    Stays,
}

impl ShutdownGrace {
    /// What a machine leaves to its pods when nobody divides it up: the last third is the critical ones'.
    pub fn of_machine(seconds: u32) -> Self {
        let (whole, critical) = (seconds.into(), (seconds / 3).into());
        let (whole, critical) = (Duration::from_secs(whole), Duration::from_secs(critical));
        Self { whole, critical, by_priority: Vec::new(), again: true }
    }

    /// What becomes of a pod. What never runs twice has failed in any case.
    pub fn fate(&self, pod: &Pod) -> Fate {
        let all = |policy: RestartPolicy| {
            let fits = |container: &Container| spec::container_restart_policy(pod, container) == policy;
            spec::app_containers(pod).iter().all(fits)
        };
        let by_rules = spec::app_containers(pod).iter().any(|container| container.restart_policy_rules.is_some());
        match self.again {
            false => Fate::Fails,
            true if all(RestartPolicy::Always) => Fate::Rests,
            true if all(RestartPolicy::Never) && !by_rules => Fate::Fails,
            true => Fate::Stays,
        }
    }

    /// The turns from the lowest priority to the highest; none when pods are not waited for at all.
    fn periods(&self) -> Vec<PriorityGrace> {
        if !self.by_priority.is_empty() {
            let mut periods = self.by_priority.clone();
            periods.sort_by_key(|period| period.priority);
            return periods;
        }
        if self.whole.is_zero() {
            return Vec::new();
        }
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let others = seconds(self.whole.saturating_sub(self.critical));
        vec![
            PriorityGrace { priority: 0, shutdown_grace_period_seconds: others },
            PriorityGrace { priority: CRITICAL, shutdown_grace_period_seconds: seconds(self.critical) },
        ]
    }

    /// Divides pods up into turns, in the order in which these end; turns without pods are left out. `priority` tells that of a pod;
    /// one below all turns belongs to the first.
    pub fn turns<T>(&self, pods: Vec<T>, priority: impl Fn(&T) -> i32) -> Vec<Turn<T>> {
        let periods = self.periods();
        let mut turns: Vec<Turn<T>> = periods
            .iter()
            .map(|period| Turn { seconds: period.shutdown_grace_period_seconds.max(0), pods: Vec::new() })
            .collect();
        for pod in pods {
            let own = priority(&pod);
            let index = periods.partition_point(|period| period.priority <= own).saturating_sub(1);
            if let Some(turn) = turns.get_mut(index) {
                turn.pods.push(pod);
            }
        }
        turns.retain(|turn| !turn.pods.is_empty());
        turns
    }
}

/// Pods that end at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// How long they have, seconds.
    pub seconds: i64,
    /// The pods.
    pub pods: Vec<T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_priority(periods: &[(i32, i64)]) -> ShutdownGrace {
        let grace = |(priority, seconds): &(i32, i64)| PriorityGrace {
            priority: *priority,
            shutdown_grace_period_seconds: *seconds,
        };
        ShutdownGrace { by_priority: periods.iter().map(grace).collect(), ..Default::default() }
    }

    #[test]
    fn a_pod_that_runs_for_ever_rests_while_its_machine_is_off_and_no_job_succeeds_by_that() {
        let own = |policy: &str, container: serde_json::Value| -> Pod {
            let spec = serde_json::json!({"restartPolicy": policy, "containers": [{"name": "a"}, container]});
            serde_json::from_value(serde_json::json!({"spec": spec})).unwrap()
        };
        let pod = |policy: &str| own(policy, serde_json::json!({"name": "b"}));
        let rules = serde_json::json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        let machine = ShutdownGrace::of_machine(30);
        for (pod, want) in [
            (pod("Always"), Fate::Rests),
            (pod("OnFailure"), Fate::Stays),
            (pod("Never"), Fate::Fails),
            (own("Always", serde_json::json!({"name": "b", "restartPolicy": "Never"})), Fate::Stays),
            (own("Never", serde_json::json!({"name": "b", "restartPolicyRules": rules})), Fate::Stays),
        ] {
            assert_eq!(machine.fate(&pod), want, "{:?}", pod.spec);
            let asked = ShutdownGrace { whole: Duration::from_secs(30), ..Default::default() };
            assert_eq!(asked.fate(&pod), Fate::Fails, "as upstream, where it is asked for");
        }
    }

    #[test]
    fn pods_end_from_the_least_important_to_the_most_important() {
        let steps = [(1000, 20), (0, 10), (100_000, 60)];
        for (grace, pods, want) in [
            (ShutdownGrace::default(), vec![0, CRITICAL], vec![]),
            (ShutdownGrace::of_machine(0), vec![0, CRITICAL], vec![]),
            (ShutdownGrace::of_machine(30), vec![CRITICAL, 0, -5, 7], vec![(20, vec![0, -5, 7]), (10, vec![CRITICAL])]),
            (ShutdownGrace::of_machine(30), vec![CRITICAL + 1000], vec![(10, vec![CRITICAL + 1000])]),
            (ShutdownGrace::of_machine(30), vec![CRITICAL - 1], vec![(20, vec![CRITICAL - 1])]),
            (
                ShutdownGrace { whole: Duration::from_secs(30), ..Default::default() },
                vec![0, CRITICAL],
                vec![(30, vec![0]), (0, vec![CRITICAL])],
            ),
            (
                by_priority(&steps),
                vec![-1, 0, 999, 1000, 99_999, 100_000, CRITICAL],
                vec![(10, vec![-1, 0, 999]), (20, vec![1000, 99_999]), (60, vec![100_000, CRITICAL])],
            ),
            (by_priority(&[(10, 5)]), vec![0, 10, 11], vec![(5, vec![0, 10, 11])]),
            (by_priority(&steps), vec![], vec![]),
        ] {
            let turns = grace.turns(pods, |priority| *priority);
            let turns: Vec<(i64, Vec<i32>)> = turns.into_iter().map(|turn| (turn.seconds, turn.pods)).collect();
            assert_eq!(turns, want, "{grace:?}");
        }
    }
}
