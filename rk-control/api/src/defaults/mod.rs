//! Defaulting: what the server fills in where a client said nothing.
//!
//! One file per family of kinds; [`edit`] holds the few ways in which they write into an object.

mod admission;
mod apps;
mod batch;
mod container;
mod core;
mod devices;
mod edit;
mod flow;
mod networking;
mod pod;
mod scaling;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod volume;

use serde_json::Value;

use crate::Object;
use crate::resources::GroupVersionKind;

/// Fills in defaults as upstream does for objects of this kind, in place. Runs after decoding (every version) and after a patch;
/// running it twice changes nothing.
pub fn apply(gvk: &GroupVersionKind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let defaults: fn(&mut Object) = match (&*gvk.group, &*gvk.kind) {
        ("", "Pod") => pod::pod,
        ("", "PodTemplate") => pod::pod_template,
        ("", "ReplicationController") => apps::replication_controller,
        ("", "Service") => service::service,
        ("", "Endpoints") => service::endpoints,
        ("", "Namespace") => core::namespace,
        ("", "Node") => core::node,
        ("", "Secret") => core::secret,
        ("", "LimitRange") => core::limit_range,
        ("", "PersistentVolume") => storage::persistent_volume,
        ("", "PersistentVolumeClaim") => storage::persistent_volume_claim,
        ("apps", "Deployment") => apps::deployment,
        ("apps", "ReplicaSet") => apps::replica_set,
        ("apps", "StatefulSet") => apps::stateful_set,
        ("apps", "DaemonSet") => apps::daemon_set,
        ("batch", "Job") => batch::job,
        ("batch", "CronJob") => batch::cron_job,
        ("autoscaling", "HorizontalPodAutoscaler") if gvk.version == "v1" => scaling::autoscaler_v1,
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler,
        ("networking.k8s.io", "NetworkPolicy") => networking::network_policy,
        ("networking.k8s.io", "IngressClass") => networking::ingress_class,
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => core::role_binding,
        ("storage.k8s.io", "StorageClass") => storage::storage_class,
        ("storage.k8s.io", "CSIDriver") => storage::csi_driver,
        ("scheduling.k8s.io", "PriorityClass") => core::priority_class,
        ("authentication.k8s.io", "TokenRequest") => core::token_request,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => admission::mutating_webhooks,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => admission::validating_webhooks,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => admission::validating_policy,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => admission::mutating_policy,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            admission::binding
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => admission::custom_resource_definition,
        ("apiregistration.k8s.io", "APIService") => admission::api_service,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::flow_schema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => flow::priority_level,
        ("resource.k8s.io", "ResourceClaim") => devices::claim,
        ("resource.k8s.io", "ResourceClaimTemplate") => devices::claim_template,
        _ => return,
    };
    defaults(object);
}
