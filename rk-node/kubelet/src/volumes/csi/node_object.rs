//! What the API is told of a node's drivers: the CSINode object says which there are, and their limits; the Node where they say that it
//! is, and what they call it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::drivers::{Driver, Drivers};
use crate::api_error;

/// Annotation of a Node: its names with its drivers, as JSON.
const NODE_ID: &str = "csi.volume.kubernetes.io/nodeid";

/// Keeps the object.
#[derive(Clone)]
pub struct NodeObject {
    client: Client,
    node: String,
    drivers: Drivers,
    /// Whether whoever is here has had the time to register.
    settled: Arc<AtomicBool>,
    /// Who writes: drivers register side by side, and each is to find what the others have told.
    turn: Arc<Mutex<()>>,
}

fn entry(driver: &Driver) -> CSINodeDriver {
    CSINodeDriver {
        name: driver.name.clone(),
        node_id: driver.node_id.clone(),
        topology_keys: Some(driver.topology.keys().cloned().collect::<Vec<_>>()).filter(|k| !k.is_empty()),
        allocatable: driver.max_volumes.map(|count| VolumeNodeResources { count: Some(count) }),
    }
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(key)
}

/// What is told of the drivers that are here, and of others as long as `known` tells what was told of these.
fn entries(drivers: &[Driver], known: Option<&CSINode>) -> Vec<CSINodeDriver> {
    let here = |told: &&CSINodeDriver| drivers.iter().any(|driver| driver.name == told.name);
    let others = known.into_iter().flat_map(|known| &known.spec.drivers).filter(|told| !here(told)).cloned();
    drivers.iter().map(entry).chain(others).collect()
}

/// What a Node does not say of its drivers so far; `None` when it says all. Where it is, it is for all drivers. What it says of others
/// stays until all have `settled`.
fn news(node: &Node, drivers: &[Driver], settled: bool) -> Result<Option<Value>, String> {
    let labels: BTreeMap<&String, &String> = drivers.iter().flat_map(|d| &d.topology).collect();
    for (key, value) in &labels {
        if let Some(known) = label(node, key).filter(|known| known != value) {
            return Err(format!(
                "detected topology value collision: driver reported {key:?}:{value:?} but existing label is {key:?}:{known:?}"
            ));
        }
    }
    let told = node.metadata.annotations.as_ref().and_then(|all| all.get(NODE_ID));
    let before = told.filter(|_| !settled).and_then(|told| serde_json::from_str(told).ok());
    let mut ids: BTreeMap<String, String> = before.unwrap_or_default();
    ids.extend(drivers.iter().map(|d| (d.name.clone(), d.node_id.clone())));
    let ids = Some(json!(ids).to_string()).filter(|_| !ids.is_empty());
    if told == ids.as_ref() && labels.keys().all(|key| label(node, key).is_some()) {
        return Ok(None);
    }
    Ok(Some(json!({"metadata": {"labels": labels, "annotations": {NODE_ID: ids}}})))
}

impl NodeObject {
    /// The object of this node.
    pub fn new(client: Client, node: String, drivers: Drivers) -> Self {
        Self { client, node, drivers, settled: Arc::default(), turn: Arc::default() }
    }

    /// Whoever is here has registered: from now on nothing is told of others. A kubelet that begins anew hears of its drivers one by one,
    /// and volumes go on being placed and attached by what is told of all.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// Makes the API say which drivers there are now.
    pub async fn write(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let drivers = self.drivers.all();
        let settled = self.settled.load(Ordering::Acquire);
        let node = self.tell_node(&drivers, settled).await?;
        let api: Api<CSINode> = Api::all(self.client.clone());
        let failed = |e: kube::Error| format!("writing CSINode {}: {}", self.node, api_error::text(&e));
        let known = api.get_opt(&self.node).await.map_err(failed)?;
        let entries = entries(&drivers, known.as_ref().filter(|_| !settled));
        match known {
            Some(known) if known.spec.drivers == entries => Ok(()),
            Some(known) => {
                let body = json!({"metadata": {"resourceVersion": known.metadata.resource_version}, "spec": {"drivers": entries}});
                api.patch(&self.node, &PatchParams::default(), &Patch::Merge(body)).await.map(drop).map_err(failed)
            }
            None => {
                let owner = OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: self.node.clone(),
                    uid: node.metadata.uid.unwrap_or_default(),
                    ..Default::default()
                };
                let metadata = ObjectMeta {
                    name: Some(self.node.clone()),
                    owner_references: Some(vec![owner]),
                    ..Default::default()
                };
                let object = CSINode { metadata, spec: CSINodeSpec { drivers: entries } };
                api.create(&PostParams::default(), &object).await.map(drop).map_err(failed)
            }
        }
    }

    /// Tells the Node what drivers say of it: volumes are placed by that. It must be there: it owns the other object.
    async fn tell_node(&self, drivers: &[Driver], settled: bool) -> Result<Node, String> {
        let api: Api<Node> = Api::all(self.client.clone());
        let failed = |e: kube::Error| format!("telling node {} of its drivers: {}", self.node, api_error::text(&e));
        let node = api.get(&self.node).await.map_err(failed)?;
        if let Some(body) = news(&node, drivers, settled)? {
            api.patch(&self.node, &PatchParams::default(), &Patch::Merge(body)).await.map_err(failed)?;
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_told_what_its_drivers_call_it_and_where_it_is() {
        let node = |labels: Value, annotations: Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": labels, "annotations": annotations}}))
                .unwrap()
        };
        let topology = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
        let drivers = [Driver::of("d", "n-of-d", topology)];
        let ids = json!({NODE_ID: r#"{"d":"n-of-d"}"#});
        let told = news(&node(json!({}), json!({})), &drivers, true).unwrap().unwrap();
        assert_eq!(told["metadata"], json!({"labels": {"rack": "r1"}, "annotations": ids}));
        assert_eq!(news(&node(json!({"rack": "r1"}), ids.clone()), &drivers, true), Ok(None));
        let told = news(&node(json!({"rack": "r1"}), ids), &[], true).unwrap().unwrap();
        assert_eq!(told["metadata"], json!({"labels": {}, "annotations": {NODE_ID: null}}), "the place stays");
        assert_eq!(news(&node(json!({}), json!({})), &[], true), Ok(None));
        let elsewhere = news(&node(json!({"rack": "r2"}), json!({})), &drivers, true).unwrap_err();
        assert!(elsewhere.ends_with(r#"driver reported "rack":"r1" but existing label is "rack":"r2""#), "{elsewhere}");
    }

    #[tokio::test]
    async fn drivers_that_are_still_to_register_are_told_of_as_before() {
        let told = |name: &str, id: &str| json!({"name": name, "nodeID": id});
        let known =
            json!({"metadata": {"name": "n"}, "spec": {"drivers": [told("late", "n-of-late"), told("d", "old")]}});
        let known: CSINode = serde_json::from_value(known).unwrap();
        let drivers = [Driver::of("d", "n-of-d", BTreeMap::new())];
        let all = |known| entries(&drivers, known).into_iter().map(|one| (one.name, one.node_id)).collect::<Vec<_>>();
        let pair = |name: &str, id: &str| (name.to_owned(), id.to_owned());
        assert_eq!(all(Some(&known)), [pair("d", "n-of-d"), pair("late", "n-of-late")]);
        assert_eq!(all(None), [pair("d", "n-of-d")]);
        let ids = |ids: &str| json!({"metadata": {"labels": {}, "annotations": {NODE_ID: ids}}});
        let node = json!({"metadata": {"name": "n", "annotations": {NODE_ID: r#"{"d":"old","late":"n-of-late"}"#}}});
        let node: Node = serde_json::from_value(node).unwrap();
        let both = ids(r#"{"d":"n-of-d","late":"n-of-late"}"#);
        assert_eq!(news(&node, &drivers, false), Ok(Some(both)));
        assert_eq!(news(&node, &drivers, true), Ok(Some(ids(r#"{"d":"n-of-d"}"#))));
    }
}
