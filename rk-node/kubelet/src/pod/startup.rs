//! How long a pod took to start, by the definition of the start-up SLI: from its creation until the API tells that all of its containers
//! run, without the pulls of its images and the runs of its init containers.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Volume};

use super::spec;
use crate::clock::elapsed;

/// What a start took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Startup {
    /// All of it.
    pub total: Duration,
    /// What counts against the SLI; none for a pod whose volumes may have to be waited for.
    pub own: Option<Duration>,
}

/// What the start of a pod took that the API tells like this at `now`; none before all of its containers run.
pub fn startup(pod: &Pod, now: Timestamp, pulling: Duration) -> Option<Startup> {
    let status = pod.status.as_ref()?;
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let runs = |of: &ContainerStatus| {
        of.state.as_ref().and_then(|state| state.running.as_ref()).is_some_and(|running| running.started_at.is_some())
    };
    if statuses.len() < spec::app_containers(pod).len() || !statuses.iter().all(runs) {
        return None;
    }
    let total = elapsed(now, pod.metadata.creation_timestamp.as_ref()?.0);
    let inits: Duration = status.init_container_statuses.iter().flatten().filter_map(ran).sum();
    let own = total.saturating_sub(pulling).saturating_sub(inits);
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    Some(Startup { total, own: volumes.iter().all(is_plain).then_some(own) })
}

/// For how long an init container ran that has ended.
fn ran(status: &ContainerStatus) -> Option<Duration> {
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    Some(elapsed(ended.finished_at.as_ref()?.0, ended.started_at.as_ref()?.0))
}

/// Whether a volume is made of what the API has, or of nothing.
fn is_plain(volume: &Volume) -> bool {
    volume.secret.is_some()
        || volume.config_map.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.empty_dir.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A pod that was created at second 0, with an init container that ran for two seconds.
    fn pod(volumes: &Value, states: &[Value]) -> Pod {
        let base = |name: &str, state: &Value| json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        let init = json!({"terminated": {"exitCode": 0, "startedAt": "1970-01-01T00:00:03Z", "finishedAt": "1970-01-01T00:00:05Z"}});
        let statuses: Vec<Value> = states.iter().map(|state| base("c", state)).collect();
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}], "volumes": volumes},
            "status": {"containerStatuses": statuses, "initContainerStatuses": [base("i", &init)]},
        }))
        .unwrap()
    }

    #[test]
    fn a_start_is_over_when_all_containers_run_and_counts_without_pulls_and_init_containers() {
        let running = json!({"running": {"startedAt": "1970-01-01T00:00:08Z"}});
        let second = Duration::from_secs(1);
        let plain = json!([{"name": "t", "projected": {}}, {"name": "e", "emptyDir": {}}]);
        let claimed = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]);
        let took = |own: Option<u32>| Some(Startup { total: 10 * second, own: own.map(|seconds| seconds * second) });
        let both = [running.clone(), running.clone()];
        for (volumes, states, pulling, want) in [
            (&plain, &both[..], 3, took(Some(5))),
            (&plain, &both, 0, took(Some(8))),
            (&plain, &both, 60, took(Some(0))),
            (&claimed, &both, 3, took(None)),
            (&plain, &both[..1], 3, None),
            (&plain, &[running.clone(), json!({"waiting": {}})], 3, None),
            (&plain, &[running.clone(), json!({"running": {}})], 3, None),
        ] {
            let at = Timestamp::from_second(10).unwrap();
            assert_eq!(startup(&pod(volumes, states), at, pulling * second), want, "{volumes} {states:?} {pulling}");
        }
    }
}
