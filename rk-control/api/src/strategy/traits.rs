//! What generic code needs to know about each kind.

use crate::resources::Resource;

/// What makes `metadata.generation` go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// The kind has no generation.
    None,
    /// A changed spec.
    Spec,
    /// A changed spec or annotation.
    SpecAndAnnotations,
    /// A change of anything but metadata and status.
    Content,
    /// A change of anything but metadata and status, or of labels.
    ContentAndLabels,
    /// One on creation, and never again.
    Fixed,
    /// A changed spec; none on creation.
    SpecOnUpdate,
    /// Anything but metadata.
    Whole,
}

/// What a kind does with `status` in requests to the main resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// There is no status, or clients own it.
    Kept,
    /// Only the status subresource writes it.
    Reset,
    /// Clients may set it on creation; later only the subresource writes it.
    ResetOnUpdate,
}

/// How much of the metadata the status subresource may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusMetadata {
    /// Labels, annotations, finalizers and owners, as kinds of old.
    Open,
    /// All but labels.
    KeepLabels,
    /// All but owners, which kubelets of old lost.
    KeepOwners,
    /// No labels, annotations, finalizers and owners.
    Frozen,
    /// Nothing but managed fields: not even a wrong UID is seen.
    Kept,
}

/// One row.
pub(super) struct Traits {
    pub group: &'static str,
    pub kind: &'static str,
    pub status: Status,
    pub status_metadata: StatusMetadata,
    pub generation: Generation,
    pub create_on_update: bool,
    pub unconditional_update: bool,
}

const fn row(group: &'static str, kind: &'static str, status: Status, generation: Generation) -> Traits {
    Traits {
        group,
        kind,
        status,
        status_metadata: StatusMetadata::Open,
        generation,
        create_on_update: false,
        unconditional_update: true,
    }
}

impl Traits {
    const fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    /// A PUT must carry the resource version.
    const fn conditional(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    const fn status_metadata(mut self, metadata: StatusMetadata) -> Self {
        self.status_metadata = metadata;
        self
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NET: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const DRA: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

use Generation::{
    Content, ContentAndLabels, Fixed, None as NoGeneration, Spec, SpecAndAnnotations, SpecOnUpdate, Whole,
};
use Status::{Kept, Reset, ResetOnUpdate};
use StatusMetadata::{Frozen, KeepLabels, KeepOwners};

/// A kind without anything special, custom resources included.
static PLAIN: Traits = row("", "", Reset, NoGeneration);

/// Kinds that differ from the plain row.
static TRAITS: &[Traits] = &[
    row("", "Pod", Reset, Spec).status_metadata(KeepOwners),
    row("", "PodTemplate", Kept, Content),
    row("", "ReplicationController", Reset, Spec),
    row("", "Service", Reset, NoGeneration).create_on_update(),
    row("", "Endpoints", Kept, NoGeneration).create_on_update(),
    row("", "Event", Kept, NoGeneration).create_on_update(),
    row("events.k8s.io", "Event", Kept, NoGeneration).create_on_update(),
    row("", "LimitRange", Kept, NoGeneration).create_on_update(),
    row("", "Node", ResetOnUpdate, NoGeneration),
    row("apps", "Deployment", Reset, SpecAndAnnotations).status_metadata(KeepLabels),
    row("apps", "ReplicaSet", Reset, Spec),
    row("apps", "StatefulSet", Reset, Spec),
    row("apps", "DaemonSet", Reset, Spec),
    row("batch", "Job", Reset, Spec),
    row("batch", "CronJob", Reset, Spec),
    row("coordination.k8s.io", "Lease", Kept, NoGeneration).create_on_update().conditional(),
    row("discovery.k8s.io", "EndpointSlice", Kept, ContentAndLabels),
    row(NET, "Ingress", Reset, Spec),
    row(NET, "IngressClass", Kept, Spec),
    row(NET, "NetworkPolicy", Kept, Spec),
    row(NET, "ServiceCIDR", Reset, NoGeneration).status_metadata(Frozen),
    row(NET, "IPAddress", Kept, NoGeneration),
    row("policy", "PodDisruptionBudget", Reset, Spec).conditional(),
    row(RBAC, "Role", Kept, NoGeneration).create_on_update(),
    row(RBAC, "ClusterRole", Kept, NoGeneration).create_on_update(),
    row(RBAC, "RoleBinding", Kept, NoGeneration).create_on_update(),
    row(RBAC, "ClusterRoleBinding", Kept, NoGeneration).create_on_update(),
    row(STORAGE, "VolumeAttachment", Reset, NoGeneration).conditional().status_metadata(Frozen),
    row(STORAGE, "CSIDriver", Kept, SpecOnUpdate).conditional(),
    row(STORAGE, "CSINode", Kept, NoGeneration).conditional(),
    row(STORAGE, "CSIStorageCapacity", Kept, NoGeneration).conditional(),
    row("scheduling.k8s.io", "PriorityClass", Kept, Fixed),
    row("node.k8s.io", "RuntimeClass", Kept, NoGeneration).create_on_update().conditional(),
    row(ADMISSION, "MutatingWebhookConfiguration", Kept, Content).conditional(),
    row(ADMISSION, "ValidatingWebhookConfiguration", Kept, Content).conditional(),
    row(ADMISSION, "ValidatingAdmissionPolicy", Reset, Spec).conditional().status_metadata(Frozen),
    row(ADMISSION, "ValidatingAdmissionPolicyBinding", Kept, Spec).conditional(),
    row(ADMISSION, "MutatingAdmissionPolicy", Kept, Spec).conditional(),
    row(ADMISSION, "MutatingAdmissionPolicyBinding", Kept, Spec).conditional(),
    row("apiextensions.k8s.io", "CustomResourceDefinition", Reset, Spec).conditional(),
    row("apiregistration.k8s.io", "APIService", Reset, NoGeneration).conditional().status_metadata(Frozen),
    row(FLOW, "FlowSchema", Reset, Spec).status_metadata(Frozen),
    row(FLOW, "PriorityLevelConfiguration", Reset, Spec).status_metadata(Frozen),
    row(DRA, "ResourceClaim", Reset, NoGeneration).status_metadata(Frozen),
    row(DRA, "ResourceSlice", Kept, Spec),
    row(DRA, "DeviceClass", Kept, Spec),
];

/// Custom kinds whose status is a subresource, and those whose status is a field like others.
static CUSTOM_WITH_STATUS: Traits = row("", "", Reset, Content).conditional().status_metadata(StatusMetadata::Kept);
static CUSTOM: Traits = row("", "", Kept, Whole).conditional();

/// The row of a resource's kind.
pub(super) fn of(resource: &Resource) -> &'static Traits {
    if let Some(custom) = &resource.custom {
        return if custom.has_status { &CUSTOM_WITH_STATUS } else { &CUSTOM };
    }
    TRAITS.iter().find(|t| t.group == resource.gvk.group && t.kind == resource.gvk.kind).unwrap_or(&PLAIN)
}
