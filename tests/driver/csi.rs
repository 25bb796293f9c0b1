//! A CSI driver for tests in guests: its volumes are files behind loop devices, with or without a file system. It works with busybox'
//! programs, in a privileged container that shares `/var/lib/kubelet` with its node. With an argument it copies itself there.

mod plugin;

use std::process::Command;

use rk_plugin_api::csi::node_server::{Node, NodeServer};
use rk_plugin_api::csi::node_service_capability::{Rpc, Type, rpc};
use rk_plugin_api::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, VolumeCapability, volume_capability,
};
use rk_plugin_api::registration::PluginInfo;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use plugin::Answer;

const NAME: &str = "loops.csi.example";
const HOME: &str = "/var/lib/kubelet/plugins/loops.csi.example";
const ENDPOINT: &str = "/var/lib/kubelet/plugins/loops.csi.example/csi.sock";

/// `$1` is the volume's file; beside it lie the name of its loop device and a mark that it has a file system. A new loop device is not
/// among those that the container began with.
const ATTACH: &str = r#"[ -e "$1" ] || truncate -s 64M "$1"
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
[ -e "$1.dev" ] || {
  dev=$(losetup -f)
  [ -e "$dev" ] || mknod "$dev" b 7 "${dev#/dev/loop}"
  losetup "$dev" "$1"
  echo "$dev" > "$1.dev"
}"#;
const MOUNT: &str = r#"dev=$(cat "$1.dev")
[ -e "$1.made" ] || { mke2fs "$dev" > /dev/null; touch "$1.made"; }
grep -q " $2 " /proc/mounts || mount -t ext4 "$dev" "$2""#;
const DETACH: &str = r#"grep -q " $2 " /proc/mounts && umount "$2"
[ ! -e "$1.dev" ] || { losetup -d "$(cat "$1.dev")"; rm "$1.dev"; }"#;
const PUBLISH_TREE: &str = r#"mkdir -p "$2"; grep -q " $2 " /proc/mounts || mount -o bind "$3" "$2""#;
const PUBLISH_DEVICE: &str = r#"touch "$2"; grep -q " $2 " /proc/mounts || mount -o bind "$(cat "$1.dev")" "$2""#;
const UNPUBLISH: &str = r#"grep -q " $2 " /proc/mounts && umount "$2"
if [ -d "$2" ]; then rmdir "$2"; else rm -f "$2"; fi"#;
const EXPAND: &str = r#"truncate -s "$2" "$1"; losetup -c "$(cat "$1.dev")""#;

#[derive(Clone, Copy)]
struct Driver;

/// Runs a script for a volume; what it complains of is the error.
fn run(script: &str, volume: &str, args: &[&str]) -> Result<(), Status> {
    let file = format!("{HOME}/{volume}.img");
    let done = Command::new("/bin/sh").args(["-ec", script, "sh", &file]).args(args).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    eprintln!("{volume} {args:?}: {} {said}", done.status);
    if done.status.success() { Ok(()) } else { Err(Status::internal(said)) }
}

fn is_block(capability: Option<&VolumeCapability>) -> bool {
    let kind = capability.and_then(|capability| capability.access_type.as_ref());
    matches!(kind, Some(volume_capability::AccessType::Block(_)))
}

#[tonic::async_trait]
impl Node for Driver {
    async fn node_stage_volume(&self, request: Request<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        let request = request.into_inner();
        run(ATTACH, &request.volume_id, &[])?;
        if !is_block(request.volume_capability.as_ref()) {
            run(MOUNT, &request.volume_id, &[&request.staging_target_path])?;
        }
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        let request = request.into_inner();
        run(DETACH, &request.volume_id, &[&request.staging_target_path])?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        let request = request.into_inner();
        let script = if is_block(request.volume_capability.as_ref()) { PUBLISH_DEVICE } else { PUBLISH_TREE };
        run(script, &request.volume_id, &[&request.target_path, &request.staging_target_path])?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        run(UNPUBLISH, &request.volume_id, &[&request.target_path])?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(&self, _: Request<NodeGetVolumeStatsRequest>) -> Answer<NodeGetVolumeStatsResponse> {
        Err(Status::unimplemented("it does not count"))
    }

    async fn node_expand_volume(&self, request: Request<NodeExpandVolumeRequest>) -> Answer<NodeExpandVolumeResponse> {
        let request = request.into_inner();
        let wanted = request.capacity_range.unwrap_or_default().required_bytes;
        run(EXPAND, &request.volume_id, &[&wanted.to_string()])?;
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes: wanted }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        let capability = |can: rpc::Type| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: can as i32 })) };
        let capabilities = [rpc::Type::StageUnstageVolume, rpc::Type::ExpandVolume].map(capability).to_vec();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: "this-node".into(),
            max_volumes_per_node: 7,
            accessible_topology: None,
        }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let info = PluginInfo {
        r#type: "CSIPlugin".into(),
        name: NAME.into(),
        endpoint: ENDPOINT.into(),
        supported_versions: vec!["1.0.0".into()],
    };
    plugin::run(info, Routes::new(NodeServer::new(Driver))).await
}
