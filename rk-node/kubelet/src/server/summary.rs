//! `/stats/summary`: usage as JSON, what `kubectl top` (through a metrics server) and eviction tests read.

use http::{Response, StatusCode};
use jiff::Timestamp;
use rustix::fs::statvfs;
use serde_json::{Map, Value, json};

use super::body::{Body, json as json_body, text};
use super::routes::State;
use super::stats::{self, PodUsage, Usage};
use crate::pod::spec;
use crate::volumes::VolumeStats;

fn numbers(time: &str, pairs: &[(&str, Option<u64>)]) -> Value {
    let mut map = Map::from_iter([("time".to_owned(), json!(time))]);
    map.extend(pairs.iter().filter_map(|(key, value)| Some(((*key).to_owned(), json!((*value)?)))));
    Value::Object(map)
}

fn cpu(time: &str, usage: &Usage) -> Value {
    numbers(time, &[("usageNanoCores", usage.cpu_nanocores), ("usageCoreNanoSeconds", usage.cpu_nanos)])
}

fn memory(time: &str, usage: &Usage, available: Option<u64>) -> Value {
    let pairs = [
        ("availableBytes", available),
        ("usageBytes", usage.usage),
        ("workingSetBytes", usage.working_set),
        ("rssBytes", usage.rss),
        ("pageFaults", usage.page_faults),
        ("majorPageFaults", usage.major_page_faults),
    ];
    numbers(time, &pairs)
}

fn swap(time: &str, usage: &Usage) -> Value {
    numbers(time, &[("swapAvailableBytes", usage.swap_available), ("swapUsageBytes", usage.swap)])
}

/// Builds the document.
pub async fn summary(state: &State, only_cpu_and_memory: bool) -> Response<Body> {
    let pods = match stats::pods(&state.context).await {
        Ok(pods) => pods,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}", error.call)),
    };
    let now = Timestamp::now().to_string();
    let node = stats::node(state.context.cgroups.root());
    let total = u64::try_from(state.context.node.borrow().memory).unwrap_or(0);
    let available = node.working_set.map(|w| total.saturating_sub(w));
    let mut of_node = json!({
        "nodeName": state.context.options.node_name,
        "startTime": boot_time(),
        "cpu": cpu(&now, &node),
        "memory": memory(&now, &node, available),
        "swap": swap(&now, &node),
    });
    if !only_cpu_and_memory && let Some(map) = of_node.as_object_mut() {
        map.insert("fs".into(), filesystem(state, &now));
    }
    let mut list: Vec<Value> = Vec::new();
    for usage in &pods {
        let mut value = pod(state, usage, &now, only_cpu_and_memory);
        if !only_cpu_and_memory && let Some(map) = value.as_object_mut() {
            let held = state.context.volumes.stats(&usage.uid).await;
            let volumes: Vec<Value> = held.iter().map(|v| volume(v, &usage.namespace, &now)).collect();
            map.insert("volume".into(), volumes.into());
        }
        list.push(value);
    }
    json_body(&json!({"node": of_node, "pods": list}))
}

fn filesystem(state: &State, time: &str) -> Value {
    match statvfs(&state.context.options.dirs.kubelet) {
        Ok(s) => numbers(
            time,
            &[
                ("capacityBytes", Some(s.f_blocks * s.f_frsize)),
                ("availableBytes", Some(s.f_bavail * s.f_frsize)),
                ("usedBytes", Some(s.f_blocks.saturating_sub(s.f_bfree) * s.f_frsize)),
                ("inodes", Some(s.f_files)),
                ("inodesFree", Some(s.f_ffree)),
                ("inodesUsed", Some(s.f_files.saturating_sub(s.f_ffree))),
            ],
        ),
        Err(_) => numbers(time, &[]),
    }
}

fn pod(state: &State, usage: &PodUsage, time: &str, only_cpu_and_memory: bool) -> Value {
    let known = state.pods.find(&usage.namespace, &usage.name).filter(|p| spec::uid(p) == usage.uid);
    let start = known.and_then(|p| p.status.as_ref().and_then(|s| s.start_time.clone()));
    let containers: Vec<Value> = usage
        .containers
        .iter()
        .map(|c| {
            let mut value = json!({"name": c.name, "startTime": start, "cpu": cpu(time, &c.usage), "memory": memory(time, &c.usage, None), "swap": swap(time, &c.usage)});
            if !only_cpu_and_memory && let Some(map) = value.as_object_mut() {
                map.insert("rootfs".into(), numbers(time, &[("usedBytes", c.root_fs)]));
            }
            value
        })
        .collect();
    let mut value = json!({
        "podRef": {"name": usage.name, "namespace": usage.namespace, "uid": usage.uid},
        "startTime": start,
        "containers": containers,
        "cpu": cpu(time, &usage.usage),
        "memory": memory(time, &usage.usage, None),
        "swap": swap(time, &usage.usage),
    });
    if !only_cpu_and_memory
        && let (Some(map), Some((name, received, sent))) = (value.as_object_mut(), usage.network.first())
    {
        map.insert("network".into(), json!({"time": time, "name": name, "rxBytes": received, "txBytes": sent}));
    }
    value
}

fn volume(stats: &VolumeStats, namespace: &str, time: &str) -> Value {
    let at = |list: Option<[u64; 3]>, index: usize| list.and_then(|numbers| numbers.get(index).copied());
    let mut value = numbers(
        time,
        &[
            ("capacityBytes", at(stats.bytes, 0)),
            ("availableBytes", at(stats.bytes, 1)),
            ("usedBytes", at(stats.bytes, 2)),
            ("inodes", at(stats.inodes, 0)),
            ("inodesFree", at(stats.inodes, 1)),
            ("inodesUsed", at(stats.inodes, 2)),
        ],
    );
    if let Some(map) = value.as_object_mut() {
        map.insert("name".into(), json!(stats.name));
        if let Some(claim) = &stats.claim {
            map.insert("pvcRef".into(), json!({"name": claim, "namespace": namespace}));
        }
        if stats.abnormal.is_some() {
            map.insert("volumeHealthStats".into(), json!({"abnormal": true}));
        }
    }
    value
}

fn boot_time() -> Option<String> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds: i64 = stat.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok())?;
    Timestamp::from_second(seconds).ok().map(|t| t.to_string())
}
