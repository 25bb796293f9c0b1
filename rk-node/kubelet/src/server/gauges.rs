//! Where resizes of pods and the CPUs of the node stand now.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;

use super::metrics::Text;
use super::routes::State;
use crate::cpus::Pool;
use crate::pod::spec;

/// Pods by what their resize is at.
#[derive(Debug, Default, PartialEq)]
struct Resizing {
    deferred: usize,
    infeasible: usize,
    in_progress: usize,
}

fn resizing(statuses: impl Iterator<Item = PodStatus>) -> Resizing {
    let mut found = Resizing::default();
    for condition in statuses.flat_map(|status| status.conditions.unwrap_or_default()).filter(|c| c.status == "True") {
        match (condition.type_.as_str(), condition.reason.as_deref()) {
            ("PodResizePending", Some("Deferred")) => found.deferred += 1,
            ("PodResizePending", Some("Infeasible")) => found.infeasible += 1,
            ("PodResizeInProgress", _) => found.in_progress += 1,
            _ => {}
        }
    }
    found
}

fn tell(text: &mut Text, resizing: &Resizing, pool: Option<Pool>) {
    text.head("kubelet_pod_pending_resizes", "Number of pending resizes for pods.", "gauge");
    for (reason, count) in [("deferred", resizing.deferred), ("infeasible", resizing.infeasible)] {
        text.sample("kubelet_pod_pending_resizes", &[("reason", reason)], count as f64);
    }
    text.head("kubelet_pod_in_progress_resizes", "Number of in-progress resizes for pods.", "gauge");
    text.sample("kubelet_pod_in_progress_resizes", &[], resizing.in_progress as f64);
    // Who counts no CPUs out knows of none.
    let Some(pool) = pool else { return };
    for (name, help, value) in [
        (
            "kubelet_cpu_manager_shared_pool_size_millicores",
            "The size of the shared CPU pool for non-guaranteed QoS pods, in millicores.",
            pool.shared * 1000,
        ),
        (
            "kubelet_cpu_manager_exclusive_cpu_allocation_count",
            "The total number of CPUs exclusively allocated to containers running on this node",
            pool.exclusive,
        ),
    ] {
        text.head(name, help, "gauge");
        text.sample(name, &[], value as f64);
    }
}

fn tell_claims(text: &mut Text, in_use: &BTreeMap<String, usize>) {
    let name = "dra_resource_claims_in_use";
    text.head(
        name,
        "Number of ResourceClaims that pods of the node have, by driver, and under <any> altogether.",
        "gauge",
    );
    for (driver, count) in in_use {
        text.sample(name, &[("driver_name", driver.as_str())], *count as f64);
    }
}

fn tell_volumes(text: &mut Text, count: &BTreeMap<String, [usize; 2]>) {
    let name = "volume_manager_total_volumes";
    text.head(name, "Number of volumes that pods of the node are to have, and have, by plugin.", "gauge");
    for (plugin, [wanted, there]) in count {
        for (state, number) in [("actual_state_of_world", there), ("desired_state_of_world", wanted)] {
            text.sample(name, &[("plugin_name", plugin.as_str()), ("state", state)], *number as f64);
        }
    }
}

/// Writes all of them.
pub(super) fn write(text: &mut Text, state: &State) {
    tell_volumes(text, &state.context.volumes.count());
    tell_claims(text, &state.context.claims.in_use());
    let status = |pod: &k8s_openapi::api::core::v1::Pod| {
        state.context.status.latest(spec::uid(pod)).or_else(|| pod.status.clone()).unwrap_or_default()
    };
    let resizing = resizing(state.pods.all().iter().map(|pod| status(pod)));
    tell(text, &resizing, state.context.cpus.pool());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_are_counted_by_plugin_as_they_are_wanted_and_as_they_are_there() {
        let mut text = Text::default();
        tell_volumes(&mut text, &BTreeMap::from([("kubernetes.io/csi:d".to_owned(), [2, 1])]));
        let told: Vec<_> = text.as_str().lines().filter(|line| !line.starts_with('#')).collect();
        let of = |state: &str| {
            format!("volume_manager_total_volumes{{plugin_name=\"kubernetes.io/csi:d\",state=\"{state}\"}}")
        };
        let want = [format!("{} 1", of("actual_state_of_world")), format!("{} 2", of("desired_state_of_world"))];
        assert_eq!(told, want);
    }

    #[test]
    fn pods_are_counted_by_where_their_resize_stands() {
        let status = |conditions: serde_json::Value| -> PodStatus {
            serde_json::from_value(json!({"conditions": conditions})).unwrap()
        };
        let pending =
            |reason: &str, holds: &str| json!({"type": "PodResizePending", "status": holds, "reason": reason});
        let statuses = [
            status(json!([pending("Deferred", "True")])),
            status(json!([pending("Infeasible", "True"), {"type": "PodResizeInProgress", "status": "True"}])),
            status(json!([pending("Infeasible", "True")])),
            status(json!([pending("Deferred", "False"), {"type": "Ready", "status": "True"}])),
            PodStatus::default(),
        ];
        let found = resizing(statuses.into_iter());
        assert_eq!(found, Resizing { deferred: 1, infeasible: 2, in_progress: 1 });
        let mut text = Text::default();
        tell(&mut text, &found, Some(Pool { shared: 3, exclusive: 4 }));
        for line in [
            "kubelet_pod_pending_resizes{reason=\"infeasible\"} 2",
            "kubelet_pod_in_progress_resizes 1",
            "kubelet_cpu_manager_shared_pool_size_millicores 3000",
            "kubelet_cpu_manager_exclusive_cpu_allocation_count 4",
        ] {
            assert!(text.as_str().lines().any(|told| told == line), "{line}: {}", text.as_str());
        }
        let mut text = Text::default();
        tell_claims(&mut text, &BTreeMap::from([("<any>".to_owned(), 2), ("d.example".to_owned(), 1)]));
        assert!(text.as_str().contains("dra_resource_claims_in_use{driver_name=\"<any>\"} 2\n"), "{}", text.as_str());
        let mut text = Text::default();
        tell(&mut text, &found, None);
        assert!(!text.as_str().contains("cpu_manager"));
    }
}
