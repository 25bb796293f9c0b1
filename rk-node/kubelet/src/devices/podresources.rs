//! The pod-resources API: monitors ask it which pod holds which device.

use k8s_openapi::api::core::v1::Pod;
use rk_plugin_api::podresources as api;
use rk_plugin_api::podresources::pod_resources_lister_server::PodResourcesLister;
use tonic::{Request, Response, Status};

use super::table::Held;
use crate::context::Shared;
use crate::pod::spec;

/// Answers from what the kubelet holds.
pub struct Lister {
    context: Shared,
}

fn devices(held: Option<&Held>) -> Vec<api::ContainerDevices> {
    let of = |(resource, ids): (&String, &std::collections::BTreeSet<String>)| api::ContainerDevices {
        resource_name: resource.clone(),
        device_ids: ids.iter().cloned().collect(),
        topology: None,
    };
    held.into_iter().flatten().map(of).collect()
}

impl Lister {
    /// Over these handles.
    pub fn new(context: Shared) -> Self {
        Self { context }
    }

    fn cpu_ids(&self, uid: &str, container: &str) -> Vec<i64> {
        let own = self.context.cpus.exclusive(uid, container);
        own.0.into_iter().filter_map(|id| i64::try_from(id).ok()).collect()
    }

    fn pod(&self, pod: &Pod) -> api::PodResources {
        let held = self.context.devices.of_pod(spec::uid(pod));
        let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
        let containers = sidecars.chain(spec::app_containers(pod)).map(|c| api::ContainerResources {
            name: c.name.clone(),
            devices: devices(held.get(&c.name)),
            cpu_ids: self.cpu_ids(spec::uid(pod), &c.name),
            memory: Vec::new(),
        });
        api::PodResources {
            name: spec::name(pod).into(),
            namespace: spec::namespace(pod).into(),
            containers: containers.collect(),
        }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<api::ListPodResourcesRequest>,
    ) -> Result<Response<api::ListPodResourcesResponse>, Status> {
        let pods = self.context.pods.all();
        let alive = pods.iter().filter(|p| !spec::terminal_phase(p.status.as_ref().and_then(|s| s.phase.as_deref())));
        Ok(Response::new(api::ListPodResourcesResponse { pod_resources: alive.map(|p| self.pod(p)).collect() }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<api::AllocatableResourcesRequest>,
    ) -> Result<Response<api::AllocatableResourcesResponse>, Status> {
        let healthy = self.context.devices.healthy();
        Ok(Response::new(api::AllocatableResourcesResponse { devices: devices(Some(&healthy)), ..Default::default() }))
    }

    async fn get(
        &self,
        request: Request<api::GetPodResourcesRequest>,
    ) -> Result<Response<api::GetPodResourcesResponse>, Status> {
        let wanted = request.into_inner();
        let found = self.context.pods.find(&wanted.pod_namespace, &wanted.pod_name);
        let missing =
            || Status::not_found(format!("pod {} in namespace {} not found", wanted.pod_name, wanted.pod_namespace));
        let pod = found.ok_or_else(missing)?;
        Ok(Response::new(api::GetPodResourcesResponse { pod_resources: Some(self.pod(&pod)) }))
    }
}
