//! What types and fields mean, in the words of k8s-openapi's schemas.

use std::collections::BTreeMap;

use serde_json::Value;

/// Schemas by OpenAPI name; only their `description` texts are used.
pub struct Descriptions(BTreeMap<String, Value>);

macro_rules! roots {
    ($generator:ident; $($($module:ident)::+ { $($kind:ident),+ $(,)? })+) => {
        $({
            use k8s_openapi::$($module)::+ as package;
            $($generator.subschema_for::<package::$kind>();)+
        })+
    };
}

impl Descriptions {
    /// Collects everything that the served kinds reach.
    pub fn collect() -> Self {
        let mut generator = schemars::SchemaGenerator::default();
        roots! { generator;
            api::admissionregistration::v1 {
                MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
                ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
            }
            api::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
            api::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
            api::authorization::v1 {
                LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
            }
            api::autoscaling::v1 { HorizontalPodAutoscaler, Scale }
            api::batch::v1 { CronJob, Job }
            api::certificates::v1 { CertificateSigningRequest }
            api::coordination::v1 { Lease }
            api::core::v1 {
                Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
                PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service,
                ServiceAccount,
            }
            api::discovery::v1 { EndpointSlice }
            api::flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
            api::networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
            api::node::v1 { RuntimeClass }
            api::policy::v1 { Eviction, PodDisruptionBudget }
            api::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
            api::resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
            api::scheduling::v1 { PriorityClass }
            api::storage::v1 {
                CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
            }
            apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
            apimachinery::pkg::apis::meta::v1 { DeleteOptions, ListMeta, Patch, Status }
            kube_aggregator::pkg::apis::apiregistration::v1 { APIService }
        }
        // Two packages share the short names of these.
        generator.subschema_for::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>();
        generator.subschema_for::<k8s_openapi::api::events::v1::Event>();
        let schemas = generator.take_definitions(true);
        Self(schemas.into_iter().collect())
    }

    /// What a type means.
    pub fn of_type(&self, name: &str) -> Option<&Value> {
        self.0.get(name)?.get("description")
    }

    /// What a field means.
    pub fn of_field(&self, name: &str, field: &str) -> Option<&Value> {
        self.0.get(name)?.get("properties")?.get(field)?.get("description")
    }
}
