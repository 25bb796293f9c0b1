//! Objects as rows of a `meta.k8s.io/v1` Table (what `kubectl get` asks for).
//!
//! A kind's columns are a static list; a cell is a function of the object. Kinds without a list of their own show name and time of
//! creation. Column names, order and cell texts are upstream's, since scripts and people read them.

mod age;
mod batch;
mod column;
mod config;
mod core;
mod extensions;
mod network;
mod pod;
mod pod_status;
mod policy;
mod storage;
#[cfg(test)]
mod tests;
mod text;
mod version;
mod workloads;

pub use version::to_v1beta1;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::meta;
use crate::resources::Resource;
use column::{Column, Context};

/// How long ago a time was, as tables show it.
pub(crate) fn human_age(time: Timestamp, now: Timestamp) -> String {
    age::human(now.as_second() - time.as_second())
}

/// What each row carries besides its cells (the `includeObject` parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

/// The columns of a kind.
fn columns_of(resource: &Resource) -> &'static [Column] {
    let (group, kind) = (resource.gvk.group.as_ref(), resource.gvk.kind.as_ref());
    match (group, kind) {
        ("", "Pod") => pod::PODS,
        ("", "Node") => core::NODES,
        ("", "Namespace") => core::NAMESPACES,
        ("", "ComponentStatus") => core::COMPONENT_STATUSES,
        ("" | "events.k8s.io", "Event") => core::EVENTS,
        ("", "ConfigMap") => config::CONFIG_MAPS,
        ("", "Secret") => config::SECRETS,
        ("", "ServiceAccount") => config::SERVICE_ACCOUNTS,
        ("", "ResourceQuota") => config::RESOURCE_QUOTAS,
        ("", "PodTemplate") => workloads::POD_TEMPLATES,
        ("", "Service") => network::SERVICES,
        ("", "Endpoints") => network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => network::ENDPOINT_SLICES,
        ("networking.k8s.io", "Ingress") => network::INGRESSES,
        ("networking.k8s.io", "IngressClass") => network::INGRESS_CLASSES,
        ("networking.k8s.io", "NetworkPolicy") => network::NETWORK_POLICIES,
        ("networking.k8s.io", "ServiceCIDR") => network::SERVICE_CIDRS,
        ("networking.k8s.io", "IPAddress") => network::IP_ADDRESSES,
        ("", "ReplicationController") => workloads::REPLICATION_CONTROLLERS,
        ("apps", "ReplicaSet") => workloads::REPLICA_SETS,
        ("apps", "Deployment") => workloads::DEPLOYMENTS,
        ("apps", "DaemonSet") => workloads::DAEMON_SETS,
        ("apps", "StatefulSet") => workloads::STATEFUL_SETS,
        ("apps", "ControllerRevision") => workloads::CONTROLLER_REVISIONS,
        ("batch", "Job") => batch::JOBS,
        ("batch", "CronJob") => batch::CRON_JOBS,
        ("autoscaling", "HorizontalPodAutoscaler") => batch::AUTOSCALERS,
        ("", "PersistentVolume") => storage::VOLUMES,
        ("", "PersistentVolumeClaim") => storage::CLAIMS,
        ("storage.k8s.io", "StorageClass") => storage::CLASSES,
        ("storage.k8s.io", "VolumeAttachment") => storage::ATTACHMENTS,
        ("storage.k8s.io", "VolumeAttributesClass") => storage::ATTRIBUTES_CLASSES,
        ("storage.k8s.io", "CSINode") => storage::CSI_NODES,
        ("storage.k8s.io", "CSIDriver") => storage::CSI_DRIVERS,
        ("storage.k8s.io", "CSIStorageCapacity") => storage::CAPACITIES,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => policy::BINDINGS,
        ("certificates.k8s.io", "CertificateSigningRequest") => policy::SIGNING_REQUESTS,
        ("policy", "PodDisruptionBudget") => policy::DISRUPTION_BUDGETS,
        ("scheduling.k8s.io", "PriorityClass") => policy::PRIORITY_CLASSES,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => policy::FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => policy::PRIORITY_LEVELS,
        ("coordination.k8s.io", "Lease") => extensions::LEASES,
        ("node.k8s.io", "RuntimeClass") => extensions::RUNTIME_CLASSES,
        ("apiregistration.k8s.io", "APIService") => extensions::API_SERVICES,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            extensions::WEBHOOKS
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => extensions::ADMISSION_POLICIES,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => extensions::MUTATING_POLICIES,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding") => {
            extensions::ADMISSION_BINDINGS
        }
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => column::AGED,
        ("resource.k8s.io", "ResourceClaim") => extensions::RESOURCE_CLAIMS,
        ("resource.k8s.io", "ResourceSlice") => extensions::RESOURCE_SLICES,
        _ => column::PLAIN,
    }
}

/// `columnDefinitions` of a resource.
pub fn columns(resource: &Resource) -> Value {
    if let Some(custom) = &resource.custom {
        return custom.columns.definitions();
    }
    columns_of(resource).iter().map(Column::definition).collect()
}

/// One row: `{"cells": […], "object": …}`. Ages are relative to `now`.
pub fn row(resource: &Resource, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let context = Context { object, now };
    let cells: Value = match &resource.custom {
        Some(custom) => custom.columns.cells(object, now),
        None => columns_of(resource).iter().map(|column| column.cell(&context)).collect(),
    };
    let mut row = framed(cells, object, include);
    if let Some(condition) = pod::completed(resource, object) {
        row["conditions"] = json!([condition]);
    }
    row
}

fn framed(cells: Value, object: &Value, include: IncludeObject) -> Value {
    let object = match include {
        IncludeObject::Metadata => partial_metadata(object),
        IncludeObject::Object => object.clone(),
        IncludeObject::None => Value::Null,
    };
    json!({"cells": cells, "object": object})
}

/// The Table of a workload's `autoscaling/v1` Scale.
pub fn scale(scale: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let context = Context { object: scale, now };
    let cells = workloads::SCALES.iter().map(|column| column.cell(&context)).collect();
    let columns = workloads::SCALES.iter().map(Column::definition).collect();
    whole(columns, vec![framed(cells, scale, include)], meta::at(scale, &["metadata"]))
}

/// A whole Table. `list_meta` is the list's (or object's) metadata; only resourceVersion, continue and remainingItemCount are kept.
pub fn table<'a>(
    resource: &Resource,
    items: impl Iterator<Item = &'a Value>,
    list_meta: &Value,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let mut items: Vec<&Value> = items.collect();
    if (&*resource.gvk.group, &*resource.gvk.kind) == ("flowcontrol.apiserver.k8s.io", "FlowSchema") {
        // In the order in which they are tried.
        items.sort_by_key(|item| (meta::at(item, &["spec", "matchingPrecedence"]).as_i64(), meta::name(item)));
    }
    let rows = items.into_iter().map(|item| row(resource, item, include, now)).collect();
    whole(columns(resource), rows, list_meta)
}

fn whole(columns: Value, rows: Vec<Value>, list_meta: &Value) -> Value {
    let kept = ["resourceVersion", "continue", "remainingItemCount"];
    let metadata: Map<String, Value> =
        kept.iter().filter_map(|key| Some(((*key).to_owned(), list_meta.get(key)?.clone()))).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// An object's metadata alone, as `meta.k8s.io/v1` PartialObjectMetadata.
pub fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta::at(object, &["metadata"]),
    })
}
