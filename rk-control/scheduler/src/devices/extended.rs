//! Devices for extended resources (KEP-5004): a pod asks by the name of a resource, a class stands behind it, and a claim that is made for
//! the pod says so to all who know claims alone.
//!
//! What a node offers of a resource by itself is counted there; so the claim depends on the node. Few sorts of nodes differ in that:
//! each gets its claim once for all of its nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerExtendedResourceRequest, Pod};
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use rk_api::meta::EXTENDED_CLAIM;
use rk_client::ObjectKey;

use super::{Allocation, Devices};
use crate::model::{Asker, NodeInfo, PodInfo, Portion};

/// What the claim is called until the API names it; no claim of the API can be called so.
const UNNAMED: &str = "<extended-resources>";

/// The claim that a pod gets on some nodes, and which of its requests each container uses.
#[derive(Debug, Clone)]
pub(crate) struct Special {
    /// The resources that these nodes do not offer by themselves.
    resources: BTreeSet<String>,
    /// As it is before the API has it.
    pub(crate) claim: ResourceClaim,
    pub(crate) mappings: Vec<ContainerExtendedResourceRequest>,
}

impl Special {
    fn new(devices: &Devices, pod: &PodInfo, resources: BTreeSet<String>) -> Self {
        let mut asked = Asked::default();
        for resource in &resources {
            let class = devices.class_behind(resource).and_then(|class| class.metadata.name.as_deref());
            asked.take(&pod.askers, resource, class.unwrap_or_default());
        }
        asked.requests.sort_by(|one, other| one.name.cmp(&other.name));
        let claim = DeviceClaim { requests: Some(asked.requests), ..DeviceClaim::default() };
        let claim = ResourceClaim {
            metadata: metadata(pod),
            spec: ResourceClaimSpec { devices: Some(claim) },
            ..ResourceClaim::default()
        };
        Self { resources, claim, mappings: asked.mappings }
    }

    /// Whether devices were chosen for this claim.
    pub(crate) fn is_of(&self, allocation: &Allocation) -> bool {
        self.claim.metadata.uid.as_deref() == Some(&allocation.uid)
    }

    /// The claim as the API is asked to make it.
    pub(crate) fn to_make(&self) -> ResourceClaim {
        let mut claim = self.claim.clone();
        (claim.metadata.name, claim.metadata.uid) = (None, None);
        claim
    }
}

/// The uid is one of its own until the API gives another: what is on its way to the API is told apart by it.
fn metadata(pod: &PodInfo) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(pod.key.namespace.clone()),
        name: Some(UNNAMED.to_owned()),
        generate_name: Some(format!("{}-extended-resources-", pod.key.name)),
        uid: Some(rk_api::meta::new_uid()),
        annotations: Some([(EXTENDED_CLAIM.to_owned(), "true".to_owned())].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: Pod::api_version(&()).into_owned(),
            kind: Pod::kind(&()).into_owned(),
            name: pod.key.name.clone(),
            uid: pod.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

/// What is asked for of all resources so far.
#[derive(Default)]
struct Asked {
    requests: Vec<DeviceRequest>,
    mappings: Vec<ContainerExtendedResourceRequest>,
}

impl Asked {
    /// Takes in one resource: a request for each container that stays, and one for the most that those which end before others begin
    /// need beyond what these will have.
    fn take(&mut self, askers: &[Asker], resource: &str, class: &str) {
        let mapping = |asker: &Asker, request: &str| ContainerExtendedResourceRequest {
            container_name: asker.name.clone(),
            request_name: request.to_owned(),
            resource_name: resource.to_owned(),
        };
        let wants = |asker: &&Asker| asker.portions.contains_key(resource);
        let (passing, staying): (Vec<_>, Vec<_>) = askers.iter().filter(wants).partition(|asker| asker.passing);
        let mut requests: BTreeMap<usize, (String, i64)> = BTreeMap::new();
        for asker in staying {
            let Some(portion) = asker.portions.get(resource) else { continue };
            let name = request_name(asker, *portion);
            self.mappings.push(mapping(asker, &name));
            requests.insert(asker.place, (name, portion.amount));
        }
        let mut most: Option<(String, i64)> = None;
        let mut of_passing = Vec::new();
        for asker in passing {
            let Some(portion) = asker.portions.get(resource) else { continue };
            let mut left = portion.amount;
            for (name, amount) in requests.range(asker.place..).map(|(_, request)| request) {
                if left <= 0 {
                    break;
                }
                left = left.saturating_sub(*amount);
                of_passing.push((asker, Some(name.clone())));
            }
            if left > 0 {
                of_passing.push((asker, None));
                if most.as_ref().is_none_or(|(_, most)| *most < left) {
                    most = Some((request_name(asker, *portion), left));
                }
            }
        }
        // Those that need more than others will have share one request.
        let shared = most.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let named = |(asker, name): (&Asker, Option<String>)| mapping(asker, name.as_ref().unwrap_or(&shared));
        self.mappings.extend(of_passing.into_iter().map(named));
        let all = most.into_iter().chain(requests.into_values());
        self.requests.extend(all.map(|(name, count)| request(name, class, count)));
    }
}

/// The name of the request that a container makes for a resource: it tells their places.
fn request_name(asker: &Asker, portion: Portion) -> String {
    format!("container-{}-request-{}", asker.place, portion.place)
}

fn request(name: String, class: &str, count: i64) -> DeviceRequest {
    let exactly = ExactDeviceRequest {
        device_class_name: class.to_owned(),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(count),
        ..ExactDeviceRequest::default()
    };
    DeviceRequest { name, exactly: Some(exactly), first_available: None }
}

/// What a pod asks for by the names of extended resources, found out before nodes are asked.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    /// Whether a class stands behind any of it.
    pub(crate) is_backed: bool,
    /// The claim of an earlier attempt: what it has may be of no use by now, so it has to go first.
    pub(crate) leftover: Option<ObjectKey>,
    /// The claim of each sort of nodes that leaves something to classes.
    specials: Vec<Special>,
}

impl Extended {
    /// Looks at the nodes that may be asked.
    pub(crate) fn new<'n>(devices: &Devices, pod: &PodInfo, nodes: impl Iterator<Item = &'n NodeInfo>) -> Self {
        if pod.askers.is_empty() {
            return Self::default();
        }
        // Also where no class stands behind it any more: its devices would be nobody's while the pod runs.
        if let Some(leftover) = devices.leftover(pod) {
            return Self { is_backed: true, leftover: Some(leftover.clone()), specials: Vec::new() };
        }
        if !resources(pod).any(|resource| devices.class_behind(resource).is_some()) {
            return Self::default();
        }
        let sorts: BTreeSet<BTreeSet<&str>> = nodes.map(|node| left_to_classes(devices, pod, node).collect()).collect();
        let sorts = sorts.into_iter().filter(|sort| !sort.is_empty());
        let specials = sorts.map(|sort| Special::new(devices, pod, sort.into_iter().map(str::to_owned).collect()));
        // What no container asks for, but the pod's overhead, is given to nobody.
        let specials = specials.filter(|special| !special.mappings.is_empty()).collect();
        Self { is_backed: true, leftover: None, specials }
    }

    /// The claims of all sorts of nodes.
    pub(crate) fn specials(&self) -> &[Special] {
        &self.specials
    }

    /// Which of the claims is that of a node.
    pub(crate) fn place_of(&self, devices: &Devices, pod: &PodInfo, node: &NodeInfo) -> Option<usize> {
        let is_of =
            |special: &Special| left_to_classes(devices, pod, node).eq(special.resources.iter().map(String::as_str));
        self.specials.iter().position(is_of)
    }
}

/// The resources of which a pod requests any, in their order.
fn resources(pod: &PodInfo) -> impl Iterator<Item = &str> {
    pod.request.scalars.iter().filter(|(_, amount)| **amount > 0).map(|(name, _)| name.as_str())
}

fn left_to_classes<'a>(devices: &'a Devices, pod: &'a PodInfo, node: &'a NodeInfo) -> impl Iterator<Item = &'a str> {
    resources(pod).filter(move |resource| devices.are_behind(resource, node))
}
