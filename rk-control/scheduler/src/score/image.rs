//! Images that are present already.

use super::MAX;
use crate::model::{Cluster, NodeInfo, PodInfo};

/// Below this many bytes of present images there is nothing to gain.
const LOW: i64 = 23 * 1024 * 1024;
/// More than this many bytes per container gain nothing further.
const HIGH: i64 = 1000 * 1024 * 1024;

pub(super) fn locality(_: &Cluster, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    // Of a large cluster these are a part, and stand for all of it.
    let total = nodes.len().max(1) as i64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_counts_by_how_many_of_the_nodes_that_serve_have_it() {
        let mut cluster = Cluster::default();
        for name in ["a", "b", "c", "d"] {
            let images = if name == "a" { json!([{"names": ["app:latest"], "sizeBytes": HIGH}]) } else { json!([]) };
            let node = json!({"metadata": {"name": name}, "status": {"images": images}});
            cluster.set_node(&serde_json::from_value(node).expect("a node"));
        }
        let pod = json!({"spec": {"containers": [{"name": "c", "image": "app"}]}});
        let pod = PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule");
        let nodes: Vec<&NodeInfo> = ["a", "b"].into_iter().filter_map(|name| cluster.node(name)).collect();
        assert_eq!(locality(&cluster, &pod, &nodes), [48, 0]);
    }
}
