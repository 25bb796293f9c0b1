//! Webhooks as their configurations describe them, read once per version of the configurations.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rk_api::meta;
use rk_api::status::Status;
use rk_store::Revision;
use serde_json::Value;

use super::super::Request;
use super::super::expression::{self, Conditions};
use super::super::matching::{Scope, texts};

const GROUP: &str = "admissionregistration.k8s.io";
/// Configurations and policies are exempt: a broken one must stay mendable.
const EXEMPT: &[&str] = &[
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// The two sorts of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mutating,
    Validating,
}

/// One entry of `webhooks`.
#[derive(Debug)]
pub(super) struct Hook {
    /// Its name, for messages.
    pub(super) name: String,
    /// What it wants to hear of.
    pub(super) scope: Scope,
    /// Under which conditions.
    pub(super) conditions: Conditions,
    pub(super) client: Value,
    /// Whether a failure refuses the change.
    pub(super) fail_closed: bool,
    /// Whether it may be asked about what will not be stored.
    pub(super) dry_run: bool,
    pub(super) limit: Duration,
    /// The version of the question; empty when none is understood by both.
    pub(super) version: String,
    /// Whether it is asked again after others changed the object.
    pub(super) again: bool,
}

/// What was read of one sort, and of which version of its configurations.
type Read = Mutex<Option<(Revision, Arc<Vec<Hook>>)>>;

/// The webhooks of the cluster.
#[derive(Default)]
pub struct Hooks {
    mutating: Read,
    validating: Read,
}

/// Whether a request is about what decides over requests.
pub(crate) fn is_exempt(request: &Request<'_>) -> bool {
    request.resource.gvk.group == GROUP && EXEMPT.contains(&&*request.resource.plural)
}

/// The webhooks that may concern a request, in the order in which they are asked.
pub(super) async fn hooks(request: &Request<'_>, kind: Kind) -> Result<Arc<Vec<Hook>>, Status> {
    let none = || Ok(Arc::default());
    if is_exempt(request) {
        return none();
    }
    let (plural, read) = match kind {
        Kind::Mutating => ("mutatingwebhookconfigurations", &request.core.webhooks.mutating),
        Kind::Validating => ("validatingwebhookconfigurations", &request.core.webhooks.validating),
    };
    let cache = request.core.cache(GROUP, "v1", plural).await?;
    if cache.is_empty() {
        return none();
    }
    let revision = cache.revision();
    if let Some((own, hooks)) = &*read.lock().unwrap_or_else(PoisonError::into_inner)
        && *own == revision
    {
        return Ok(Arc::clone(hooks));
    }
    let objects = cache.snapshot("", revision, |_| true).objects;
    let hooks: Vec<Hook> = objects.iter().flat_map(|object| of_configuration(&object.value())).collect();
    let hooks = Arc::new(hooks);
    *read.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, Arc::clone(&hooks)));
    Ok(hooks)
}

/// The webhooks of one configuration.
pub(super) fn of_configuration(object: &Value) -> Vec<Hook> {
    let env = expression::of_webhooks();
    meta::at(object, &["webhooks"]).as_array().into_iter().flatten().map(|entry| hook(entry, &env)).collect()
}

fn hook(entry: &Value, env: &rk_cel::Env) -> Hook {
    let text = |field: &str| meta::text(entry, &[field]);
    let versions = texts(entry, "admissionReviewVersions");
    Hook {
        name: text("name").to_owned(),
        scope: Scope::of(entry, "rules"),
        conditions: Conditions::of(entry, env),
        client: meta::at(entry, &["clientConfig"]).clone(),
        fail_closed: text("failurePolicy") != "Ignore",
        dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
        limit: Duration::from_secs(meta::at(entry, &["timeoutSeconds"]).as_u64().unwrap_or(10)),
        version: versions.into_iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1")).unwrap_or_default(),
        again: text("reinvocationPolicy") == "IfNeeded",
    }
}
