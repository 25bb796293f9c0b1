//! Admission: what is added to or refused of a change beyond the rules of its kind, as an ordered chain.
//!
//! Each plugin is one file with a `mutate` and/or a `validate`. The chain is data; mutating policies and webhooks of the cluster come after it,
//! since what they change goes through it again.

mod certificates;
mod default_class;
mod default_tolerations;
pub(crate) mod device_access;
mod escalation;
pub(crate) mod expression;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_features;
mod node_restriction;
mod node_taint;
pub(crate) mod param_access;
mod pod_resize;
mod pod_security;
mod pod_topology;
mod policy;
mod priority;
mod quantity;
mod quota;
mod runtime_class;
mod service_account;
pub(crate) mod signing_request;
mod storage_protection;
mod typed;
mod volume_resize;
mod webhook;

pub use policy::{Policies, run as run_policies};
pub use webhook::Hooks;

use std::sync::Arc;

use futures::future::BoxFuture;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_api::{managed, meta};
use serde_json::{Map, Value};

use crate::authn::User;
use crate::authz::Attributes;
use crate::metrics::{Half, STEPS};
use crate::server::Core;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object.
    Update,
    /// A deletion.
    Delete,
    /// A connection to what the object stands for: exec, attach, port-forward, proxy.
    Connect,
}

/// A change on its way.
pub struct Request<'a> {
    /// What requests share.
    pub core: &'a Core,
    /// Who asks.
    pub user: &'a User,
    /// The row of the object's storage version.
    pub resource: &'a Resource,
    /// The row that the request names.
    pub requested: &'a Arc<Resource>,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name; empty where there is none yet, and for each object of a collection that is deleted.
    pub name: &'a str,
    /// What the name of a new object will begin with, as far as it has none yet.
    pub base: &'a str,
    /// What is done.
    pub operation: Operation,
    /// The object as it is, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// What its options say besides that, by upstream's names of their fields.
    pub options: Map<String, Value>,
}

impl Request<'_> {
    /// Whether this is about a resource itself (not a subresource of it).
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.is_sub(group, plural, "")
    }

    /// Whether this is about a subresource.
    #[must_use]
    pub fn is_sub(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.resource.gvk.group == group && self.resource.plural == plural && self.subresource == subresource
    }

    /// Whether a new object is made.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.operation == Operation::Create
    }

    /// Whether who asks may do something else as well.
    ///
    /// # Errors
    /// Roles cannot be read.
    pub async fn allows(&self, attributes: &Attributes) -> Result<bool, Status> {
        Ok(self.core.authorizer.allowed(self.core, self.user, attributes).await?.allows())
    }

    /// 403 with a reason.
    #[must_use]
    pub fn forbid(&self, why: &str) -> Status {
        let named = [self.name, self.base].into_iter().find(|name| !name.is_empty());
        Status::forbidden(self.resource, named.unwrap_or("Unknown"), why)
    }
}

/// Something that must stay held until the change is stored.
pub type Held = Vec<tokio::sync::OwnedMutexGuard<()>>;

type Mutate = for<'a> fn(&'a Request<'a>, &'a mut Value, &'a mut Vec<String>) -> BoxFuture<'a, Result<(), Status>>;
type Validate = for<'a> fn(
    &'a Request<'a>,
    Option<&'a Value>,
    &'a mut Vec<String>,
    &'a mut Held,
) -> BoxFuture<'a, Result<(), Status>>;

/// A link of the chain; the name is the one under which upstream knows it.
struct Plugin {
    name: &'static str,
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

const fn mutating(name: &'static str, mutate: Mutate) -> Plugin {
    Plugin { name, mutate: Some(mutate), validate: None }
}

const fn validating(name: &'static str, validate: Validate) -> Plugin {
    Plugin { name, mutate: None, validate: Some(validate) }
}

const fn both(name: &'static str, mutate: Mutate, validate: Validate) -> Plugin {
    Plugin { name, mutate: Some(mutate), validate: Some(validate) }
}

/// The chain, in upstream's order.
const CHAIN: &[Plugin] = &[
    both(
        "NamespaceLifecycle",
        |request, _, _| Box::pin(namespace_lifecycle::admit(request)),
        |request, _, _, _| Box::pin(namespace_lifecycle::admit(request)),
    ),
    both(
        "LimitRanger",
        |request, object, _| Box::pin(limit_ranger::mutate(request, object)),
        |request, object, _, _| Box::pin(limit_ranger::validate(request, object)),
    ),
    both(
        "ServiceAccount",
        |request, object, _| Box::pin(service_account::mutate(request, object)),
        |request, object, _, _| Box::pin(service_account::validate(request, object)),
    ),
    both(
        "NodeRestriction",
        |request, object, _| Box::pin(node_restriction::mutate(request, object)),
        |request, object, _, _| Box::pin(node_restriction::validate(request, object)),
    ),
    mutating("TaintNodesByCondition", |request, object, _| Box::pin(node_taint::mutate(request, object))),
    validating("PodSecurity", |request, object, warnings, _| {
        Box::pin(pod_security::validate(request, object, warnings))
    }),
    both(
        "Priority",
        |request, object, _| Box::pin(priority::mutate(request, object)),
        |request, object, _, _| Box::pin(priority::validate(request, object)),
    ),
    mutating("DefaultTolerationSeconds", |request, object, _| Box::pin(default_tolerations::mutate(request, object))),
    mutating("StorageObjectInUseProtection", |request, object, _| {
        Box::pin(storage_protection::mutate(request, object))
    }),
    validating("PersistentVolumeClaimResize", |request, object, _, _| {
        Box::pin(volume_resize::validate(request, object))
    }),
    both(
        "RuntimeClass",
        |request, object, _| Box::pin(runtime_class::mutate(request, object)),
        |request, object, _, _| Box::pin(runtime_class::validate(request, object)),
    ),
    validating("CertificateApproval", |request, object, _, _| Box::pin(certificates::approval(request, object))),
    validating("CertificateSigning", |request, object, _, _| Box::pin(certificates::signing(request, object))),
    validating("CertificateSubjectRestriction", |request, object, _, _| {
        Box::pin(certificates::subject(request, object))
    }),
    mutating("DefaultStorageClass", |request, object, _| {
        Box::pin(default_class::give(&default_class::OF_CLAIMS, request, object))
    }),
    mutating("DefaultIngressClass", |request, object, _| {
        Box::pin(default_class::give(&default_class::OF_INGRESSES, request, object))
    }),
    mutating("PodTopologyLabels", |request, object, _| Box::pin(pod_topology::mutate(request, object))),
    validating("PodResizeValidator", |request, object, _, _| Box::pin(pod_resize::validate(request, object))),
    validating("NodeDeclaredFeatureValidator", |request, object, _, _| {
        Box::pin(node_features::validate(request, object))
    }),
    validating("RoleEscalation", |request, object, _, _| Box::pin(escalation::validate(request, object))),
    validating("ValidatingAdmissionPolicy", |request, object, warnings, _| {
        Box::pin(policy::validate(request, object, warnings))
    }),
    validating("ValidatingAdmissionWebhook", |request, object, warnings, _| {
        Box::pin(webhook::validate(request, object, warnings))
    }),
    validating("ResourceQuota", |request, object, _, held| Box::pin(quota::validate(request, object, held))),
];

/// How a client is warned of webhooks that leave no readable ownership.
const SPOILED: &str = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating \
                       admission controller; please fix your requests: ";

const _: () = assert!(CHAIN.len() <= STEPS, "each link has a place among the figures");

/// The policies and webhooks of the cluster that may change what is asked for, on behalf of one change.
pub struct Mutators {
    policies: policy::Round,
    hooks: webhook::Round,
}

impl Mutators {
    /// Those of now.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn of(request: &Request<'_>) -> Result<Self, Status> {
        Ok(Self { policies: policy::Round::of(request).await?, hooks: webhook::Round::of(request).await? })
    }

    /// Whether there are none. Where there are, they are to see an object as it was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.hooks.is_empty()
    }
}

/// Lets every plugin, and policies and webhooks, change an object as it was sent: it is prepared for the store afterwards.
///
/// # Errors
/// The first refusal.
pub async fn mutate(
    request: &Request<'_>,
    mut mutators: Mutators,
    object: &mut Value,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    plugins(request, object, warnings).await?;
    if mutators.is_empty() {
        return Ok(());
    }
    let owners = meta::at(object, &["metadata", "managedFields"]).clone();
    let mut changed = mutators.policies.first(request, object).await?;
    changed |= mutators.hooks.first(request, Some(object), warnings).await?;
    if changed {
        // What was added is not exempt from what every object gets. Remarks were made the first time.
        plugins(request, object, &mut Vec::new()).await?;
        mutators.policies.again(request, object).await?;
        mutators.hooks.again(request, object, warnings).await?;
        warnings.extend(managed::mend(object, owners).map(|why| format!("{SPOILED}{why}")));
    }
    Ok(())
}

async fn plugins(request: &Request<'_>, object: &mut Value, warnings: &mut Vec<String>) -> Result<(), Status> {
    let mut pass = request.core.metrics.admission.pass(Half::Admit, matching::operation(request.operation));
    for (place, plugin) in CHAIN.iter().enumerate() {
        if let Some(mutate) = plugin.mutate {
            let verdict = mutate(request, object, warnings).await;
            pass.ran(place, plugin.name, verdict.is_err());
            verdict.inspect_err(|status| refused(plugin, request, status))?;
        }
    }
    Ok(())
}

/// Lets mutating webhooks refuse a deletion, which has nothing that they could change.
///
/// # Errors
/// The first refusal.
pub async fn announce(request: &Request<'_>, warnings: &mut Vec<String>) -> Result<(), Status> {
    webhook::Round::of(request).await?.first(request, None, warnings).await.map(|_| ())
}

/// Whether a node may do this to what is `old` in the request: it has the same limits in a verb in disguise.
///
/// # Errors
/// It may not.
pub async fn confine(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    node_restriction::validate(request, Some(object)).await
}

/// Lets webhooks change and judge what is no object of its own resource: a binding, an eviction, the options of a connection. Returns
/// it as they left it.
///
/// # Errors
/// The first refusal.
pub async fn connect(request: &Request<'_>, mut object: Value, warnings: &mut Vec<String>) -> Result<Value, Status> {
    pod_topology::mutate(request, &mut object).await?;
    webhook::Round::of(request).await?.first(request, Some(&mut object), warnings).await?;
    policy::validate(request, Some(&object), warnings).await?;
    webhook::validate(request, Some(&object), warnings).await?;
    Ok(object)
}

/// Lets every plugin judge a change. What is returned must be held until the change is stored.
///
/// # Errors
/// The first refusal.
pub async fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Held, Status> {
    let mut held = Held::new();
    let mut pass = request.core.metrics.admission.pass(Half::Validate, matching::operation(request.operation));
    for (place, plugin) in CHAIN.iter().enumerate() {
        if let Some(validate) = plugin.validate {
            let verdict = validate(request, object, warnings, &mut held).await;
            pass.ran(place, plugin.name, verdict.is_err());
            verdict.inspect_err(|status| refused(plugin, request, status))?;
        }
    }
    Ok(held)
}

fn refused(plugin: &Plugin, request: &Request<'_>, status: &Status) {
    tracing::debug!(plugin = plugin.name, resource = %request.resource.plural, name = request.name, %status, "refused");
}
