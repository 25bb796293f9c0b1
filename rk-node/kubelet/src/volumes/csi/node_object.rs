//! The CSINode object: which drivers this node has, and their limits.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::drivers::{Driver, Drivers};
use crate::api_error;

/// Keeps the object.
#[derive(Clone)]
pub struct NodeObject {
    client: Client,
    node: String,
    drivers: Drivers,
}

fn entry(driver: &Driver) -> CSINodeDriver {
    CSINodeDriver {
        name: driver.name.clone(),
        node_id: driver.node_id.clone(),
        topology_keys: Some(driver.topology.keys().cloned().collect::<Vec<_>>()).filter(|k| !k.is_empty()),
        allocatable: driver.max_volumes.map(|count| VolumeNodeResources { count: Some(count) }),
    }
}

impl NodeObject {
    /// The object of this node.
    pub fn new(client: Client, node: String, drivers: Drivers) -> Self {
        Self { client, node, drivers }
    }

    /// Makes the object say which drivers there are now.
    pub async fn write(&self) -> Result<(), String> {
        let drivers = self.drivers.all();
        self.label(&drivers).await?;
        let entries: Vec<CSINodeDriver> = drivers.iter().map(entry).collect();
        let api: Api<CSINode> = Api::all(self.client.clone());
        let failed = |e: kube::Error| format!("writing CSINode {}: {}", self.node, api_error::text(&e));
        match api.get_opt(&self.node).await.map_err(failed)? {
            Some(known) if known.spec.drivers == entries => Ok(()),
            Some(known) => {
                let body = json!({"metadata": {"resourceVersion": known.metadata.resource_version}, "spec": {"drivers": entries}});
                api.patch(&self.node, &PatchParams::default(), &Patch::Merge(body)).await.map(drop).map_err(failed)
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.node.clone()),
                    owner_references: self.owner().await,
                    ..Default::default()
                };
                let object = CSINode { metadata, spec: CSINodeSpec { drivers: entries } };
                api.create(&PostParams::default(), &object).await.map(drop).map_err(failed)
            }
        }
    }

    async fn owner(&self) -> Option<Vec<OwnerReference>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let uid = api.get_opt(&self.node).await.ok()??.metadata.uid?;
        Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.node.clone(),
            uid,
            ..Default::default()
        }])
    }

    /// Where drivers say the node is, as labels: volumes are placed by them.
    async fn label(&self, drivers: &[Driver]) -> Result<(), String> {
        let labels: BTreeMap<&String, &String> = drivers.iter().flat_map(|d| &d.topology).collect();
        if labels.is_empty() {
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let body = json!({"metadata": {"labels": labels}});
        let patched = api.patch(&self.node, &PatchParams::default(), &Patch::Merge(body)).await;
        patched.map(drop).map_err(|e| format!("labelling the node: {}", api_error::text(&e)))
    }
}
