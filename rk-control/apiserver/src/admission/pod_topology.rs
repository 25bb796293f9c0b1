//! PodTopologyLabels: a pod carries the zone and the region of its node, where the downward API can tell them (KEP-4742).

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::Request;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a Binding, whose labels become the pod's, and a pod that comes with its node. What they say already gives way, as it does
/// upstream: a pod cannot claim another place than its node's.
pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    let node = if !request.creates() {
        ""
    } else if request.is("", "pods") {
        meta::text(object, &["spec", "nodeName"])
    } else if request.is_sub("", "pods", "binding") && meta::text(object, &["target", "kind"]) == "Node" {
        meta::text(object, &["target", "name"])
    } else {
        ""
    };
    if node.is_empty() {
        return Ok(());
    }
    // A node that is not there says nothing of where it is.
    let Some(node) = request.core.object("", "v1", "nodes", "", node).await? else { return Ok(()) };
    for label in LABELS {
        if let Some(place) = meta::at(&node, &["metadata", "labels", label]).as_str() {
            meta::set(object, &["metadata", "labels", label], place);
        }
    }
    Ok(())
}
