//! What the runtime says of itself.

use std::collections::HashMap;

use rk_cri_api::v1::*;
use serde_json::json;

use super::Service;

/// Version of the kubelet's runtime API.
const KUBE_API_VERSION: &str = "0.1.0";
const CRI_VERSION: &str = "v1";
/// Name of this runtime: container ids in the Kubernetes API begin with `rk://`.
const NAME: &str = "rk";

impl Service {
    pub(super) fn version_info(&self) -> VersionResponse {
        VersionResponse {
            version: KUBE_API_VERSION.into(),
            runtime_name: NAME.into(),
            runtime_version: self.0.config.version.clone(),
            runtime_api_version: CRI_VERSION.into(),
        }
    }

    pub(super) fn runtime_status(&self, verbose: bool) -> StatusResponse {
        let good = |kind: &str| RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        let network = match self.0.config.network.ready() {
            Ok(()) => good("NetworkReady"),
            Err(reason) => RuntimeCondition {
                r#type: "NetworkReady".into(),
                status: false,
                reason: "NetworkPluginNotReady".into(),
                message: format!("Network plugin returns error: {reason}"),
            },
        };
        let mut info = HashMap::new();
        if verbose {
            let config = &self.0.config;
            let text = json!({"stateDir": config.state_dir, "runDir": config.run_dir, "shim": config.shim, "cgroupDriver": "cgroupfs"});
            info.insert("config".to_owned(), text.to_string());
        }
        let features = RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true };
        let handler = |name: &str| RuntimeHandler { name: name.into(), features: Some(features) };
        StatusResponse {
            status: Some(RuntimeStatus { conditions: vec![good("RuntimeReady"), network] }),
            info,
            runtime_handlers: vec![handler(""), handler(NAME)],
            features: Some(RuntimeFeatures { supplemental_groups_policy: true, user_namespaces_host_network: false }),
        }
    }

    pub(super) fn sandbox_info(&self, record: &crate::record::SandboxRecord) -> HashMap<String, String> {
        let pid = std::fs::read_to_string(rk_shim_protocol::pid_file(&self.0.run_dir(&record.id)));
        let text = json!({
            "pid": pid.ok().and_then(|pid| pid.parse::<u32>().ok()),
            "netns": record.netns,
            "cgroupParent": record.cgroup_parent,
            "config": record.config,
        });
        HashMap::from([("info".to_owned(), text.to_string())])
    }

    pub(super) fn container_info(&self, record: &crate::record::ContainerRecord) -> HashMap<String, String> {
        let spec = std::fs::read(self.0.bundle(&record.sandbox, &record.id).join("spec.json"));
        let spec: Option<serde_json::Value> = spec.ok().and_then(|text| serde_json::from_slice(&text).ok());
        let text = json!({
            "sandboxID": record.sandbox,
            "pid": record.pid,
            "cgroup": record.cgroup,
            "config": record.config,
            "runtimeSpec": spec,
        });
        HashMap::from([("info".to_owned(), text.to_string())])
    }
}
