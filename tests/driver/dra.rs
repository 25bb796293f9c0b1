//! A DRA driver for tests in guests: for each claim it leaves a file of the Container Device Interface, which gives a container a variable
//! with the claim's name. It runs in a container that shares `/var/lib/kubelet` and `/run/cdi` with its node.

mod plugin;

use rk_plugin_api::dra::v1::dra_plugin_server::{DraPlugin, DraPluginServer};
use rk_plugin_api::dra::v1::{
    Claim, Device, NodePrepareResourceResponse, NodePrepareResourcesRequest, NodePrepareResourcesResponse,
    NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest, NodeUnprepareResourcesResponse,
};
use rk_plugin_api::registration::PluginInfo;
use serde_json::json;
use tonic::service::Routes;
use tonic::{Request, Response};

use plugin::Answer;

const NAME: &str = "lamps.example.com";
const ENDPOINT: &str = "/var/lib/kubelet/plugins/lamps.example.com/dra.sock";

struct Driver;

/// Where the device of a claim is described.
fn file(claim: &Claim) -> String {
    format!("/run/cdi/lamp-{}.json", claim.uid)
}

fn prepare(claim: &Claim) -> std::io::Result<Device> {
    let edits = json!({"env": [format!("LAMP={}", claim.name)]});
    let devices = json!([{"name": claim.uid, "containerEdits": edits}]);
    let kind = format!("{NAME}/lamp");
    let described = json!({"cdiVersion": "0.6.0", "kind": kind, "devices": devices});
    std::fs::write(file(claim), described.to_string())?;
    Ok(Device {
        request_names: vec!["lamp".into()],
        pool_name: "pool".into(),
        device_name: "left".into(),
        cdi_device_ids: vec![format!("{kind}={}", claim.uid)],
        share_id: None,
    })
}

/// Whether it is done already makes no difference.
fn unprepare(claim: &Claim) -> std::io::Result<()> {
    match std::fs::remove_file(file(claim)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl DraPlugin for Driver {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Answer<NodePrepareResourcesResponse> {
        let answer = |claim: Claim| {
            let answer = match prepare(&claim) {
                Ok(device) => NodePrepareResourceResponse { devices: vec![device], error: String::new() },
                Err(error) => NodePrepareResourceResponse { devices: Vec::new(), error: error.to_string() },
            };
            (claim.uid, answer)
        };
        let claims = request.into_inner().claims.into_iter().map(answer).collect();
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Answer<NodeUnprepareResourcesResponse> {
        let answer = |claim: Claim| {
            let error = unprepare(&claim).err().map(|error| error.to_string()).unwrap_or_default();
            (claim.uid, NodeUnprepareResourceResponse { error })
        };
        let claims = request.into_inner().claims.into_iter().map(answer).collect();
        Ok(Response::new(NodeUnprepareResourcesResponse { claims }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let info = PluginInfo {
        r#type: "DRAPlugin".into(),
        name: NAME.into(),
        endpoint: ENDPOINT.into(),
        supported_versions: vec!["v1.DRAPlugin".into()],
    };
    plugin::run(info, Routes::new(DraPluginServer::new(Driver))).await
}
