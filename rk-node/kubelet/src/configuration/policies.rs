//! Which CPUs, which memory and which users containers get.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Reader;
use super::read::{amount_of_bytes, boolean};
use crate::cpus::{CpuOptions, CpuPolicy, CpuSet, Maturity, Reserved};
use crate::memory::MemoryPolicy;
use crate::numa::{Scope, TopologyPolicy, TopologyRules};
use crate::options::Options;
use crate::userns::IDS_PER_POD;

/// `reservedMemory`: what of a memory node is no pod's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReservedMemory {
    numa_node: usize,
    limits: BTreeMap<String, String>,
}

/// What is kept of each memory node, and what is wrong with how that is told (upstream's `validateReservedMemoryConfiguration`).
fn reserved_memory(value: Option<&Value>) -> (BTreeMap<usize, BTreeMap<String, u64>>, Vec<String>) {
    let mut reserved: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
    let mut problems = Vec::new();
    let listed: &[Value] = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(listed)) => listed.as_slice(),
        Some(other) => {
            problems.push(format!("reservedMemory: {other} is no list"));
            &[]
        }
    };
    for (index, value) in listed.iter().enumerate() {
        let entry = match ReservedMemory::deserialize(value) {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(format!("reservedMemory[{index}]: {error}"));
                continue;
            }
        };
        for (name, amount) in &entry.limits {
            let of_node = reserved.entry(entry.numa_node).or_default();
            match limit(entry.numa_node, name, amount, of_node) {
                Ok(bytes) => drop(of_node.insert(name.clone(), bytes)),
                Err(problem) => problems.push(format!("reservedMemory[{index}]: {problem}")),
            }
        }
    }
    (reserved, problems)
}

/// What is kept of one resource of a memory node for which that is known of others already.
fn limit(node: usize, name: &str, amount: &str, known: &BTreeMap<String, u64>) -> Result<u64, String> {
    if name != "memory" && !name.starts_with("hugepages-") {
        let accepted = "only memory and hugepages-<HugePageSize> are accepted";
        return Err(format!("the limit type {name:?} for NUMA node {node} is not supported, {accepted}"));
    }
    if known.contains_key(name) {
        return Err(format!("the reserved memory has a duplicate value for NUMA node {node} and resource {name:?}"));
    }
    amount_of_bytes(amount).ok_or_else(|| {
        format!("reserved memory may not be zero for NUMA node {node} and resource {name:?}: {amount:?}")
    })
}

/// Lets young options of the CPU manager be.
const ALPHA_GATE: &str = "CPUManagerPolicyAlphaOptions";
/// Lets nearly grown ones be.
const BETA_GATE: &str = "CPUManagerPolicyBetaOptions";

/// Whether the feature gates of a document let options of this maturity be.
fn enabled(document: &Map<String, Value>, maturity: Maturity) -> bool {
    let gate = |name: &str| document.get("featureGates").and_then(|gates| gates.get(name)).and_then(Value::as_bool);
    match maturity {
        Maturity::Alpha => gate(ALPHA_GATE).unwrap_or(false),
        Maturity::Beta => gate(BETA_GATE).unwrap_or(true),
        Maturity::Stable => true,
    }
}

/// A word, or whatever stands in its place.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Reader {
    /// The static policy needs CPUs that it never gives away.
    pub(super) fn cpus(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let named = document.get("reservedSystemCPUs").map(|value| (value, value.as_str().and_then(CpuSet::parse)));
        if let Some((value, None)) = &named {
            self.warn("reservedSystemCPUs", &format!("{value} is no list of CPUs such as 0-1: left out"));
        }
        let reserved = match named.and_then(|(_, set)| set).filter(|set| !set.is_empty()) {
            Some(set) => {
                let milli = u64::try_from(set.len()).unwrap_or(0).saturating_mul(1000);
                options.reserved.insert("cpu".to_owned(), milli);
                Some(Reserved::Set(set))
            }
            None => {
                let milli = options.reserved.get("cpu").copied().unwrap_or(0);
                usize::try_from(milli.div_ceil(1000)).ok().filter(|count| *count > 0).map(Reserved::Count)
            }
        };
        match (document.get("cpuManagerPolicy").and_then(Value::as_str), reserved) {
            (None | Some("none" | ""), _) => {}
            (Some("static"), Some(reserved)) => {
                let more = self.cpu_options(document);
                options.cpu_policy = CpuPolicy::Static { reserved, options: more };
            }
            (Some("static"), None) => {
                self.warn(
                    "cpuManagerPolicy",
                    "static needs reservedSystemCPUs, or CPUs in systemReserved or kubeReserved: left out",
                );
            }
            (Some(other), _) => {
                self.warn("cpuManagerPolicy", &format!("{other:?} is neither none nor static: left out"))
            }
        }
    }

    /// Options by name; their values are words, as upstream's map of strings has them.
    fn named(&mut self, key: &str, value: Option<&Value>, mut set: impl FnMut(&str, &str) -> Result<(), String>) {
        let Some(value) = value else { return };
        let Some(map) = value.as_object() else { return self.warn(key, "is no mapping: left out") };
        for (name, value) in map {
            if let Err(problem) = set(name, &word(value)) {
                self.warn(&format!("{key}[{name}]"), &format!("{problem}: left out"));
            }
        }
    }

    /// Options of the CPU manager, as far as their feature gates let them be; those that exclude each other are all left out.
    fn cpu_options(&mut self, document: &Map<String, Value>) -> CpuOptions {
        let mut options = CpuOptions::default();
        self.named("cpuManagerPolicyOptions", document.get("cpuManagerPolicyOptions"), |name, word| {
            let maturity =
                CpuOptions::maturity(name).ok_or_else(|| format!("unknown CPU Manager Policy option: {name:?}"))?;
            if !enabled(document, maturity) {
                return Err(format!(
                    "CPU Manager Policy {maturity:?}-level Options not enabled, but option {name:?} provided"
                ));
            }
            let value = boolean(word).ok_or_else(|| format!("bad value for option {name:?}: {word:?}"))?;
            options.set(name, value);
            Ok(())
        });
        match options.contradiction() {
            Some((one, other)) => {
                let problem = format!("static policy options {one} and {other} can not be used at the same time");
                self.warn("cpuManagerPolicyOptions", &format!("{problem}: all are left out"));
                CpuOptions::default()
            }
            None => options,
        }
    }

    /// Feature gates: those that decide on something here; all else is as upstream has it by default.
    pub(super) fn gates(&mut self, key: &str, value: &Value) {
        let Some(map) = value.as_object() else { return self.warn(key, "is no mapping: left out") };
        for (name, value) in map {
            if ![ALPHA_GATE, BETA_GATE].contains(&name.as_str()) {
                self.warn(&format!("{key}[{name}]"), "is no feature gate of this node: left out");
            } else if !value.is_boolean() {
                self.warn(&format!("{key}[{name}]"), &format!("{value} is neither true nor false: left out"));
            }
        }
    }

    /// The static policy of memory needs to know what of each node is kept: the sum is compared when the machine is known. Upstream's
    /// kubelet does not start with less, and this one neither.
    pub(super) fn memory(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let (reserved, problems) = reserved_memory(document.get("reservedMemory"));
        match document.get("memoryManagerPolicy").map(word).as_deref() {
            None | Some("None" | "") if reserved.is_empty() && problems.is_empty() => {}
            None | Some("None" | "") => {
                self.warn("reservedMemory", "has no effect without memoryManagerPolicy: Static")
            }
            Some("Static") if !problems.is_empty() => self.faults.extend(problems),
            Some("Static") if reserved.is_empty() => {
                let problem = "memoryManagerPolicy: you should specify the system reserved memory (reservedMemory)";
                self.faults.push(problem.to_owned());
            }
            Some("Static") => options.memory_policy = MemoryPolicy::Static(reserved),
            Some(other) => self.warn("memoryManagerPolicy", &format!("{other:?} is neither None nor Static: left out")),
        }
    }

    pub(super) fn topology(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let mut rules = TopologyRules::default();
        let said = |key: &str| document.get(key).map(word);
        rules.policy = match said("topologyManagerPolicy").as_deref() {
            None | Some("none" | "") => TopologyPolicy::None,
            Some("best-effort") => TopologyPolicy::BestEffort,
            Some("restricted") => TopologyPolicy::Restricted,
            Some("single-numa-node") => TopologyPolicy::SingleNumaNode,
            Some(other) => {
                let known = "none, best-effort, restricted or single-numa-node";
                self.warn("topologyManagerPolicy", &format!("{other:?} is none of {known}: left out"));
                TopologyPolicy::None
            }
        };
        rules.scope = match said("topologyManagerScope").as_deref() {
            None | Some("container" | "") => Scope::Container,
            Some("pod") => Scope::Pod,
            Some(other) => {
                self.warn("topologyManagerScope", &format!("{other:?} is neither container nor pod: left out"));
                Scope::Container
            }
        };
        let value = document.get("topologyManagerPolicyOptions");
        self.named("topologyManagerPolicyOptions", value, |name, word| match name {
            "prefer-closest-numa-nodes" => {
                rules.closest = word.parse().map_err(|_| format!("{word:?} is neither true nor false"))?;
                Ok(())
            }
            "max-allowable-numa-nodes" => {
                // Below eight upstream refuses; above sixteen the sets of nodes are too many to be looked at.
                let number = word.parse().ok().filter(|n| (8..=16).contains(n));
                rules.most_nodes = number.ok_or_else(|| format!("{word:?} is no number from 8 to 16"))?;
                Ok(())
            }
            _ => Err("is no option of this node".to_owned()),
        });
        if let CpuPolicy::Static { options: cpus, .. } = &mut options.cpu_policy
            && rules.policy == TopologyPolicy::SingleNumaNode
            && std::mem::take(&mut cpus.by_socket)
        {
            let problem = "Topology manager single-numa-node policy is incompatible with it: left out";
            self.warn("cpuManagerPolicyOptions[align-by-socket]", problem);
        }
        options.topology = rules;
    }

    /// `userNamespaces.idsPerPod` (KEP-127): a multiple of 65536.
    pub(super) fn users(&mut self, value: &Value, into: &mut u32) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
            match (key.as_str(), number.filter(|n| *n > 0 && n % IDS_PER_POD == 0)) {
                ("idsPerPod", Some(ids)) => *into = ids,
                ("idsPerPod", None) => {
                    self.warn("userNamespaces.idsPerPod", &format!("{value} is no multiple of {IDS_PER_POD}: left out"))
                }
                _ => self.warn(&format!("userNamespaces.{key}"), "is not supported by this node: left out"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configure;
    use super::*;
    use crate::Cluster;
    use serde_json::json;

    fn read(document: Value) -> (Options, Vec<String>) {
        let mut options = Options::new("n", Cluster::default());
        let warnings = configure(&mut options, &document);
        let keys = warnings.iter().filter_map(|w| Some(w.split_once(": ")?.0.to_owned())).collect();
        (options, keys)
    }

    #[test]
    fn policies_are_read_with_their_options() {
        let (options, keys) = read(json!({
            "cpuManagerPolicy": "static", "reservedSystemCPUs": "0", "featureGates": {"CPUManagerPolicyAlphaOptions": true},
            "cpuManagerPolicyOptions": {"full-pcpus-only": "true", "align-by-socket": "true", "pears": "true", "strict-cpu-reservation": "x"},
            "memoryManagerPolicy": "Static",
            "reservedMemory": [{"numaNode": 0, "limits": {"memory": "60Mi"}}, {"numaNode": 1, "limits": {"memory": "40Mi", "hugepages-2Mi": "2Mi"}}],
            "topologyManagerPolicy": "restricted", "topologyManagerScope": "pod",
            "topologyManagerPolicyOptions": {"prefer-closest-numa-nodes": "true", "max-allowable-numa-nodes": "12", "x": "1"},
            "userNamespaces": {"idsPerPod": 131_072},
        }));
        let want = CpuOptions { full_cores: true, by_socket: true, ..Default::default() };
        assert!(matches!(&options.cpu_policy, CpuPolicy::Static { options, .. } if *options == want));
        let MemoryPolicy::Static(reserved) = &options.memory_policy else { panic!("{:?}", options.memory_policy) };
        assert_eq!(reserved[&1], [("memory".to_owned(), 40 << 20), ("hugepages-2Mi".to_owned(), 2 << 20)].into());
        let rules =
            TopologyRules { policy: TopologyPolicy::Restricted, scope: Scope::Pod, closest: true, most_nodes: 12 };
        assert_eq!((options.topology, options.ids_per_pod), (rules, 131_072));
        let wrong = [
            "cpuManagerPolicyOptions[pears]",
            "cpuManagerPolicyOptions[strict-cpu-reservation]",
            "topologyManagerPolicyOptions[x]",
        ];
        assert_eq!(keys, wrong);
    }

    #[test]
    fn what_is_wrong_is_named_and_left_out() {
        let both = json!({"prefer-align-cpus-by-uncorecache": "true", "distribute-cpus-across-numa": "true"});
        let alpha = json!({"CPUManagerPolicyAlphaOptions": true});
        for (document, want) in [
            (json!({"memoryManagerPolicy": "None", "topologyManagerPolicy": "none"}), &[][..]),
            (json!({"memoryManagerPolicy": "static"}), &["memoryManagerPolicy"]),
            (json!({"reservedMemory": [{"numaNode": 0, "limits": {"memory": "1Mi"}}]}), &["reservedMemory"]),
            (json!({"topologyManagerPolicy": "strict"}), &["topologyManagerPolicy"]),
            (json!({"topologyManagerScope": 3}), &["topologyManagerScope"]),
            (
                json!({"topologyManagerPolicyOptions": {"max-allowable-numa-nodes": "4"}}),
                &["topologyManagerPolicyOptions[max-allowable-numa-nodes]"],
            ),
            (
                json!({"cpuManagerPolicy": "static", "reservedSystemCPUs": "0", "cpuManagerPolicyOptions": both}),
                &["cpuManagerPolicyOptions"],
            ),
            (
                json!({"cpuManagerPolicy": "static", "reservedSystemCPUs": "0", "cpuManagerPolicyOptions": {"align-by-socket": "true"},
                    "topologyManagerPolicy": "single-numa-node", "featureGates": alpha}),
                &["cpuManagerPolicyOptions[align-by-socket]"],
            ),
            (json!({"userNamespaces": {"idsPerPod": 65_537}}), &["userNamespaces.idsPerPod"]),
        ] {
            assert_eq!(read(document.clone()).1, want, "{document}");
        }
        assert_eq!(read(json!({"topologyManagerPolicy": "strict"})).0.topology, TopologyRules::default());
    }

    #[test]
    fn young_options_of_the_cpu_manager_need_their_gates() {
        for (gates, named, want) in [
            (json!({}), "distribute-cpus-across-cores", false),
            (json!({"CPUManagerPolicyAlphaOptions": true}), "distribute-cpus-across-cores", true),
            (json!({"CPUManagerPolicyAlphaOptions": true}), "align-by-socket", true),
            (json!({}), "align-by-socket", false),
            (json!({}), "strict-cpu-reservation", true),
            (json!({"CPUManagerPolicyBetaOptions": false}), "strict-cpu-reservation", false),
            (json!({"CPUManagerPolicyBetaOptions": false}), "full-pcpus-only", true),
        ] {
            let (options, keys) =
                read(json!({"cpuManagerPolicy": "static", "reservedSystemCPUs": "0", "featureGates": gates,
                "cpuManagerPolicyOptions": {named: "1"}}));
            assert_eq!(keys.is_empty(), want, "{gates} {named}: {keys:?}");
            let mut given = CpuOptions::default();
            given.set(named, want);
            assert!(matches!(&options.cpu_policy, CpuPolicy::Static { options, .. } if *options == given), "{named}");
        }
        assert_eq!(read(json!({"featureGates": {"Pears": true}})).1, ["featureGates[Pears]"]);
    }

    #[test]
    fn memory_that_is_reserved_wrongly_keeps_the_kubelet_from_starting() {
        let of = |node: usize, limits: Value| json!({"numaNode": node, "limits": limits});
        for (listed, want) in [
            (json!([of(0, json!({"memory": "1Mi"})), of(1, json!({"memory": "1Mi"}))]), None),
            (json!([of(0, json!({"memory": "1Mi"})), of(0, json!({"hugepages-2Mi": "2Mi"}))]), None),
            (Value::Null, Some("memoryManagerPolicy: you should specify the system reserved memory")),
            (json!([of(0, json!({}))]), Some("memoryManagerPolicy: you should specify the system reserved memory")),
            (json!("1Mi"), Some("reservedMemory: \"1Mi\" is no list")),
            (
                json!([of(0, json!({"memory": "1Mi"})), of(0, json!({"memory": "1Mi"}))]),
                Some(
                    "reservedMemory[1]: the reserved memory has a duplicate value for NUMA node 0 and resource \"memory\"",
                ),
            ),
            (
                json!([of(2, json!({"memory": "0"}))]),
                Some("reservedMemory[0]: reserved memory may not be zero for NUMA node 2 and resource \"memory\""),
            ),
            (
                json!([of(0, json!({"cpu": "1"}))]),
                Some("reservedMemory[0]: the limit type \"cpu\" for NUMA node 0 is not supported"),
            ),
            (json!([{"limits": {"memory": "1Mi"}}]), Some("reservedMemory[0]: missing field `numaNode`")),
        ] {
            let (options, warnings) = read(json!({"memoryManagerPolicy": "Static", "reservedMemory": listed}));
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(options.faults.len(), usize::from(want.is_some()), "{listed}: {:?}", options.faults);
            assert_eq!(options.memory_policy == MemoryPolicy::None, want.is_some(), "{listed}");
            let told = options.faults.first().map(String::as_str).unwrap_or_default();
            assert!(told.starts_with(want.unwrap_or_default()), "{listed}: {told}");
        }
    }
}
