//! `/configz`: the settings that this kubelet runs with, by upstream's names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::node::Signal;
use crate::{Amount, CpuPolicy, MemoryPolicy, Options, Scope, Thresholds, TopologyPolicy};

/// Thresholds by upstream's names of their signals.
fn thresholds(of: Thresholds, set: impl Fn(Signal) -> bool) -> BTreeMap<&'static str, String> {
    let set = Signal::ALL.into_iter().filter(|signal| set(*signal));
    set.map(|signal| (signal.as_str(), of.of(signal).to_string())).collect()
}

/// A period of a graceful shutdown; there is none where pods begin again with their machine.
fn shutdown(options: &Options, period: Duration) -> String {
    format!("{}s", if options.shutdown.again { 0 } else { period.as_secs() })
}

/// The configuration document.
pub fn configz(options: &Options) -> Value {
    let mut config = json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": options.listen.port(),
        "readOnlyPort": options.read_only_port,
        "healthzPort": options.healthz.port(),
        "healthzBindAddress": options.healthz.ip().to_string(),
        "clusterDomain": options.cluster.domain,
        "clusterDNS": options.cluster.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "maxPods": options.max_pods,
        "podPidsLimit": options.pod_pids.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": true,
        "seccompDefault": options.seccomp_default,
        "allowedUnsafeSysctls": options.unsafe_sysctls,
        "staticPodPath": options.dirs.manifests,
        "imagePullCredentialsVerificationPolicy": options.image_verification.as_str(),
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "tlsMinVersion": if options.tls.only_13 { "VersionTLS13" } else { "VersionTLS12" },
        "tlsCipherSuites": options.tls.suites,
        "failSwapOn": options.fail_swap_on,
        "enableDebuggingHandlers": options.debugging,
        "enableSystemLogHandler": options.system_logs,
        "featureGates": {},
    });
    if !options.shutdown.by_priority.is_empty() {
        config["shutdownGracePeriodByPodPriority"] = json!(options.shutdown.by_priority);
    }
    let from = &options.static_pod_url;
    if !from.url.is_empty() {
        config["staticPodURL"] = json!(from.url);
        // Values of headers are secrets.
        let masked: BTreeMap<&String, [&str; 1]> = from.headers.keys().map(|name| (name, ["<masked>"])).collect();
        config["staticPodURLHeader"] = json!(masked);
    }
    let exempt = options.image_verification.allowlist();
    if !exempt.is_empty() {
        config["preloadedImagesVerificationAllowlist"] = json!(exempt);
    }
    if let Some(members) = config.as_object_mut() {
        for part in [shortages(options), paces(options), managers(options)] {
            members.extend(part);
        }
    }
    json!({"kubeletconfig": config})
}

/// The part of the document that is about what goes when, and how long it has to end.
fn shortages(options: &Options) -> serde_json::Map<String, Value> {
    let shortages = json!({
        "shutdownGracePeriod": shutdown(options, options.shutdown.whole),
        "shutdownGracePeriodCriticalPods": shutdown(options, options.shutdown.critical),
        "evictionHard": thresholds(options.eviction, |_| true),
        "evictionMinimumReclaim": thresholds(options.minimum_reclaim, |signal| options.minimum_reclaim.of(signal) != Amount::Units(0)),
        "evictionSoft": thresholds(options.soft_eviction.thresholds, |signal| options.soft_eviction.grace.contains_key(&signal)),
        "evictionSoftGracePeriod": options.soft_eviction.grace.iter()
            .map(|(signal, grace)| (signal.as_str(), format!("{}s", grace.as_secs()))).collect::<BTreeMap<_, _>>(),
        "evictionMaxPodGracePeriod": options.soft_eviction.pod_grace,
        "evictionPressureTransitionPeriod": format!("{}s", options.pressure_transition.as_secs()),
        "imageGCHighThresholdPercent": options.image_gc.high,
        "imageGCLowThresholdPercent": options.image_gc.low,
        "imageMinimumGCAge": format!("{}s", options.image_gc.youngest.as_secs()),
        "imageMaximumGCAge": format!("{}s", options.image_gc.oldest.as_secs()),
    });
    shortages.as_object().cloned().unwrap_or_default()
}

/// The part of the document that is about how often, how long and how much at once.
fn paces(options: &Options) -> serde_json::Map<String, Value> {
    let paces = json!({
        "nodeStatusMaxImages": i64::try_from(options.pace.status_images).unwrap_or(-1),
        "providerID": options.provider_id,
        "registryPullQPS": options.pace.pulls.per_second,
        "registryBurst": options.pace.pulls.burst,
        "eventRecordQPS": options.pace.events.per_second,
        "eventBurst": options.pace.events.burst,
        "streamingConnectionIdleTimeout": format!("{}s", options.pace.stream_idle.as_secs_f64()),
        "resolvConf": options.dirs.resolv_conf,
        "podsPerCore": options.pace.pods_per_core,
        "httpCheckFrequency": format!("{}s", options.static_pod_url.every.as_secs_f64()),
        "nodeStatusUpdateFrequency": format!("{}s", options.pace.status_update.as_secs_f64()),
        "nodeStatusReportFrequency": format!("{}s", options.pace.status_report.as_secs_f64()),
        "nodeLeaseDurationSeconds": options.pace.lease_seconds,
        "crashLoopBackOff": {"maxContainerRestartPeriod": format!("{}s", options.pace.longest_restart.as_secs_f64())},
        "containerLogMaxSize": options.logs.size.to_string(),
        "containerLogMaxFiles": options.logs.files,
        "containerLogMonitorInterval": format!("{}s", options.logs.monitor.as_secs_f64()),
        "containerLogMaxWorkers": options.logs.workers,
        "serializeImagePulls": options.pace.parallel_pulls == 1,
        "maxParallelImagePulls": options.pace.parallel_pulls,
    });
    paces.as_object().cloned().unwrap_or_default()
}

/// The part of the document that is about what pods have for themselves.
fn managers(options: &Options) -> serde_json::Map<String, Value> {
    let managers = json!({
        "topologyManagerPolicy": match options.topology.policy {
            TopologyPolicy::None => "none",
            TopologyPolicy::BestEffort => "best-effort",
            TopologyPolicy::Restricted => "restricted",
            TopologyPolicy::SingleNumaNode => "single-numa-node",
        },
        "topologyManagerScope": match options.topology.scope {
            Scope::Container => "container",
            Scope::Pod => "pod",
        },
        "cpuManagerPolicy": if options.cpu_policy == CpuPolicy::None { "none" } else { "static" },
        "memoryManagerPolicy": if options.memory_policy == MemoryPolicy::None { "None" } else { "Static" },
        "userNamespaces": {"idsPerPod": options.ids_per_pod},
        "memorySwap": {"swapBehavior": format!("{:?}", options.swap)},
    });
    managers.as_object().cloned().unwrap_or_default()
}
