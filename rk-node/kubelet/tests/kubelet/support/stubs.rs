//! The gRPC face of the fake runtime.

use std::collections::HashMap;
use std::sync::Arc;

use rk_cri_api::RuntimeService;
use rk_cri_api::v1 as cri;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use super::fake_cri::{Container, FakeCri, Sandbox, finish, nanos};

pub(super) type Answer<T> = Result<Response<T>, Status>;
pub(super) type Never<T> = tokio_stream::Empty<Result<T, Status>>;

pub(super) fn ok<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn selected(labels: &HashMap<String, String>, selector: Option<HashMap<String, String>>) -> bool {
    selector.unwrap_or_default().iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn sandbox_status(s: &Sandbox) -> cri::PodSandboxStatus {
    let host =
        s.config.linux.as_ref().and_then(|l| l.security_context.as_ref()).and_then(|c| c.namespace_options.clone());
    let in_host = host.as_ref().is_some_and(|n| n.network == cri::NamespaceMode::Node as i32);
    let ip = if in_host { String::new() } else { s.ip.clone() };
    cri::PodSandboxStatus {
        id: s.id.clone(),
        metadata: s.config.metadata.clone(),
        state: if s.ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready } as i32,
        created_at: s.created_at,
        network: Some(cri::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
        linux: Some(cri::LinuxPodSandboxStatus { namespaces: Some(cri::Namespace { options: host }) }),
        labels: s.config.labels.clone(),
        annotations: s.config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

fn container_status(c: &Container) -> cri::ContainerStatus {
    cri::ContainerStatus {
        id: c.id.clone(),
        metadata: c.config.metadata.clone(),
        state: c.state as i32,
        created_at: c.created_at,
        started_at: c.started_at,
        finished_at: c.finished_at,
        exit_code: c.exit_code,
        image: c.config.image.clone(),
        image_ref: "sha256:feed".into(),
        reason: if c.state == cri::ContainerState::ContainerExited { c.reason.clone() } else { String::new() },
        labels: c.config.labels.clone(),
        annotations: c.config.annotations.clone(),
        mounts: c.config.mounts.clone(),
        log_path: c.log_path.to_string_lossy().into_owned(),
        resources: c.config.linux.as_ref().map(|l| cri::ContainerResources { linux: l.resources.clone() }),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl RuntimeService for FakeCri {
    type StreamPodSandboxesStream = Never<cri::StreamPodSandboxesResponse>;
    type StreamContainersStream = Never<cri::StreamContainersResponse>;
    type StreamContainerStatsStream = Never<cri::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Never<cri::StreamPodSandboxStatsResponse>;
    type GetContainerEventsStream = Never<cri::ContainerEventResponse>;
    type StreamPodSandboxMetricsStream = Never<cri::StreamPodSandboxMetricsResponse>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        ok(cri::VersionResponse { runtime_name: "fake".into(), runtime_version: "1".into(), ..Default::default() })
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let network = self.state().network_ready;
        let condition =
            |r#type: &str, status| cri::RuntimeCondition { r#type: r#type.into(), status, ..Default::default() };
        let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", network)];
        ok(cri::StatusResponse { status: Some(cri::RuntimeStatus { conditions }), ..Default::default() })
    }

    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        ok(cri::UpdateRuntimeConfigResponse {})
    }

    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        self.count("RunPodSandbox");
        let id = self.fresh_id("s");
        let config = request.into_inner().config.unwrap();
        let mut state = self.state();
        let ip = format!("10.244.9.{}", state.sandboxes.len() + 2);
        state.sandboxes.push(Sandbox { id: id.clone(), config, ready: true, created_at: nanos(), ip });
        ok(cri::RunPodSandboxResponse { pod_sandbox_id: id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut state = self.state();
        state.containers.iter_mut().filter(|c| c.sandbox == id).for_each(|c| finish(c, 137));
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
        ok(cri::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut state = self.state();
        state.containers.retain(|c| c.sandbox != id);
        state.sandboxes.retain(|s| s.id != id);
        ok(cri::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        self.count("PodSandboxStatus");
        let id = request.into_inner().pod_sandbox_id;
        let state = self.state();
        let found = state.sandboxes.iter().find(|s| s.id == id).ok_or_else(|| Status::not_found(id))?;
        let status = Some(sandbox_status(found));
        if state.terse {
            return ok(cri::PodSandboxStatusResponse { status, ..Default::default() });
        }
        let containers = state.containers.iter().filter(|c| c.sandbox == found.id).map(container_status);
        ok(cri::PodSandboxStatusResponse {
            status,
            containers_statuses: containers.collect(),
            timestamp: nanos(),
            ..Default::default()
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let selector = request.into_inner().filter.map(|f| f.label_selector);
        let state = self.state();
        let items = state.sandboxes.iter().filter(|s| selected(&s.config.labels, selector.clone())).map(|s| {
            let status = sandbox_status(s);
            cri::PodSandbox {
                id: status.id,
                metadata: status.metadata,
                state: status.state,
                created_at: status.created_at,
                labels: status.labels,
                ..Default::default()
            }
        });
        ok(cri::ListPodSandboxResponse { items: items.collect() })
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        self.count("CreateContainer");
        let request = request.into_inner();
        let (config, sandbox_config) = (request.config.unwrap(), request.sandbox_config.unwrap());
        let id = self.fresh_id("c");
        self.state().containers.push(Container {
            id: id.clone(),
            sandbox: request.pod_sandbox_id,
            log_path: std::path::Path::new(&sandbox_config.log_directory).join(&config.log_path),
            config,
            state: cri::ContainerState::ContainerCreated,
            created_at: nanos(),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            stopped: Arc::new(Notify::new()),
        });
        ok(cri::CreateContainerResponse { container_id: id })
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        self.count("StartContainer");
        self.start(&request.into_inner().container_id)?;
        ok(cri::StartContainerResponse {})
    }

    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        self.count("StopContainer");
        let request = request.into_inner();
        self.stop(&request.container_id, request.timeout).await;
        ok(cri::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.state().containers.retain(|c| c.id != id);
        ok(cri::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let selector = request.into_inner().filter.map(|f| f.label_selector);
        let state = self.state();
        let containers = state.containers.iter().filter(|c| selected(&c.config.labels, selector.clone())).map(|c| {
            let status = container_status(c);
            cri::Container {
                id: status.id,
                pod_sandbox_id: c.sandbox.clone(),
                metadata: status.metadata,
                image: status.image,
                state: status.state,
                created_at: status.created_at,
                labels: status.labels,
                annotations: status.annotations,
                ..Default::default()
            }
        });
        ok(cri::ListContainersResponse { containers: containers.collect() })
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        self.count("ContainerStatus");
        let id = request.into_inner().container_id;
        let state = self.state();
        let found = state.containers.iter().find(|c| c.id == id).ok_or_else(|| Status::not_found(id))?;
        ok(cri::ContainerStatusResponse { status: Some(container_status(found)), ..Default::default() })
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        let request = request.into_inner();
        let mut state = self.state();
        let exit_code = request.cmd.first().and_then(|c| state.failing_execs.get(c)).copied().unwrap_or(0);
        state.execs.push((request.container_id, request.cmd));
        ok(cri::ExecSyncResponse { exit_code, ..Default::default() })
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let mut state = self.state();
        let found = state.containers.iter_mut().find(|c| c.id == request.container_id);
        let container = found.ok_or_else(|| Status::not_found(request.container_id.clone()))?;
        container.config.linux.get_or_insert_default().resources = request.linux;
        ok(cri::UpdateContainerResourcesResponse {})
    }
    async fn reopen_container_log(
        &self,
        _: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        Err(Status::unimplemented("reopen_container_log"))
    }
    async fn exec(&self, _: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        Err(Status::unimplemented("exec"))
    }
    async fn attach(&self, _: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        Err(Status::unimplemented("attach"))
    }
    async fn port_forward(&self, _: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        Err(Status::unimplemented("port_forward"))
    }
    async fn container_stats(&self, _: Request<cri::ContainerStatsRequest>) -> Answer<cri::ContainerStatsResponse> {
        Err(Status::unimplemented("container_stats"))
    }
    async fn list_container_stats(
        &self,
        _: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        Ok(Response::new(Default::default()))
    }
    async fn pod_sandbox_stats(&self, _: Request<cri::PodSandboxStatsRequest>) -> Answer<cri::PodSandboxStatsResponse> {
        Err(Status::unimplemented("pod_sandbox_stats"))
    }
    async fn list_pod_sandbox_stats(
        &self,
        _: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        Err(Status::unimplemented("list_pod_sandbox_stats"))
    }
    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(Status::unimplemented("checkpoint_container"))
    }
    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Err(Status::unimplemented("list_metric_descriptors"))
    }
    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Err(Status::unimplemented("list_pod_sandbox_metrics"))
    }
    async fn runtime_config(&self, _: Request<cri::RuntimeConfigRequest>) -> Answer<cri::RuntimeConfigResponse> {
        Err(Status::unimplemented("runtime_config"))
    }
    async fn update_pod_sandbox_resources(
        &self,
        _: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        Err(Status::unimplemented("update_pod_sandbox_resources"))
    }

    async fn stream_pod_sandboxes(
        &self,
        _: Request<cri::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        Err(Status::unimplemented("stream"))
    }
    async fn stream_containers(
        &self,
        _: Request<cri::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        Err(Status::unimplemented("stream"))
    }
    async fn stream_container_stats(
        &self,
        _: Request<cri::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        Err(Status::unimplemented("stream"))
    }
    async fn stream_pod_sandbox_stats(
        &self,
        _: Request<cri::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        Err(Status::unimplemented("stream"))
    }
    async fn get_container_events(&self, _: Request<cri::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        Err(Status::unimplemented("events"))
    }
    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<cri::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        Err(Status::unimplemented("stream"))
    }
}
