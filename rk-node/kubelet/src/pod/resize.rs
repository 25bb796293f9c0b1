//! In-place resize (KEP-1287): which running containers are held to other resources than their spec now asks for.

use k8s_openapi::api::core::v1::{Container, Pod};
use rk_cri_api::v1::LinuxContainerResources;

use super::spec;
use crate::resources::container_resources;
use crate::runtime::RuntimePod;

/// A running container whose limits are to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Runtime's ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it is to be held to.
    pub resources: LinuxContainerResources,
    /// The container wants to be restarted for this (`resizePolicy: RestartContainer`).
    pub restart: bool,
}

fn differs(a: i64, b: i64) -> bool {
    // Zero and negative both mean "no limit".
    a.max(0) != b.max(0)
}

fn wants_restart(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    policies.iter().any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
}

/// Compares the spec with what the runtime holds the containers to.
pub fn resizes(pod: &Pod, runtime: &RuntimePod, node_memory: i64) -> Vec<Resize> {
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    sidecars
        .chain(spec::app_containers(pod))
        .filter_map(|container| {
            let last = runtime.container(&container.name).filter(|c| c.running())?;
            let held = last.resources.as_ref()?;
            let mut wanted = container_resources(pod, container, node_memory);
            let cpu = differs(held.cpu_shares, wanted.cpu_shares) || differs(held.cpu_quota, wanted.cpu_quota);
            let memory = differs(held.memory_limit_in_bytes, wanted.memory_limit_in_bytes);
            if !cpu && !memory {
                return None;
            }
            if wanted.memory_limit_in_bytes == 0 {
                // Zero would mean "as it is" to the runtime.
                wanted.memory_limit_in_bytes = -1;
            }
            // Scores and group kills are set once, at creation.
            wanted.unified.clear();
            wanted.oom_score_adj = held.oom_score_adj;
            let restart = (cpu && wants_restart(container, "cpu")) || (memory && wants_restart(container, "memory"));
            Some(Resize { id: last.id.clone(), name: container.name.clone(), resources: wanted, restart })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::decide_tests::{pod, runtime, sandbox};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_limit_is_a_resize_and_an_equal_one_is_not() {
        let with = |cpu: &str, memory: &str| {
            pod(json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": cpu, "memory": memory}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}]}))
        };
        let before = with("500m", "64Mi");
        let mut found = runtime(&before, &[sandbox(0, true)], &["a:running"]);
        assert!(resizes(&before, &found, 1 << 30).is_empty(), "a runtime that tells nothing is left alone");
        found.containers[0].resources = Some(container_resources(&before, &spec::app_containers(&before)[0], 1 << 30));
        assert!(resizes(&before, &found, 1 << 30).is_empty());
        let more_cpu = resizes(&with("1", "64Mi"), &found, 1 << 30);
        assert_eq!(more_cpu.iter().map(|r| (r.resources.cpu_quota, r.restart)).collect::<Vec<_>>(), [(100_000, false)]);
        let more_memory = resizes(&with("500m", "128Mi"), &found, 1 << 30);
        assert_eq!(
            more_memory.iter().map(|r| (r.resources.memory_limit_in_bytes >> 20, r.restart)).collect::<Vec<_>>(),
            [(128, true)]
        );
    }
}
