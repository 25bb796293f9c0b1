//! Which CPUs, which memory and which users containers get.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Reader;
use super::read::amount_of_bytes;
use crate::cpus::{CpuOptions, CpuPolicy, CpuSet, Reserved};
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
                let more = self.cpu_options(document.get("cpuManagerPolicyOptions"));
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

    fn cpu_options(&mut self, value: Option<&Value>) -> CpuOptions {
        let mut options = CpuOptions::default();
        self.named("cpuManagerPolicyOptions", value, |name, word| {
            let known = options.set(name, word.parse().map_err(|_| format!("{word:?} is neither true nor false"))?);
            if known { Ok(()) } else { Err("is no option of this node".to_owned()) }
        });
        match options.contradiction() {
            Some(both) => {
                self.warn("cpuManagerPolicyOptions", &format!("{both} exclude each other: all are left out"));
                CpuOptions::default()
            }
            None => options,
        }
    }

    /// The static policy of memory needs to know what of each node is kept: the sum is compared when the machine is known.
    pub(super) fn memory(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let mut reserved: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
        let listed = document.get("reservedMemory").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut whole = document.get("reservedMemory").is_none_or(Value::is_array);
        for (index, value) in listed.iter().enumerate() {
            let key = format!("reservedMemory[{index}]");
            let entry = match ReservedMemory::deserialize(value) {
                Ok(entry) => entry,
                Err(error) => {
                    self.warn(&key, &error.to_string());
                    whole = false;
                    continue;
                }
            };
            for (name, amount) in &entry.limits {
                let known = name == "memory" || name.starts_with("hugepages-");
                let of_node = reserved.entry(entry.numa_node).or_default();
                match amount_of_bytes(amount).filter(|_| known && !of_node.contains_key(name)) {
                    Some(bytes) => drop(of_node.insert(name.clone(), bytes)),
                    None => {
                        whole = false;
                        self.warn(
                            &key,
                            &format!("{name}: {amount:?}: not memory or huge pages, named twice, or no amount"),
                        );
                    }
                }
            }
        }
        match document.get("memoryManagerPolicy").map(word).as_deref() {
            None | Some("None" | "") if listed.is_empty() && whole => {}
            None | Some("None" | "") => {
                self.warn("reservedMemory", "has no effect without memoryManagerPolicy: Static")
            }
            Some("Static") if whole && !reserved.is_empty() => options.memory_policy = MemoryPolicy::Static(reserved),
            Some("Static") => self.warn("memoryManagerPolicy", "Static needs reservedMemory, rightly told: left out"),
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
            self.warn("cpuManagerPolicyOptions[align-by-socket]", "not with single-numa-node: left out");
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
        let keys = warnings.iter().filter_map(|w| Some(w.split_once(": ")?.0.to_owned()));
        (options, keys.collect())
    }

    #[test]
    fn policies_are_read_with_their_options() {
        let (options, keys) = read(json!({
            "cpuManagerPolicy": "static", "reservedSystemCPUs": "0",
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
        let both = json!({"align-by-socket": "true", "distribute-cpus-across-numa": "true"});
        let twice = json!([{"numaNode": 0, "limits": {"memory": "1Mi"}}, {"numaNode": 0, "limits": {"memory": "1Mi"}}]);
        for (document, want) in [
            (json!({"memoryManagerPolicy": "None", "topologyManagerPolicy": "none"}), &[][..]),
            (json!({"memoryManagerPolicy": "Static"}), &["memoryManagerPolicy"]),
            (json!({"memoryManagerPolicy": "static"}), &["memoryManagerPolicy"]),
            (json!({"reservedMemory": [{"numaNode": 0, "limits": {"memory": "1Mi"}}]}), &["reservedMemory"]),
            (
                json!({"memoryManagerPolicy": "Static", "reservedMemory": twice}),
                &["reservedMemory[1]", "memoryManagerPolicy"],
            ),
            (
                json!({"memoryManagerPolicy": "Static", "reservedMemory": [{"limits": {}}]}),
                &["reservedMemory[0]", "memoryManagerPolicy"],
            ),
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
                    "topologyManagerPolicy": "single-numa-node"}),
                &["cpuManagerPolicyOptions[align-by-socket]"],
            ),
            (json!({"userNamespaces": {"idsPerPod": 65_537}}), &["userNamespaces.idsPerPod"]),
        ] {
            assert_eq!(read(document.clone()).1, want, "{document}");
        }
        assert_eq!(read(json!({"topologyManagerPolicy": "strict"})).0.topology, TopologyRules::default());
    }
}
