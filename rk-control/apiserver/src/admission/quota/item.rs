//! What is charged: an object as the rules of `rk-quota` read it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuotaSpec, ServiceSpec};
use k8s_openapi::api::resource::v1::ResourceClaim;
use rk_api::meta::{self, Quantity};
use rk_api::status::Status;
use rk_quota::{Named, Usage};
use serde_json::Value;

use super::super::Request;
use super::super::typed::typed;

/// An object, as far as its kind has more to count than itself.
enum Kind {
    Pod(Box<Pod>),
    Service(Box<ServiceSpec>),
    Claim(Box<PersistentVolumeClaim>),
    Devices(Box<Devices>),
    Other,
}

/// A claim of devices, and what its amounts depend on.
struct Devices {
    claim: ResourceClaim,
    /// The pod that it says it was made for.
    owner: Option<Pod>,
    named: Named,
}

impl Devices {
    async fn read(request: &Request<'_>, object: &Value) -> Result<Self, Status> {
        // Its status says nothing of what it takes, and may be written by drivers in ways that types do not have.
        let (metadata, spec) = (typed(meta::at(object, &["metadata"]))?, typed(meta::at(object, &["spec"]))?);
        let claim = ResourceClaim { metadata, spec, status: None };
        let classes = request.core.objects("resource.k8s.io", "v1", "deviceclasses", "").await?;
        let named = classes.iter().filter_map(|class| {
            let resource = meta::at(class, &["spec", "extendedResourceName"]).as_str()?;
            Some((meta::name(class).to_owned(), resource.to_owned()))
        });
        let named = named.collect();
        let owner = match rk_quota::owner_of_extended(&claim) {
            Some(pod) => request.core.object("", "v1", "pods", request.namespace, pod).await?,
            None => None,
        };
        let owner = owner.as_ref().map(typed).transpose()?;
        Ok(Self { claim, owner, named })
    }

    fn usage(&self) -> Usage {
        rk_quota::of_devices(&self.claim, &self.named, self.owner.as_ref())
    }
}

/// An object that may be charged.
pub(super) struct Item {
    kind: Kind,
    /// What it takes at the time it was read.
    pub(super) usage: Usage,
}

impl Item {
    /// Reads an object of the request's kind.
    pub(super) async fn read(request: &Request<'_>, object: &Value, now: Timestamp) -> Result<Self, Status> {
        let (group, plural) = (&*request.resource.gvk.group, &*request.resource.plural);
        let spec = meta::at(object, &["spec"]);
        let kind = match (group, plural) {
            ("", "pods") => Kind::Pod(typed(object)?),
            ("", "services") => Kind::Service(typed(spec)?),
            ("", "persistentvolumeclaims") => Kind::Claim(typed(object)?),
            ("resource.k8s.io", "resourceclaims") => Kind::Devices(Box::new(Devices::read(request, object).await?)),
            _ => Kind::Other,
        };
        let mut usage = match &kind {
            Kind::Pod(pod) => rk_quota::of_pod(pod, now),
            Kind::Service(spec) => rk_quota::of_service(spec),
            Kind::Claim(claim) => rk_quota::of_claim(claim),
            Kind::Devices(devices) => devices.usage(),
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
