//! `/configz`: the settings that this kubelet runs with, by upstream's names.

use serde_json::{Value, json};

use crate::Options;

/// The configuration document.
pub fn configz(options: &Options) -> Value {
    json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": options.listen.port(),
        "healthzPort": options.healthz.port(),
        "healthzBindAddress": options.healthz.ip().to_string(),
        "clusterDomain": options.cluster.domain,
        "clusterDNS": options.cluster.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "maxPods": options.max_pods,
        "podPidsLimit": -1,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": true,
        "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": 40,
        "shutdownGracePeriod": format!("{}s", options.shutdown_grace.as_secs()),
        "evictionHard": {
            "memory.available": format!("{}Mi", options.eviction.memory >> 20),
            "nodefs.available": format!("{}%", options.eviction.disk_percent),
            "nodefs.inodesFree": format!("{}%", options.eviction.inodes_percent),
        },
        "evictionPressureTransitionPeriod": "5m0s",
        "staticPodPath": options.dirs.manifests,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5,
        "serializeImagePulls": false,
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "failSwapOn": false,
        "enableDebuggingHandlers": true,
        "featureGates": {},
    }})
}
