//! `KubeletConfiguration` (`kubelet.config.k8s.io/v1beta1`) as settings of this kubelet. Values only.
//!
//! What is wrong, unknown or without effect here is told by its name and left out: one key must not keep a node away. Only memory
//! that is reserved wrongly does ([`Options::faults`]).

mod limits;
mod policies;
mod providers;
mod read;
mod rules;
mod shutdown;
mod transport;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::node::Signal;
use crate::options::{Amount, Options, SoftEviction, Thresholds};
use crate::quantity;
use crate::swap::SwapBehavior;
pub use providers::{CredentialProvider, TokenRules, credential_providers};
use read::amount_of_bytes;
pub(crate) use read::duration;
pub use transport::TlsRules;

/// The key that leaves thresholds which are not named as they are.
const MERGE: &str = "mergeDefaultEvictionSettings";

/// What this kubelet does anyway, and cannot do otherwise: the key and the value that says so.
const FIXED: [(&str, &str); 6] = [
    ("cgroupDriver", "\"cgroupfs\""),
    ("cgroupsPerQOS", "true"),
    ("rotateCertificates", "true"),
    ("serverTLSBootstrap", "true"),
    ("enableServer", "true"),
    ("enableControllerAttachDetach", "true"),
];

/// Takes over what `document` says, and answers a line for everything of it that has no effect.
pub fn configure(options: &mut Options, document: &Value) -> Vec<String> {
    let mut reader = Reader { warnings: Vec::new(), faults: Vec::new(), merges: false };
    let Some(map) = document.as_object() else {
        if !document.is_null() {
            reader.warnings.push("it is no mapping: left out".into());
        }
        return reader.warnings;
    };
    // Null says nothing, as it does to upstream's decoder.
    let said = map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
    let map: &Map<String, Value> = &said.collect();
    reader.merging(map);
    for (key, value) in map {
        reader.apply(options, key, value);
    }
    reader.soft(options, map);
    reader.shutdown(options, map);
    reader.cpus(options, map);
    reader.memory(options, map);
    reader.topology(options, map);
    reader.image_gc(&mut options.image_gc);
    reader.oldest_image(&mut options.image_gc);
    reader.pulls(&mut options.pace, map);
    reader.frequencies(&mut options.pace, map);
    reader.verification(options, map);
    options.faults = reader.faults;
    reader.warnings
}

struct Reader {
    warnings: Vec<String>,
    /// What the kubelet must not start with.
    faults: Vec<String>,
    /// Whether thresholds that are not named stay as they are.
    merges: bool,
}

impl Reader {
    fn merging(&mut self, document: &Map<String, Value>) {
        if let Some(value) = document.get(MERGE) {
            let mut merges = false;
            self.set(MERGE, value, &mut merges);
            self.merges = merges;
        }
    }

    fn apply(&mut self, options: &mut Options, key: &str, value: &Value) {
        match key {
            "kind" | "apiVersion" => {}
            "maxPods" => self.positive(key, value, &mut options.max_pods),
            "readOnlyPort" => self.set(key, value, &mut options.read_only_port),
            "clusterDomain" => self.set(key, value, &mut options.cluster.domain),
            "clusterDNS" => self.set::<Vec<IpAddr>>(key, value, &mut options.cluster.dns),
            "registerWithTaints" => self.taints(key, value, &mut options.taints),
            "staticPodPath" => self.set(key, value, &mut options.dirs.manifests),
            // Read together.
            "shutdownGracePeriod" | "shutdownGracePeriodCriticalPods" | "shutdownGracePeriodByPodPriority" => {}
            "evictionPressureTransitionPeriod" => self.duration(key, value, &mut options.pressure_transition),
            "evictionHard" => self.thresholds(key, value, &mut options.eviction),
            "evictionSoft" => self.thresholds(key, value, &mut options.soft_eviction.thresholds),
            // Read together with the thresholds.
            "evictionSoftGracePeriod" | MERGE => {}
            "evictionMaxPodGracePeriod" => self.set(key, value, &mut options.soft_eviction.pod_grace),
            "imageGCHighThresholdPercent" => self.percent(key, value, &mut options.image_gc.high),
            "imageGCLowThresholdPercent" => self.percent(key, value, &mut options.image_gc.low),
            "imageMinimumGCAge" => self.duration(key, value, &mut options.image_gc.youngest),
            "containerLogMaxSize" => self.bytes(key, value, &mut options.logs.size),
            "containerLogMaxFiles" => {
                let mut files = options.logs.files;
                self.set(key, value, &mut files);
                if files < 2 {
                    self.warn(key, "must be at least 2");
                } else {
                    options.logs.files = files;
                }
            }
            "podPidsLimit" => {
                let mut limit = -1_i64;
                self.set(key, value, &mut limit);
                options.pod_pids = u64::try_from(limit).ok().filter(|n| *n > 0);
            }
            "enforceNodeAllocatable" => self.enforcement(key, value, &mut options.enforce_allocatable),
            "enableDebuggingHandlers" => self.set(key, value, &mut options.debugging),
            "enableSystemLogHandler" => self.set(key, value, &mut options.system_logs),
            "singleProcessOOMKill" => self.set(key, value, &mut options.single_process_oom_kill),
            // Read together with what is reserved.
            "cpuManagerPolicy" | "cpuManagerPolicyOptions" | "reservedSystemCPUs" => {}
            "memoryManagerPolicy" | "reservedMemory" => {}
            "featureGates" => self.gates(key, value),
            // Read together.
            "imagePullCredentialsVerificationPolicy" | "preloadedImagesVerificationAllowlist" => {}
            "topologyManagerPolicy" | "topologyManagerScope" | "topologyManagerPolicyOptions" => {}
            "userNamespaces" => self.users(value, &mut options.ids_per_pod),
            "failSwapOn" => self.set(key, value, &mut options.fail_swap_on),
            "memorySwap" => self.swap(value, &mut options.swap),
            "seccompDefault" => self.set(key, value, &mut options.seccomp_default),
            "allowedUnsafeSysctls" => self.sysctls(key, value, &mut options.unsafe_sysctls),
            "systemReserved" | "kubeReserved" => self.reserve(key, value, &mut options.reserved),
            _ if self.limit(options, key, value) || self.transport(&mut options.tls, key, value) => {}
            _ => self.other(key, value),
        }
    }

    fn other(&mut self, key: &str, value: &Value) {
        let said = value.to_string();
        match FIXED.iter().find(|(name, _)| *name == key) {
            Some((_, fixed)) if said == *fixed => {}
            Some((_, fixed)) => self.warn(key, &format!("is always {fixed} on this node")),
            None => self.warn(key, "is not supported by this node: left out"),
        }
    }

    fn warn(&mut self, key: &str, problem: &str) {
        self.warnings.push(format!("{key}: {problem}"));
    }

    fn set<T: DeserializeOwned>(&mut self, key: &str, value: &Value, into: &mut T) {
        match serde_json::from_value(value.clone()) {
            Ok(read) => *into = read,
            Err(error) => self.warn(key, &format!("{error}: left out")),
        }
    }

    fn duration(&mut self, key: &str, value: &Value, into: &mut Duration) {
        match value.as_str().and_then(duration) {
            // None is the default, as upstream's: documents that name every key have it so.
            Some(read) if read.is_zero() => {}
            Some(read) => *into = read,
            None => self.warn(key, &format!("{value} is no duration such as 1m30s: left out")),
        }
    }

    fn swap(&mut self, value: &Value, into: &mut SwapBehavior) {
        let said = value.get("swapBehavior");
        match said.map(|said| said.as_str()) {
            None | Some(Some("" | "NoSwap")) => *into = SwapBehavior::NoSwap,
            Some(Some("LimitedSwap")) => *into = SwapBehavior::LimitedSwap,
            Some(_) => {
                let said = said.map(Value::to_string).unwrap_or_default();
                self.warn("memorySwap.swapBehavior", &format!("{said} is neither NoSwap nor LimitedSwap: left out"))
            }
        }
    }

    fn percent(&mut self, key: &str, value: &Value, into: &mut u64) {
        match value.as_u64().filter(|n| *n <= 100) {
            Some(read) => *into = read,
            None => self.warn(key, &format!("{value} is no number from 0 to 100: left out")),
        }
    }

    fn bytes(&mut self, key: &str, value: &Value, into: &mut u64) {
        // No text is the default, as upstream's.
        if value.as_str() == Some("") {
            return;
        }
        match value.as_str().and_then(amount_of_bytes) {
            Some(read) => *into = read,
            None => self.warn(key, &format!("{value} is no quantity such as 10Mi: left out")),
        }
    }

    /// As upstream: thresholds that are not named are none, once any is named, unless the document says that they stay.
    fn thresholds(&mut self, field: &str, value: &Value, into: &mut Thresholds) {
        let empty = Map::new();
        let named = value.as_object().unwrap_or(&empty);
        if named.is_empty() {
            return;
        }
        let mut new = if self.merges { *into } else { Thresholds::none() };
        for (signal, value) in named {
            let key = format!("{field}[{signal}]");
            let Some(known) = Signal::ALL.into_iter().find(|s| s.as_str() == signal) else {
                self.warn(&key, "is no signal of this node: left out");
                continue;
            };
            match value.as_str().and_then(Amount::parse) {
                // All of it is never too little, as upstream has it: it switches a signal off.
                Some(Amount::Share(10_000)) => new.set(known, Amount::Units(0)),
                Some(amount) => new.set(known, amount),
                None => self.warn(&key, &format!("{value} is neither a quantity nor a percentage: left out")),
            }
        }
        *into = new;
    }

    /// Every soft threshold needs its grace period: one without would be a hard one.
    fn soft(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let soft: &mut SoftEviction = &mut options.soft_eviction;
        let named = document.get("evictionSoftGracePeriod").and_then(Value::as_object).cloned().unwrap_or_default();
        for signal in Signal::ALL {
            let key = format!("evictionSoftGracePeriod[{}]", signal.as_str());
            let said = named.get(signal.as_str());
            match said.and_then(Value::as_str).and_then(duration) {
                Some(grace) => drop(soft.grace.insert(signal, grace)),
                None if soft.thresholds.of(signal) == Amount::Units(0) && said.is_none() => {}
                None => {
                    self.warn(&key, "is no duration such as 1m30s: the threshold is left out");
                    soft.thresholds.set(signal, Amount::Units(0));
                }
            }
        }
    }

    fn reserve(&mut self, key: &str, value: &Value, into: &mut BTreeMap<String, u64>) {
        let mut list: BTreeMap<String, Quantity> = BTreeMap::new();
        self.set(key, value, &mut list);
        for (resource, amount) in list {
            let known = ["cpu", "memory", "ephemeral-storage"].contains(&resource.as_str());
            match quantity::milli(&amount.0).and_then(|n| u64::try_from(n).ok()).filter(|_| known) {
                Some(milli) => *into.entry(resource).or_default() += milli,
                None => {
                    self.warn(&format!("{key}[{resource}]"), &format!("{:?} cannot be reserved: left out", amount.0))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cluster;
    use crate::cpus::{CpuOptions, CpuPolicy, Reserved};
    use serde_json::json;

    #[test]
    fn nobody_reads_without_a_name_unless_told() {
        for (document, want, warnings) in [
            (json!({}), None, 0),
            (json!({"readOnlyPort": 0}), None, 0),
            (json!({"readOnlyPort": 10255}), Some("0.0.0.0:10255"), 0),
            (json!({"readOnlyPort": 65536}), None, 1),
            (json!({"readOnlyPort": -1}), None, 1),
            (json!({"readOnlyPort": "10255"}), None, 1),
        ] {
            let mut options = Options::new("n", Cluster::default());
            assert_eq!(configure(&mut options, &document).len(), warnings, "{document}");
            assert_eq!(options.read_only().map(|address| address.to_string()).as_deref(), want, "{document}");
        }
    }

    #[test]
    fn thresholds_that_are_not_named_stay_when_the_document_says_so() {
        let read = |document: Value| {
            let mut options = Options::new("n", Cluster::default());
            let warnings = configure(&mut options, &document);
            (options.eviction, warnings.len())
        };
        let (default, memory) = (Thresholds::default(), Amount::Share(500));
        let hard = json!({"memory.available": "5%"});
        for (document, want) in [
            (json!({"evictionHard": hard}), (Thresholds { memory, ..Thresholds::none() }, 0)),
            (json!({"evictionHard": hard, MERGE: false}), (Thresholds { memory, ..Thresholds::none() }, 0)),
            (json!({"evictionHard": hard, MERGE: true}), (Thresholds { memory, ..default }, 0)),
            (json!({MERGE: true}), (default, 0)),
            (json!({"evictionHard": {"memory.available": "100%"}}), (Thresholds::none(), 0)),
            (json!({MERGE: "yes"}), (default, 1)),
        ] {
            assert_eq!(read(document.clone()), want, "{document}");
        }
    }

    #[test]
    fn every_key_is_taken_over_or_named() {
        let mut options = Options::new("n", Cluster::default());
        let warnings = configure(
            &mut options,
            &json!({
                "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "maxPods": 7, "clusterDNS": ["10.0.0.10"], "clusterDomain": "example",
                "evictionHard": {"memory.available": "5%", "imagefs.available": "1Gi", "nodefs.other": "1", "pid.available": "many"},
                "evictionSoft": {"memory.available": "10%", "nodefs.available": "20%"},
                "evictionSoftGracePeriod": {"memory.available": "1m30s"}, "evictionMaxPodGracePeriod": 20,
                "evictionPressureTransitionPeriod": "30s", "shutdownGracePeriod": "1m",
                "imageGCHighThresholdPercent": 70, "imageGCLowThresholdPercent": 90, "imageMinimumGCAge": "10s",
                "containerLogMaxSize": "1Mi", "containerLogMaxFiles": 1,
                "enforceNodeAllocatable": [], "singleProcessOOMKill": true, "podPidsLimit": 512, "allowedUnsafeSysctls": ["net.core.*"],
                "systemReserved": {"cpu": "100m", "memory": "64Mi"}, "kubeReserved": {"cpu": "1", "pears": "1"},
                "registerWithTaints": [{"key": "k", "effect": "NoSchedule"}],
                "cpuManagerPolicy": "static", "reservedSystemCPUs": "0,x", "cpuManagerPolicyOptions": {"full-pcpus-only": "true"},
                "cgroupDriver": "systemd", "serverTLSBootstrap": true, "enableDebuggingHandlers": false, "enableSystemLogHandler": false,
                "swapBehaviour": "x", "staticPodPath": 3, "failSwapOn": true, "memorySwap": {"swapBehavior": "LimitedSwap"},
            }),
        );
        assert_eq!((options.max_pods, options.cluster.domain.as_str(), options.cluster.dns.len()), (7, "example", 1));
        let none = Thresholds::none();
        assert_eq!(
            options.eviction,
            Thresholds { memory: Amount::Share(500), image_disk: Amount::Units(1 << 30), ..none }
        );
        let soft = &options.soft_eviction;
        assert_eq!(soft.thresholds, Thresholds { memory: Amount::Share(1000), ..none });
        assert_eq!((soft.grace.get(&Signal::Memory).map(Duration::as_secs), soft.pod_grace), (Some(90), 20));
        assert_eq!((options.pressure_transition.as_secs(), options.shutdown.whole.as_secs()), (30, 60));
        assert_eq!((options.image_gc.high, options.image_gc.low, options.image_gc.youngest.as_secs()), (70, 70, 10));
        assert_eq!((options.logs.size, options.logs.files), (1 << 20, 5));
        assert_eq!((options.pod_pids, options.unsafe_sysctls.as_slice()), (Some(512), &["net.core.*".to_owned()][..]));
        assert_eq!(
            options.reserved,
            BTreeMap::from([("cpu".to_owned(), 1100), ("memory".to_owned(), (64 << 20) * 1000)])
        );
        let whole = CpuOptions { full_cores: true, ..Default::default() };
        assert_eq!(options.cpu_policy, CpuPolicy::Static { reserved: Reserved::Count(2), options: whole });
        assert_eq!((options.enforce_allocatable, options.single_process_oom_kill), (false, true));
        assert!(!options.debugging && !options.system_logs);
        assert_eq!((options.swap, options.fail_swap_on), (SwapBehavior::LimitedSwap, true));
        assert_eq!(options.taints.len(), 1);
        let keys: Vec<&str> = warnings.iter().filter_map(|w| w.split(':').next()).collect();
        let mut wanted = vec![
            "cgroupDriver",
            "containerLogMaxFiles",
            "evictionHard[nodefs.other]",
            "evictionHard[pid.available]",
            "evictionSoftGracePeriod[nodefs.available]",
            "imageGCLowThresholdPercent",
            "kubeReserved[pears]",
            "reservedSystemCPUs",
            "staticPodPath",
            "swapBehaviour",
        ];
        let mut keys = keys;
        keys.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(keys, wanted, "{warnings:#?}");
        assert_eq!(configure(&mut options, &Value::Null), Vec::<String>::new());
    }
}
