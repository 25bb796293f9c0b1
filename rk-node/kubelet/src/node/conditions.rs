//! Node conditions from facts. Values only.

use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pressure::Pressure;

/// What readiness depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the runtime is not ready, when it is not.
    pub runtime: Option<String>,
    /// Why the network is not ready, when it is not.
    pub network: Option<String>,
    /// What is short.
    pub pressure: Pressure,
    /// The machine goes down.
    pub going_down: bool,
}

/// The four conditions that the kubelet owns; transition times are kept where the status did not change.
pub fn conditions(health: &Health, old: &[NodeCondition], now: &Time) -> Vec<NodeCondition> {
    let problems: Vec<String> = [
        health.runtime.as_ref().map(|p| format!("container runtime is down: {p}")),
        health.network.as_ref().map(|p| format!("container runtime network not ready: {p}")),
        health.going_down.then(|| "node is shutting down".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let pressure =
        |type_: &'static str, short: bool, bad: (&'static str, &'static str), good: (&'static str, &'static str)| {
            let (reason, message) = if short { bad } else { good };
            (type_, short, reason, message.to_owned())
        };
    let ready = match problems.as_slice() {
        [] => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        [one] => ("Ready", false, "KubeletNotReady", one.clone()),
        several => ("Ready", false, "KubeletNotReady", format!("[{}]", several.join(", "))),
    };
    [
        pressure(
            "MemoryPressure",
            health.pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            health.pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            health.pressure.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ]
    .into_iter()
    .map(|(type_, status, reason, message)| {
        let status = if status { "True" } else { "False" };
        let since =
            old.iter().find(|c| c.type_ == type_ && c.status == status).and_then(|c| c.last_transition_time.clone());
        NodeCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_missing_network_makes_the_node_unready_and_says_why() {
        let at = |s| Time(Timestamp::from_second(s).unwrap());
        let health =
            Health { network: Some("NetworkReady=false reason:NetworkPluginNotReady".into()), ..Default::default() };
        let first = conditions(&health, &[], &at(1));
        let ready = first.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
        assert!(
            ready.message.as_deref().unwrap().starts_with("container runtime network not ready: NetworkReady=false")
        );
        let leaving = conditions(&Health { going_down: true, ..Default::default() }, &first, &at(5));
        assert!(leaving.iter().any(|c| c.status == "False" && c.message.as_deref() == Some("node is shutting down")));
        let both =
            conditions(&Health { going_down: true, runtime: Some("gone".into()), ..Default::default() }, &[], &at(5));
        let told = "[container runtime is down: gone, node is shutting down]";
        assert!(both.iter().any(|c| c.message.as_deref() == Some(told)));
        let second = conditions(&Health::default(), &first, &at(9));
        let time = |list: &[NodeCondition], t: &str| {
            list.iter().find(|c| c.type_ == t).unwrap().last_transition_time.clone().unwrap()
        };
        assert_eq!(time(&second, "Ready"), at(9));
        assert_eq!(time(&second, "DiskPressure"), at(1));
    }
}
