//! The CRI client: every call has a deadline, errors name the call, and statuses come back as our model.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rk_cri_api::v1 as cri;
use rk_cri_api::{ImageServiceClient, MAX_MESSAGE_BYTES, RuntimeServiceClient};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::labels;
use super::model::{RuntimeContainer, RuntimePod, RuntimeSandbox};
use crate::meters::Meters;

/// Deadline of ordinary calls.
const CALL: Duration = Duration::from_secs(120);
/// Deadline of a sandbox start: CNI plugins may be slow.
const SANDBOX: Duration = Duration::from_secs(240);
/// Longest image pull; progress within it is the runtime's business.
const PULL: Duration = Duration::from_secs(3600);
/// Added to a grace period: killing may take a moment under load.
const STOP_SLACK: Duration = Duration::from_secs(120);

/// A CRI call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {words}")]
pub struct RuntimeError {
    /// Which call.
    pub call: &'static str,
    /// gRPC code.
    pub code: Code,
    /// The runtime's words.
    pub words: String,
}

impl RuntimeError {
    /// Whether the object is simply gone.
    pub fn not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// Whether the disk had no room.
    pub fn no_room(&self) -> bool {
        self.code == Code::ResourceExhausted
    }

    /// The failure without its code where that says nothing.
    pub fn brief(&self) -> String {
        if self.code == Code::Unknown { self.words.clone() } else { self.to_string() }
    }

    fn new(call: &'static str, status: &Status) -> Self {
        Self { call, code: status.code(), words: status.message().to_owned() }
    }
}

/// Handle of the runtime; clones share one connection.
#[derive(Clone)]
pub struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// What the kubelet counts of its work.
    pub meters: Arc<Meters>,
}

/// An absent object counts as done: teardown must be repeatable.
fn gone_is_fine(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(error) if error.not_found() => Ok(()),
        other => other,
    }
}

impl Runtime {
    /// A handle of the runtime behind this socket; connects when first used.
    pub fn connect(socket: &Path) -> Self {
        let channel = rk_cri_api::connect(socket);
        Self {
            meters: Arc::default(),
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        limit: Duration,
        future: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RuntimeError> {
        let begun = Instant::now();
        let answer = match tokio::time::timeout(limit, future).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(RuntimeError::new(call, &status)),
            Err(_) => {
                Err(RuntimeError::new(call, &Status::deadline_exceeded(format!("{call} took longer than {limit:?}"))))
            }
        };
        self.meters.called(call, begun.elapsed(), answer.is_ok());
        answer
    }

    fn r(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    fn i(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<cri::VersionResponse, RuntimeError> {
        self.timed("Version", CALL, self.r().version(cri::VersionRequest { version: "v1".into() })).await
    }

    /// Conditions (RuntimeReady, NetworkReady) and features.
    pub async fn status(&self) -> Result<cri::StatusResponse, RuntimeError> {
        self.timed("Status", Duration::from_secs(10), self.r().status(cri::StatusRequest { verbose: false })).await
    }

    /// Tells the runtime the node's pod CIDR.
    pub async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError> {
        let network_config = Some(cri::NetworkConfig { pod_cidr: pod_cidr.into() });
        let request = cri::UpdateRuntimeConfigRequest { runtime_config: Some(cri::RuntimeConfig { network_config }) };
        self.timed("UpdateRuntimeConfig", CALL, self.r().update_runtime_config(request)).await.map(drop)
    }

    /// Starts a sandbox and returns its ID.
    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, RuntimeError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        let begun = Instant::now();
        let made = self.timed("RunPodSandbox", SANDBOX, self.r().run_pod_sandbox(request)).await;
        self.meters.entry.sandbox(handler, begun.elapsed(), made.is_ok());
        made.map(|r| r.pod_sandbox_id)
    }

    /// Stops a sandbox with all that runs in it.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_fine(self.timed("StopPodSandbox", SANDBOX, self.r().stop_pod_sandbox(request)).await.map(drop))
    }

    /// Removes a sandbox and its containers.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_fine(self.timed("RemovePodSandbox", CALL, self.r().remove_pod_sandbox(request)).await.map(drop))
    }

    /// All sandboxes.
    pub async fn list_sandboxes(&self) -> Result<Vec<cri::PodSandbox>, RuntimeError> {
        let request = cri::ListPodSandboxRequest { filter: None };
        self.timed("ListPodSandbox", CALL, self.r().list_pod_sandbox(request)).await.map(|r| r.items)
    }

    /// All containers.
    pub async fn list_containers(&self) -> Result<Vec<cri::Container>, RuntimeError> {
        let request = cri::ListContainersRequest { filter: None };
        self.timed("ListContainers", CALL, self.r().list_containers(request)).await.map(|r| r.containers)
    }

    /// The full status of one pod: its sandboxes and containers.
    pub async fn pod(&self, uid: &str) -> Result<RuntimePod, RuntimeError> {
        let label_selector = HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
        let filter = Some(cri::PodSandboxFilter { label_selector: label_selector.clone(), ..Default::default() });
        let sandboxes = self
            .timed("ListPodSandbox", CALL, self.r().list_pod_sandbox(cri::ListPodSandboxRequest { filter }))
            .await?
            .items;
        let mut pod = RuntimePod { uid: uid.into(), ..Default::default() };
        // A runtime that tells events tells the containers with their sandbox (KEP-3386).
        let mut whole = !sandboxes.is_empty();
        for listed in sandboxes {
            let label = |key: &str| listed.labels.get(key).cloned().unwrap_or_default();
            (pod.name, pod.namespace) = (label(labels::POD_NAME), label(labels::POD_NAMESPACE));
            let request = cri::PodSandboxStatusRequest { pod_sandbox_id: listed.id.clone(), verbose: false };
            match self.timed("PodSandboxStatus", CALL, self.r().pod_sandbox_status(request)).await {
                Ok(response) => {
                    whole &= response.timestamp > 0;
                    pod.sandboxes.extend(response.status.map(RuntimeSandbox::from_status));
                    let statuses = response.containers_statuses.into_iter();
                    let of_sandbox = |status| RuntimeContainer::from_status(status, listed.id.clone());
                    pod.containers.extend(statuses.map(of_sandbox));
                }
                Err(error) if error.not_found() => {}
                Err(error) => return Err(error),
            }
        }
        if !whole {
            pod.containers = self.containers(label_selector).await?;
        }
        pod.sort();
        Ok(pod)
    }

    /// The containers with these labels, asked for one by one.
    async fn containers(&self, label_selector: HashMap<String, String>) -> Result<Vec<RuntimeContainer>, RuntimeError> {
        let filter = Some(cri::ContainerFilter { label_selector, ..Default::default() });
        let request = cri::ListContainersRequest { filter };
        let listed = self.timed("ListContainers", CALL, self.r().list_containers(request)).await?.containers;
        let mut containers = Vec::new();
        for listed in listed {
            match self.container_status(&listed.id).await {
                Ok(status) => containers.push(RuntimeContainer::from_status(status, listed.pod_sandbox_id)),
                Err(error) if error.not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(containers)
    }

    /// Status of one container.
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, RuntimeError> {
        let request = cri::ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.timed("ContainerStatus", CALL, self.r().container_status(request))
            .await
            .map(|r| r.status.unwrap_or_default())
    }

    /// Makes a container and returns its ID.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        self.timed("CreateContainer", CALL, self.r().create_container(request)).await.map(|r| r.container_id)
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StartContainerRequest { container_id: id.into() };
        self.timed("StartContainer", CALL, self.r().start_container(request)).await.map(drop)
    }

    /// Stops a container: TERM, then KILL after `grace` seconds.
    pub async fn stop_container(&self, id: &str, grace: i64) -> Result<(), RuntimeError> {
        let request = cri::StopContainerRequest { container_id: id.into(), timeout: grace };
        let limit = Duration::from_secs(grace.max(0).unsigned_abs()) + STOP_SLACK;
        gone_is_fine(self.timed("StopContainer", limit, self.r().stop_container(request)).await.map(drop))
    }

    /// Removes a stopped container.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemoveContainerRequest { container_id: id.into() };
        gone_is_fine(self.timed("RemoveContainer", CALL, self.r().remove_container(request)).await.map(drop))
    }

    /// Changes the limits of a running container.
    pub async fn update_resources(&self, id: &str, linux: cri::LinuxContainerResources) -> Result<(), RuntimeError> {
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(linux),
            annotations: HashMap::new(),
        };
        self.timed("UpdateContainerResources", CALL, self.r().update_container_resources(request)).await.map(drop)
    }

    /// Makes the runtime open a rotated log anew.
    pub async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.into() };
        self.timed("ReopenContainerLog", CALL, self.r().reopen_container_log(request)).await.map(drop)
    }

    /// Keeps the state of a container in an archive at `location`, within so many seconds; 0 is the runtime's own bound.
    pub async fn checkpoint(&self, id: &str, location: &str, seconds: i64) -> Result<(), RuntimeError> {
        let request =
            cri::CheckpointContainerRequest { container_id: id.into(), location: location.into(), timeout: seconds };
        let limit = match u64::try_from(seconds) {
            Ok(1..) => Duration::from_secs(seconds.unsigned_abs()) + STOP_SLACK,
            _ => PULL,
        };
        self.timed("CheckpointContainer", limit, self.r().checkpoint_container(request)).await.map(drop)
    }

    /// Runs a command in a container to its end. `timeout` of zero means no limit of the runtime's own.
    pub async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, RuntimeError> {
        let seconds = timeout.as_secs().try_into().unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: id.into(), cmd, timeout: seconds };
        let limit = if timeout.is_zero() { PULL } else { timeout + Duration::from_secs(10) };
        self.timed("ExecSync", limit, self.r().exec_sync(request)).await
    }

    /// Prepares an exec session and returns its URL.
    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String, RuntimeError> {
        self.timed("Exec", CALL, self.r().exec(request)).await.map(|r| r.url)
    }

    /// Prepares an attach session and returns its URL.
    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String, RuntimeError> {
        self.timed("Attach", CALL, self.r().attach(request)).await.map(|r| r.url)
    }

    /// Prepares a port-forward session and returns its URL.
    pub async fn port_forward(&self, sandbox: &str, port: Vec<i32>) -> Result<String, RuntimeError> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.into(), port };
        self.timed("PortForward", CALL, self.r().port_forward(request)).await.map(|r| r.url)
    }

    /// The stream of container events; `Unimplemented` when the runtime has none.
    pub async fn events(&self) -> Result<tonic::Streaming<cri::ContainerEventResponse>, RuntimeError> {
        self.timed("GetContainerEvents", CALL, self.r().get_container_events(cri::GetEventsRequest {})).await
    }

    /// What is known of an image, or `None` when it is not here.
    pub async fn image_status(&self, image: &str) -> Result<Option<cri::Image>, RuntimeError> {
        let image = Some(cri::ImageSpec { image: image.into(), ..Default::default() });
        let request = cri::ImageStatusRequest { image, verbose: false };
        self.timed("ImageStatus", CALL, self.i().image_status(request)).await.map(|r| r.image)
    }

    /// All images.
    pub async fn list_images(&self) -> Result<Vec<cri::Image>, RuntimeError> {
        self.timed("ListImages", CALL, self.i().list_images(cri::ListImagesRequest { filter: None }))
            .await
            .map(|r| r.images)
    }

    /// Pulls an image and returns its reference.
    pub async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let image =
            Some(cri::ImageSpec { image: image.into(), user_specified_image: image.into(), ..Default::default() });
        let mut request = Request::new(cri::PullImageRequest { image, auth, sandbox_config: Some(sandbox_config) });
        request.set_timeout(PULL);
        self.timed("PullImage", PULL, self.i().pull_image(request)).await.map(|r| r.image_ref)
    }

    /// Removes an image.
    pub async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        let image = Some(cri::ImageSpec { image: image.into(), ..Default::default() });
        self.timed("RemoveImage", CALL, self.i().remove_image(cri::RemoveImageRequest { image })).await.map(drop)
    }

    /// The file systems of images and of containers.
    pub async fn image_fs_info(&self) -> Result<cri::ImageFsInfoResponse, RuntimeError> {
        self.timed("ImageFsInfo", CALL, self.i().image_fs_info(cri::ImageFsInfoRequest {})).await
    }

    /// Usage of every container.
    pub async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>, RuntimeError> {
        let request = cri::ListContainerStatsRequest { filter: None };
        self.timed("ListContainerStats", CALL, self.r().list_container_stats(request)).await.map(|r| r.stats)
    }

    /// Usage of every sandbox.
    pub async fn sandbox_stats(&self) -> Result<Vec<cri::PodSandboxStats>, RuntimeError> {
        let request = cri::ListPodSandboxStatsRequest { filter: None };
        self.timed("ListPodSandboxStats", CALL, self.r().list_pod_sandbox_stats(request)).await.map(|r| r.stats)
    }

    /// What is told by [`Self::sandbox_metrics`].
    pub async fn metric_descriptors(&self) -> Result<Vec<cri::MetricDescriptor>, RuntimeError> {
        let request = cri::ListMetricDescriptorsRequest {};
        self.timed("ListMetricDescriptors", CALL, self.r().list_metric_descriptors(request))
            .await
            .map(|r| r.descriptors)
    }

    /// Metrics of every sandbox and its containers.
    pub async fn sandbox_metrics(&self) -> Result<Vec<cri::PodSandboxMetrics>, RuntimeError> {
        let request = cri::ListPodSandboxMetricsRequest {};
        self.timed("ListPodSandboxMetrics", CALL, self.r().list_pod_sandbox_metrics(request))
            .await
            .map(|r| r.pod_metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_where_it_says_something() {
        let error = |status: Status| RuntimeError::new("PullImage", &status);
        let (unknown, absent) = (error(Status::unknown("no such host")), error(Status::not_found("no such tag")));
        assert_eq!(
            [unknown.brief(), absent.brief()],
            ["no such host", "rpc error: code = NotFound desc = no such tag"]
        );
        assert_eq!(unknown.to_string(), "rpc error: code = Unknown desc = no such host");
    }
}
