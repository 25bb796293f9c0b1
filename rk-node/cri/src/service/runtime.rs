use std::time::Duration;

use futures::StreamExt;
use rk_cri_api::RuntimeService;
use rk_cri_api::v1::*;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::lists::{Chunks, in_chunks};
use super::metrics;
use crate::clock::now_ns;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::{container, exec, sandbox, shim, stats, view};

type Answer<T> = Result<Response<T>, Status>;

fn unsupported<T>(what: &str) -> Answer<T> {
    Err(Error::Unsupported(format!("{what} is not supported by this runtime")).into())
}

#[tonic::async_trait]
impl RuntimeService for Service {
    type StreamPodSandboxesStream = Chunks<StreamPodSandboxesResponse>;
    type StreamContainersStream = Chunks<StreamContainersResponse>;
    type StreamContainerStatsStream = Chunks<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Chunks<StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Chunks<StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Chunks<ContainerEventResponse>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(self.version_info()))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusResponse> {
        Ok(Response::new(self.runtime_status(request.into_inner().verbose)))
    }

    async fn runtime_config(&self, _: Request<RuntimeConfigRequest>) -> Answer<RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() };
        Ok(Response::new(RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        // The pod CIDR reaches the network plugins through their own configuration.
        tracing::debug!(config = ?request.into_inner().runtime_config, "runtime config");
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        let runtime = self.0.clone();
        let made = Runtime::detached(async move { sandbox::run(&runtime, request.into_inner()).await }).await?;
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id: made }))
    }

    async fn stop_pod_sandbox(&self, request: Request<StopPodSandboxRequest>) -> Answer<StopPodSandboxResponse> {
        let runtime = self.0.clone();
        Runtime::detached(async move { sandbox::stop(&runtime, &request.into_inner().pod_sandbox_id).await }).await?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(&self, request: Request<RemovePodSandboxRequest>) -> Answer<RemovePodSandboxResponse> {
        let runtime = self.0.clone();
        Runtime::detached(async move { sandbox::remove(&runtime, &request.into_inner().pod_sandbox_id).await }).await?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(&self, request: Request<PodSandboxStatusRequest>) -> Answer<PodSandboxStatusResponse> {
        let request = request.into_inner();
        let record = self.0.tables.sandbox(&request.pod_sandbox_id)?.get();
        let containers = self.0.tables.containers_of(&record.id);
        Ok(Response::new(PodSandboxStatusResponse {
            status: Some(view::sandbox_status(&record)),
            info: if request.verbose { self.sandbox_info(&record) } else { Default::default() },
            containers_statuses: containers.iter().map(|c| c.look(view::container_status)).collect(),
            timestamp: now_ns(),
        }))
    }

    async fn list_pod_sandbox(&self, request: Request<ListPodSandboxRequest>) -> Answer<ListPodSandboxResponse> {
        Ok(Response::new(ListPodSandboxResponse { items: self.sandboxes(request.into_inner().filter) }))
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let items = self.sandboxes(request.into_inner().filter);
        Ok(Response::new(in_chunks(items, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes })))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Answer<UpdatePodSandboxResourcesResponse> {
        let request = request.into_inner();
        let sandbox = self.0.tables.sandbox(&request.pod_sandbox_id)?;
        let _step = sandbox.step.lock().await;
        // It may have been removed meanwhile.
        self.0.tables.sandbox(&request.pod_sandbox_id)?;
        // The kubelet has changed the pod's cgroup already; what it tells here is kept with the pod.
        sandbox.update(|record| {
            let linux = record.config.linux.get_or_insert_default();
            linux.overhead = request.overhead;
            linux.resources = request.resources;
        })?;
        Ok(Response::new(UpdatePodSandboxResourcesResponse {}))
    }

    async fn create_container(&self, request: Request<CreateContainerRequest>) -> Answer<CreateContainerResponse> {
        let runtime = self.0.clone();
        let container_id =
            Runtime::detached(async move { container::create(&runtime, request.into_inner()).await }).await?;
        Ok(Response::new(CreateContainerResponse { container_id }))
    }

    async fn start_container(&self, request: Request<StartContainerRequest>) -> Answer<StartContainerResponse> {
        let runtime = self.0.clone();
        Runtime::detached(async move { container::start(&runtime, &request.into_inner().container_id).await }).await?;
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let (runtime, request) = (self.0.clone(), request.into_inner());
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        Runtime::detached(async move { container::stop(&runtime, &request.container_id, grace).await }).await?;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(&self, request: Request<RemoveContainerRequest>) -> Answer<RemoveContainerResponse> {
        let runtime = self.0.clone();
        Runtime::detached(async move { container::remove(&runtime, &request.into_inner().container_id).await }).await?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(&self, request: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        Ok(Response::new(ListContainersResponse { containers: self.containers(request.into_inner().filter) }))
    }

    async fn stream_containers(
        &self,
        request: Request<StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let items = self.containers(request.into_inner().filter);
        Ok(Response::new(in_chunks(items, |containers| StreamContainersResponse { containers })))
    }

    async fn container_status(&self, request: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
        let request = request.into_inner();
        let record = self.0.tables.container(&request.container_id)?.get();
        let info = if request.verbose { self.container_info(&record) } else { Default::default() };
        Ok(Response::new(ContainerStatusResponse { status: Some(view::container_status(&record)), info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        container::update(&self.0, request.into_inner()).await?;
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Answer<ReopenContainerLogResponse> {
        let record = exec::running(&self.0, &request.into_inner().container_id)?;
        let reopen = rk_shim_protocol::Request::ReopenLog { container: record.id };
        shim::call(&self.0.run_dir(&record.sandbox), &reopen).await?;
        Ok(Response::new(ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        Ok(Response::new(exec::exec_sync(&self.0, request.into_inner()).await?))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Answer<ExecResponse> {
        Ok(Response::new(ExecResponse { url: self.exec_url(request.into_inner())? }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Answer<AttachResponse> {
        Ok(Response::new(AttachResponse { url: self.attach_url(request.into_inner())? }))
    }

    async fn port_forward(&self, request: Request<PortForwardRequest>) -> Answer<PortForwardResponse> {
        Ok(Response::new(PortForwardResponse { url: self.port_forward_url(request.into_inner())? }))
    }

    async fn container_stats(&self, request: Request<ContainerStatsRequest>) -> Answer<ContainerStatsResponse> {
        let record = self.0.tables.container(&request.into_inner().container_id)?.get();
        Ok(Response::new(ContainerStatsResponse {
            stats: Some(stats::container(&self.0, &record, stats::of_layers()).await),
        }))
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> Answer<ListContainerStatsResponse> {
        Ok(Response::new(ListContainerStatsResponse {
            stats: self.container_stats_of(request.into_inner().filter).await,
        }))
    }

    async fn stream_container_stats(
        &self,
        request: Request<StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let items = self.container_stats_of(request.into_inner().filter).await;
        Ok(Response::new(in_chunks(items, |container_stats| StreamContainerStatsResponse { container_stats })))
    }

    async fn pod_sandbox_stats(&self, request: Request<PodSandboxStatsRequest>) -> Answer<PodSandboxStatsResponse> {
        let record = self.0.tables.sandbox(&request.into_inner().pod_sandbox_id)?.get();
        Ok(Response::new(PodSandboxStatsResponse {
            stats: Some(stats::sandbox(&self.0, &record, stats::of_layers()).await),
        }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> Answer<ListPodSandboxStatsResponse> {
        Ok(Response::new(ListPodSandboxStatsResponse {
            stats: self.sandbox_stats_of(request.into_inner().filter).await,
        }))
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let items = self.sandbox_stats_of(request.into_inner().filter).await;
        Ok(Response::new(in_chunks(items, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats })))
    }

    async fn get_container_events(&self, _: Request<GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.0.events.subscribe());
        // One who lagged behind hears so and lists again.
        let events = events.map(|event| event.map_err(|error| Status::data_loss(error.to_string())));
        Ok(Response::new(events.boxed()))
    }

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> Answer<CheckpointContainerResponse> {
        unsupported("checkpointing containers")
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> Answer<ListMetricDescriptorsResponse> {
        Ok(Response::new(ListMetricDescriptorsResponse { descriptors: metrics::descriptors() }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> Answer<ListPodSandboxMetricsResponse> {
        Ok(Response::new(ListPodSandboxMetricsResponse { pod_metrics: self.metrics().await }))
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let items = self.metrics().await;
        Ok(Response::new(in_chunks(items, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics,
        })))
    }
}
