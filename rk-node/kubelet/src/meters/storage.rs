//! How long it takes to bring volumes to pods and to take them away, and calls of CSI drivers.

use std::time::Duration;

use super::Timing;

/// Bounds up to the longest that a volume may keep a pod, seconds; upstream's.
const STORAGE: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];
/// No volume of this node goes by another plugin's name.
const MIGRATED: &str = "false";

/// Timings of volumes.
pub struct StorageMeters {
    operations: Timing,
    calls: Timing,
}

impl Default for StorageMeters {
    fn default() -> Self {
        Self {
            operations: Timing::new(
                "storage_operation_duration_seconds",
                "Duration in seconds of what is done with a volume, by its plugin and by what came of it.",
                &["migrated", "operation_name", "status", "volume_plugin"],
                STORAGE,
            ),
            calls: Timing::new(
                "csi_operations_seconds",
                "Duration in seconds of calls of CSI drivers, by method and code.",
                &["driver_name", "grpc_status_code", "method_name", "migrated"],
                STORAGE,
            ),
        }
    }
}

impl StorageMeters {
    /// Something was to be done with a volume of this plugin.
    pub fn operated(&self, plugin: &str, operation: &str, good: bool, took: Duration) {
        let status = if good { "success" } else { "fail-unknown" };
        self.operations.observe(&[MIGRATED, operation, status, plugin], took);
    }

    /// A driver was called. `code` is as gRPC writes it.
    pub fn called(&self, driver: &str, method: &str, code: &str, took: Duration) {
        let method = format!("/csi.v1.Node/{method}");
        self.calls.observe(&[driver, code, method.as_str(), MIGRATED], took);
    }

    /// The timings of `/metrics`.
    pub fn timings(&self) -> [&Timing; 2] {
        [&self.operations, &self.calls]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_volumes_is_told_by_plugin_and_outcome() {
        let meters = StorageMeters::default();
        meters.operated("kubernetes.io/csi:d", "volume_mount", true, Duration::from_secs(2));
        meters.operated("kubernetes.io/csi:d", "volume_mount", false, Duration::from_secs(1));
        meters.called("d", "NodeStageVolume", "Internal", Duration::from_secs(1));
        let keys = |timing: &Timing| timing.read().into_keys().map(|key| key.join(" ")).collect::<Vec<_>>();
        let plugin = "kubernetes.io/csi:d";
        let want =
            [format!("false volume_mount fail-unknown {plugin}"), format!("false volume_mount success {plugin}")];
        assert_eq!(keys(&meters.operations), want);
        assert_eq!(keys(&meters.calls), ["d Internal /csi.v1.Node/NodeStageVolume false"]);
        assert!(STORAGE.is_sorted());
    }
}
