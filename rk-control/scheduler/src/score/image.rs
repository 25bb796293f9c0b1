//! Images that are present already.

use super::MAX;
use crate::model::{Cluster, NodeInfo, PodInfo};

/// Below this many bytes of present images there is nothing to gain.
const LOW: i64 = 23 * 1024 * 1024;
/// More than this many bytes per container gain nothing further.
const HIGH: i64 = 1000 * 1024 * 1024;

pub(super) fn locality(cluster: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let total = cluster.node_count().max(1) as i64;
    let images: Vec<(String, i64)> = pod
        .images
        .iter()
        .map(|image| with_tag(image))
        // An image that few nodes have counts less, so that its pods do not all gather there.
        .map(|image| {
            let holders = nodes.iter().filter(|node| node.images.contains_key(&image)).count() as i64;
            (image, holders)
        })
        .collect();
    let high = HIGH * pod.containers.max(1) as i64;
    let points = |node: &&NodeInfo| {
        let present = images.iter().filter_map(|(image, holders)| Some(node.images.get(image)? * holders / total));
        let bytes = present.sum::<i64>().clamp(LOW, high);
        MAX * (bytes - LOW) / (high - LOW)
    };
    nodes.iter().map(points).collect()
}

/// The name as nodes report it: with `:latest` where neither tag nor digest is given.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
