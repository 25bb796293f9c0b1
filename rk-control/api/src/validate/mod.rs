//! Rules that objects must keep, with upstream's words for those that they break.
//!
//! [`object`] holds for creation and update, [`update`] compares with the stored object. One file per family of kinds.

mod addresses;
mod admission;
mod admission_policy;
mod allowance;
mod api_service;
mod batch;
mod certificates;
mod claim;
mod condition;
mod config;
mod coordination;
mod cron;
mod custom;
mod devices;
mod discovery;
mod event;
mod flow;
mod get;
mod ingress;
mod job_policy;
mod job_status;
mod manager;
mod mandatory;
mod metadata;
mod names;
mod namespace;
mod network_policy;
mod node;
mod pod;
mod quota;
mod rbac;
mod resources;
mod review;
#[cfg(test)]
mod samples;
mod scaling;
mod selector;
mod service;
mod sources;
mod storage;
#[cfg(test)]
mod tests;
mod volume;
mod workload;
mod workload_status;

use serde_json::Value;

use crate::resources::Resource;
use crate::status::{FieldError, FieldErrors};
pub use custom::approval_of;
pub use manager::{field_manager, manager_of_agent};
pub use mandatory::{MANDATORY, mandatory_flow_schema, mandatory_priority_level};
pub use metadata::{annotations, embedded_metadata, labels, metadata, metadata_update};
pub(crate) use pod::needed;
pub use review::access_review;
pub use service::cluster_addresses;

/// Checks the content of an object.
type Check = fn(&Value, &mut FieldErrors);
/// Checks new against old.
type CheckUpdate = fn(&Value, &Value, &mut FieldErrors);

/// The checks of one kind.
struct Rules {
    group: &'static str,
    kind: &'static str,
    object: Check,
    update: CheckUpdate,
}

fn anything(_: &Value, _: &mut FieldErrors) {}
fn any_change(_: &Value, _: &Value, _: &mut FieldErrors) {}

const fn rules(group: &'static str, kind: &'static str, object: Check, update: CheckUpdate) -> Rules {
    Rules { group, kind, object, update }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NET: &str = "networking.k8s.io";
const DRA: &str = "resource.k8s.io";

static RULES: &[Rules] = &[
    rules("", "Pod", pod::pod, pod::update),
    rules("", "PodTemplate", pod::pod_template, any_change),
    rules("", "ReplicationController", workload::replication_controller, any_change),
    rules("", "Service", service::service, service::update),
    rules("", "Endpoints", discovery::endpoints, any_change),
    rules("", "ConfigMap", config::config_map, config::config_map_update),
    rules("", "Secret", config::secret, config::secret_update),
    rules("", "Namespace", namespace::namespace, any_change),
    rules("", "Node", node::node, node::update),
    rules("", "ServiceAccount", anything, any_change),
    rules("", "Event", event::event, any_change),
    rules("", "LimitRange", quota::limit_range, any_change),
    rules("", "ResourceQuota", allowance::resource_quota, allowance::resource_quota_update),
    rules("", "PersistentVolume", volume::volume, volume::volume_update),
    rules("", "PersistentVolumeClaim", claim::claim, claim::update),
    rules("", "Binding", pod::binding, any_change),
    rules("apps", "Deployment", workload::deployment, workload::selector_update),
    rules("apps", "ReplicaSet", workload::replica_set, workload::selector_update),
    rules("apps", "StatefulSet", workload::stateful_set, workload::stateful_set_update),
    rules("apps", "DaemonSet", workload::daemon_set, workload::selector_update),
    rules("apps", "ControllerRevision", workload::controller_revision, workload::controller_revision_update),
    rules("coordination.k8s.io", "Lease", coordination::lease, any_change),
    rules("discovery.k8s.io", "EndpointSlice", discovery::endpoint_slice, discovery::endpoint_slice_update),
    rules(RBAC, "Role", rbac::role, any_change),
    rules(RBAC, "ClusterRole", rbac::cluster_role, any_change),
    rules(RBAC, "RoleBinding", rbac::role_binding, rbac::binding_update),
    rules(RBAC, "ClusterRoleBinding", rbac::cluster_role_binding, rbac::binding_update),
    rules(STORAGE, "StorageClass", storage::class, storage::class_update),
    rules(STORAGE, "CSIDriver", storage::driver, storage::driver_update),
    rules(STORAGE, "CSINode", storage::csi_node, storage::csi_node_update),
    rules(STORAGE, "CSIStorageCapacity", storage::capacity, storage::capacity_update),
    rules(STORAGE, "VolumeAttachment", storage::attachment, storage::attachment_update),
    rules(STORAGE, "VolumeAttributesClass", storage::attributes_class, storage::attributes_class_update),
    rules("scheduling.k8s.io", "PriorityClass", quota::priority_class, quota::priority_class_update),
    rules("node.k8s.io", "RuntimeClass", node::runtime_class, node::runtime_class_update),
    rules("batch", "Job", batch::job, batch::job_update),
    rules("batch", "CronJob", batch::cron_job, any_change),
    rules("autoscaling", "HorizontalPodAutoscaler", scaling::autoscaler, any_change),
    rules("policy", "PodDisruptionBudget", scaling::disruption_budget, any_change),
    rules(NET, "Ingress", ingress::ingress, any_change),
    rules(NET, "IngressClass", ingress::class, ingress::class_update),
    rules(NET, "NetworkPolicy", network_policy::network_policy, any_change),
    rules(NET, "IPAddress", network_policy::ip_address, network_policy::ip_address_update),
    rules(NET, "ServiceCIDR", network_policy::service_cidr, network_policy::service_cidr_update),
    rules("certificates.k8s.io", "CertificateSigningRequest", certificates::request, certificates::request_update),
    rules(ADMISSION, "MutatingWebhookConfiguration", admission::webhooks, any_change),
    rules(ADMISSION, "ValidatingWebhookConfiguration", admission::webhooks, any_change),
    rules(ADMISSION, "ValidatingAdmissionPolicy", admission_policy::validating_policy, any_change),
    rules(ADMISSION, "MutatingAdmissionPolicy", admission_policy::mutating_policy, any_change),
    rules(ADMISSION, "ValidatingAdmissionPolicyBinding", admission_policy::validating_binding, any_change),
    rules(ADMISSION, "MutatingAdmissionPolicyBinding", admission_policy::mutating_binding, any_change),
    rules("apiextensions.k8s.io", "CustomResourceDefinition", custom::definition, custom::definition_update),
    rules("apiregistration.k8s.io", "APIService", api_service::api_service, any_change),
    rules(FLOW, "FlowSchema", flow::flow_schema, any_change),
    rules(FLOW, "PriorityLevelConfiguration", flow::priority_level, any_change),
    rules(DRA, "ResourceClaim", devices::claim, devices::claim_update),
    rules(DRA, "ResourceClaimTemplate", devices::claim_template, devices::template_update),
    rules(DRA, "DeviceClass", devices::class, any_change),
    rules(DRA, "ResourceSlice", devices::slice, devices::slice_update),
];

fn of(resource: &Resource) -> Option<&'static Rules> {
    RULES.iter().find(|r| r.group == resource.gvk.group && r.kind == resource.gvk.kind)
}

/// What an object must be, new or changed.
pub fn object(resource: &Resource, object: &Value, errors: &mut FieldErrors) {
    if let Some(custom) = &resource.custom {
        custom.validate(object, errors);
        custom.validate_scale(object, true, errors);
    } else if let Some(rules) = of(resource) {
        (rules.object)(object, errors);
    }
}

/// What a new object must be besides.
pub fn create(resource: &Resource, object: &Value, errors: &mut FieldErrors) {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Pod") => pod::create(object, errors),
        (NET, "Ingress") => ingress::create(object, errors),
        ("batch", "Job") => batch::create(object, errors),
        ("batch", "CronJob") => batch::cron_job_create(object, errors),
        ("apps", "StatefulSet") => workload::stateful_set_create(object, errors),
        ("apps", "ControllerRevision") => workload::controller_revision_create(object, errors),
        ("scheduling.k8s.io", "PriorityClass") => quota::priority_class_create(object, errors),
        (STORAGE, "VolumeAttachment") => storage::attachment_create(object, errors),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom::definition_create(object, errors),
        _ => {}
    }
}

/// What depends on the version in which a client names an object, for an object in the form in which it is stored; `old` is `None`
/// on creation.
pub fn requested(requested: &Resource, new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    match (&*requested.gvk.kind, old) {
        ("Event", None) if requested.custom.is_none() => event::create(new, requested, errors),
        ("Event", Some(old)) if requested.custom.is_none() => event::update(new, old, requested, errors),
        _ => {}
    }
}

/// What may not change.
pub fn update(resource: &Resource, new: &Value, old: &Value, errors: &mut FieldErrors) {
    if let Some(rules) = of(resource) {
        (rules.update)(new, old, errors);
    }
}

/// Has the words about a status begin where it does: kube-apiserver v1.36 judges it without the rest of a custom object.
fn seen_from_status(error: &mut FieldError) {
    let within = error.detail.strip_prefix("status").filter(|rest| rest.starts_with([' ', '.']));
    if let Some(within) = within {
        error.detail = within.trim_start_matches('.').to_owned();
    }
}

/// What a subresource may write.
pub fn subresource_update(resource: &Resource, subresource: &str, new: &Value, old: &Value, errors: &mut FieldErrors) {
    if let Some(custom) = &resource.custom {
        let mut found = FieldErrors::new();
        custom.validate_update(new, old, &mut found);
        if subresource == "status" {
            found.0.iter_mut().for_each(seen_from_status);
        }
        errors.extend(found);
        return custom.validate_scale(new, subresource != "status", errors);
    }
    match (&*resource.gvk.kind, subresource) {
        ("CertificateSigningRequest", "approval") => certificates::approval_update(new, old, errors),
        ("Namespace", "status") => namespace::status_update(new, errors),
        ("Namespace", "finalize") => namespace::finalize(new, errors),
        ("Node", "status") => node::status_update(new, errors),
        ("PersistentVolumeClaim", "status") => claim::status_update(new, errors),
        ("Job", "status") => job_status::update(new, old, errors),
        ("HorizontalPodAutoscaler", "status") => scaling::autoscaler_status(new, errors),
        ("PodDisruptionBudget", "status") => scaling::budget_status(new, errors),
        ("Ingress", "status") => ingress::status_update(new, errors),
        ("CertificateSigningRequest", "status") => certificates::status_update(new, old, errors),
        ("Service", "status") => service::status_update(new, errors),
        ("ResourceClaim", "status") => devices::claim_status_update(new, old, errors),
        ("VolumeAttachment", "status") => storage::attachment_status(new, errors),
        ("ValidatingAdmissionPolicy", "status") => admission_policy::status(new, errors),
        ("CustomResourceDefinition", "status") => custom::definition_status(new, errors),
        ("APIService", "status") => api_service::status(new, errors),
        ("FlowSchema" | "PriorityLevelConfiguration", "status") => flow::status(new, errors),
        ("Pod", "status") => pod::status_update(new, old, errors),
        ("Pod", "ephemeralcontainers") => pod::ephemeral_update(new, old, errors),
        ("Pod", "resize") => pod::resize_update(new, old, errors),
        ("Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController", "status") => {
            workload_status::update(new, old, errors);
        }
        _ => {}
    }
}
