//! What is charged: an object as the rules of `rk-quota` read it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuotaSpec, ServiceSpec};
use k8s_openapi::api::resource::v1::ResourceClaimSpec;
use rk_api::meta::{self, Quantity};
use rk_api::status::Status;
use rk_quota::Usage;
use serde_json::Value;

use super::super::Request;
use super::super::typed::typed;

/// An object, as far as its kind has more to count than itself.
enum Kind {
    Pod(Box<Pod>),
    Service(Box<ServiceSpec>),
    Claim(Box<PersistentVolumeClaim>),
    Devices(Box<ResourceClaimSpec>),
    Other,
}

/// An object that may be charged.
pub(super) struct Item {
    kind: Kind,
    /// What it takes at the time it was read.
    pub(super) usage: Usage,
}

impl Item {
    /// Reads an object of the request's kind.
    pub(super) fn read(request: &Request<'_>, object: &Value, now: Timestamp) -> Result<Self, Status> {
        let (group, plural) = (&*request.resource.gvk.group, &*request.resource.plural);
        let spec = meta::at(object, &["spec"]);
        let kind = match (group, plural) {
            ("", "pods") => Kind::Pod(typed(object)?),
            ("", "services") => Kind::Service(typed(spec)?),
            ("", "persistentvolumeclaims") => Kind::Claim(typed(object)?),
            ("resource.k8s.io", "resourceclaims") => Kind::Devices(typed(spec)?),
            _ => Kind::Other,
        };
        let mut usage = match &kind {
            Kind::Pod(pod) => rk_quota::of_pod(pod, now),
            Kind::Service(spec) => rk_quota::of_service(spec),
            Kind::Claim(claim) => rk_quota::of_claim(claim),
            Kind::Devices(spec) => rk_quota::of_devices(spec),
            Kind::Other => Usage::new(),
        };
        let one = Quantity::from_millis(1000);
        let counted = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
        usage.insert(counted, one);
        if group.is_empty() && matches!(plural, "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas")
        {
            usage.insert(plural.to_owned(), one);
        }
        Ok(Self { kind, usage })
    }

    /// Whether a quota speaks of it.
    pub(super) fn is_covered(&self, spec: &ResourceQuotaSpec) -> bool {
        match &self.kind {
            Kind::Pod(pod) => rk_quota::covers_pod(spec, pod),
            Kind::Claim(claim) => rk_quota::covers_claim(spec, claim),
            _ => !rk_quota::is_scoped(spec),
        }
    }

    /// What a quota that limits these resources demands of it and it does not say.
    pub(super) fn missing<'a>(&self, limited: impl Iterator<Item = &'a str>) -> Option<String> {
        match &self.kind {
            Kind::Pod(pod) => rk_quota::missing(limited, pod),
            _ => None,
        }
    }
}
