//! The pod-resources API: monitors ask it which pod holds which device.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use rk_plugin_api::podresources as api;
use rk_plugin_api::podresources::pod_resources_lister_server::PodResourcesLister;
use tonic::{Request, Response, Status};

use super::table::Held;
use crate::claims::Told;
use crate::context::Shared;
use crate::cpus::CpuSet;
use crate::memory::Block;
use crate::numa::NodeMask;
use crate::pod::spec;
use crate::throttle::{Rate, Throttle};

/// How often all callers together are answered (upstream's bound): each answer walks all pods.
const CALLS: Rate = Rate { per_second: 100, burst: 10 };

/// Answers from what the kubelet holds.
pub struct Lister {
    context: Shared,
    throttle: Throttle,
}

/// Refuses a call that comes too soon, in upstream's words.
fn admit(throttle: &Throttle, now: Instant) -> Result<(), Status> {
    throttle.take(now).map_err(|_| Status::resource_exhausted("rejected by rate limit"))
}

fn topology(nodes: NodeMask) -> Option<api::NumaTopology> {
    let nodes: Vec<_> = nodes.nodes().filter_map(|id| Some(api::NumaNode { id: i64::try_from(id).ok()? })).collect();
    Some(nodes).filter(|nodes| !nodes.is_empty()).map(|nodes| api::NumaTopology { nodes })
}

fn cpu_ids(set: CpuSet) -> Vec<i64> {
    set.0.into_iter().filter_map(|id| i64::try_from(id).ok()).collect()
}

fn memory(blocks: Vec<Block>) -> Vec<api::ContainerMemory> {
    let of = |block: Block| api::ContainerMemory {
        topology: topology(block.nodes()),
        memory_type: block.resource,
        size: block.size,
    };
    blocks.into_iter().map(of).collect()
}

fn claim(told: Told) -> api::DynamicResource {
    let names = |ids: Vec<String>| ids.into_iter().map(|name| api::CdiDevice { name }).collect();
    let resources = told.devices.into_iter().map(|(driver_name, device)| api::ClaimResource {
        cdi_devices: names(device.cdi_ids),
        driver_name,
        pool_name: device.pool_name,
        device_name: device.device_name,
        share_id: device.share,
    });
    api::DynamicResource {
        claim_name: told.name,
        claim_namespace: told.namespace,
        claim_resources: resources.collect(),
    }
}

impl Lister {
    /// Over these handles.
    pub fn new(context: Shared) -> Self {
        Self { context, throttle: Throttle::new(CALLS, Instant::now()) }
    }

    /// Devices of each resource, those of one place together.
    fn devices(&self, held: Option<&Held>) -> Vec<api::ContainerDevices> {
        let mut told = Vec::new();
        for (resource, ids) in held.into_iter().flatten() {
            let mut places: BTreeMap<NodeMask, Vec<String>> = BTreeMap::new();
            for id in ids {
                places.entry(self.context.devices.place(resource, id)).or_default().push(id.clone());
            }
            told.extend(places.into_iter().map(|(place, device_ids)| api::ContainerDevices {
                resource_name: resource.clone(),
                device_ids,
                topology: topology(place),
            }));
        }
        told
    }

    fn pod(&self, pod: &Pod) -> api::PodResources {
        let held = self.context.devices.of_pod(spec::uid(pod));
        let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
        let containers = sidecars.chain(spec::app_containers(pod)).map(|c| api::ContainerResources {
            name: c.name.clone(),
            devices: self.devices(held.get(&c.name)),
            cpu_ids: cpu_ids(self.context.cpus.exclusive(spec::uid(pod), &c.name)),
            memory: memory(self.context.memory.blocks(spec::uid(pod), &c.name)),
            dynamic_resources: self.context.claims.told(pod, c).into_iter().map(claim).collect(),
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
        admit(&self.throttle, Instant::now())?;
        let pods = self.context.pods.all();
        let alive = pods.iter().filter(|p| !spec::terminal_phase(p.status.as_ref().and_then(|s| s.phase.as_deref())));
        Ok(Response::new(api::ListPodResourcesResponse { pod_resources: alive.map(|p| self.pod(p)).collect() }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<api::AllocatableResourcesRequest>,
    ) -> Result<Response<api::AllocatableResourcesResponse>, Status> {
        admit(&self.throttle, Instant::now())?;
        let healthy = self.context.devices.healthy();
        Ok(Response::new(api::AllocatableResourcesResponse {
            devices: self.devices(Some(&healthy)),
            cpu_ids: cpu_ids(self.context.cpus.allocatable()),
            memory: memory(self.context.memory.allocatable()),
        }))
    }

    async fn get(
        &self,
        request: Request<api::GetPodResourcesRequest>,
    ) -> Result<Response<api::GetPodResourcesResponse>, Status> {
        admit(&self.throttle, Instant::now())?;
        let wanted = request.into_inner();
        let found = self.context.pods.find(&wanted.pod_namespace, &wanted.pod_name);
        let missing =
            || Status::not_found(format!("pod {} in namespace {} not found", wanted.pod_name, wanted.pod_namespace));
        let pod = found.ok_or_else(missing)?;
        Ok(Response::new(api::GetPodResourcesResponse { pod_resources: Some(self.pod(&pod)) }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_asks_without_end_which_pod_holds_what_is_refused() {
        let start = Instant::now();
        let throttle = Throttle::new(CALLS, start);
        let answered = (0..50).filter(|_| admit(&throttle, start).is_ok()).count();
        assert_eq!(answered, 10);
        let refused = admit(&throttle, start).unwrap_err();
        assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, "rejected by rate limit"));
        assert!(admit(&throttle, start + Duration::from_millis(20)).is_ok());
    }
}
