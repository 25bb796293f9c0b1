//! Volumes that attachments bring to nodes, whatever pods there want of them: one that leaves a node takes its place until it has left.

use std::collections::HashMap;

use k8s_openapi::api::storage::v1::VolumeAttachment;

/// Names of persistent volumes, by nodes and the attachments that bring them there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attached(HashMap<String, HashMap<String, String>>);

impl Attached {
    pub(super) fn set(&mut self, attachment: &VolumeAttachment) {
        let spec = &attachment.spec;
        let Some(volume) = spec.source.persistent_volume_name.clone() else { return };
        let name = attachment.metadata.name.clone().unwrap_or_default();
        self.0.entry(spec.node_name.clone()).or_default().insert(name, volume);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|_, of_node| {
            of_node.remove(name);
            !of_node.is_empty()
        });
    }

    /// The persistent volumes of a node.
    pub(super) fn on(&self, node: &str) -> impl Iterator<Item = &String> {
        self.0.get(node).into_iter().flat_map(HashMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::NodeInfo;
    use super::super::pod::PodInfo;
    use super::super::storage::Storage;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_that_has_not_left_a_node_takes_its_place_there() {
        let mut storage = Storage::default();
        for name in ["old", "new"] {
            let csi = json!({"driver": "d", "volumeHandle": name});
            let volume = json!({"metadata": {"name": name}, "spec": {"csi": csi}});
            storage.set_volume(&serde_json::from_value(volume).expect("a volume"));
            let claim = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"volumeName": name}, "status": {"phase": "Bound"}});
            storage.set_claim(&serde_json::from_value(claim).expect("a claim"));
        }
        let limits = json!({"metadata": {"name": "a"}, "spec": {"drivers": [{"name": "d", "nodeID": "a", "allocatable": {"count": 1}}]}});
        storage.set_limits(&serde_json::from_value(limits).expect("a CSINode"));
        let pod = |claim: &str| {
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
            let pod =
                json!({"metadata": {"name": claim, "namespace": "n"}, "spec": {"containers": [], "volumes": volumes}});
            PodInfo::new(&serde_json::from_value(pod).expect("a pod")).expect("a pod to schedule")
        };
        let node = NodeInfo { name: "a".to_owned(), ..NodeInfo::default() };
        let fits = |storage: &Storage| ["old", "new"].map(|claim| storage.within_limits(&pod(claim), &node));
        assert_eq!(fits(&storage), [true, true]);
        let attachment = |name: &str, node: &str| -> VolumeAttachment {
            let spec = json!({"attacher": "d", "nodeName": node, "source": {"persistentVolumeName": "old"}});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("an attachment")
        };
        storage.attached.set(&attachment("elsewhere", "b"));
        assert_eq!(fits(&storage), [true, true]);
        storage.attached.set(&attachment("here", "a"));
        assert_eq!(fits(&storage), [true, false], "what is there already takes no other place");
        storage.attached.remove("here");
        assert_eq!(fits(&storage), [true, true]);
    }
}
