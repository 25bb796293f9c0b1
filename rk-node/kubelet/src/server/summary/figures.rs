//! Figures under the names of `stats/v1alpha1`. What is not known is left out.

use rk_cri_api::v1::{PsiData, PsiStats};
use serde_json::{Map, Value, json};

use crate::filesystem::FsUse;
use crate::server::stats::{Interface, Usage};

/// Sets a field, when there is something to set.
pub fn put(into: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(map), Some(value)) = (into.as_object_mut(), value) {
        map.insert(key.to_owned(), value);
    }
}

/// Numbers that were read at `time`.
pub fn numbers(time: &str, pairs: &[(&str, Option<u64>)]) -> Value {
    let mut map = Map::from_iter([("time".to_owned(), json!(time))]);
    map.extend(pairs.iter().filter_map(|(key, value)| Some(((*key).to_owned(), json!((*value)?)))));
    Value::Object(map)
}

fn psi(of: Option<&PsiStats>) -> Option<Value> {
    let line =
        |data: &PsiData| json!({"total": data.total, "avg10": data.avg10, "avg60": data.avg60, "avg300": data.avg300});
    let of = of?;
    let mut value = json!({});
    put(&mut value, "full", of.full.as_ref().map(line));
    put(&mut value, "some", of.some.as_ref().map(line));
    Some(value)
}

/// CPU.
pub fn cpu(time: &str, usage: &Usage) -> Value {
    let pairs = [("usageNanoCores", usage.cpu_nanocores), ("usageCoreNanoSeconds", usage.cpu_nanos)];
    let mut value = numbers(time, &pairs);
    put(&mut value, "psi", psi(usage.cpu_psi.as_ref()));
    value
}

/// Memory.
pub fn memory(time: &str, usage: &Usage) -> Value {
    let pairs = [
        ("availableBytes", usage.available),
        ("usageBytes", usage.usage),
        ("workingSetBytes", usage.working_set),
        ("rssBytes", usage.rss),
        ("pageFaults", usage.page_faults),
        ("majorPageFaults", usage.major_page_faults),
    ];
    let mut value = numbers(time, &pairs);
    put(&mut value, "psi", psi(usage.memory_psi.as_ref()));
    value
}

/// Input and output; its pressure is all there is to tell.
pub fn io(time: &str, usage: &Usage) -> Option<Value> {
    psi(usage.io_psi.as_ref()).map(|psi| json!({"time": time, "psi": psi}))
}

/// Swap.
pub fn swap(time: &str, usage: &Usage) -> Value {
    numbers(time, &[("swapAvailableBytes", usage.swap_available), ("swapUsageBytes", usage.swap)])
}

/// A file system, or one thing on it.
pub fn filesystem(time: &str, bytes: Option<[u64; 3]>, inodes: Option<[u64; 3]>) -> Value {
    let at = |list: Option<[u64; 3]>, index: usize| list.and_then(|numbers| numbers.get(index).copied());
    let pairs = [
        ("capacityBytes", at(bytes, 0)),
        ("availableBytes", at(bytes, 1)),
        ("usedBytes", at(bytes, 2)),
        ("inodes", at(inodes, 0)),
        ("inodesFree", at(inodes, 1)),
        ("inodesUsed", at(inodes, 2)),
    ];
    numbers(time, &pairs)
}

/// A file system whose numbers are all known.
pub fn whole(time: &str, of: FsUse) -> Value {
    filesystem(time, Some(of.bytes), Some(of.inodes))
}

fn interface(of: &Interface) -> Value {
    let mut value = json!({"name": of.name});
    for (key, number) in
        [("rxBytes", of.rx_bytes), ("rxErrors", of.rx_errors), ("txBytes", of.tx_bytes), ("txErrors", of.tx_errors)]
    {
        put(&mut value, key, number.map(Value::from));
    }
    value
}

/// All interfaces, and the numbers of the default one beside them; it has no name when there is none.
pub fn network(time: &str, all: &[Interface], default: Option<&Interface>) -> Option<Value> {
    if all.is_empty() {
        return None;
    }
    let mut value = default.map_or_else(|| json!({"name": ""}), interface);
    put(&mut value, "time", Some(json!(time)));
    put(&mut value, "interfaces", Some(all.iter().map(interface).collect()));
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn what_is_not_known_is_left_out() {
        let none = Usage::default();
        assert_eq!(cpu(TIME, &none), json!({"time": TIME}));
        assert_eq!(memory(TIME, &none), json!({"time": TIME}));
        assert_eq!(io(TIME, &none), None);
        assert_eq!(filesystem(TIME, None, Some([3, 2, 1]))["inodesUsed"], 1);
        assert_eq!(network(TIME, &[], None), None);
    }

    #[test]
    fn pressure_stands_beside_usage() {
        let data = PsiData { total: 7, avg10: 1.5, avg60: 0.5, avg300: 0.0 };
        let psi = PsiStats { some: Some(data), full: None };
        let usage = Usage { cpu_nanos: Some(1), cpu_psi: Some(psi), io_psi: Some(psi), ..Default::default() };
        let some = json!({"some": {"total": 7, "avg10": 1.5, "avg60": 0.5, "avg300": 0.0}});
        assert_eq!(cpu(TIME, &usage), json!({"time": TIME, "usageCoreNanoSeconds": 1, "psi": some}));
        assert_eq!(io(TIME, &usage), Some(json!({"time": TIME, "psi": some})));
    }

    #[test]
    fn the_default_interface_is_told_twice() {
        let of = |name: &str| Interface { name: name.into(), rx_bytes: Some(5), ..Default::default() };
        let (eth, other) = (json!({"name": "eth0", "rxBytes": 5}), json!({"name": "bond0", "rxBytes": 5}));
        let all = [of("eth0"), of("bond0")];
        let want = json!({"time": TIME, "name": "eth0", "rxBytes": 5, "interfaces": [eth, other]});
        assert_eq!(network(TIME, &all, all.first()), Some(want));
        let want = json!({"time": TIME, "name": "", "interfaces": [eth, other]});
        assert_eq!(network(TIME, &all, None), Some(want));
    }
}
