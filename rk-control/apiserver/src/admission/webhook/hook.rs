//! Webhooks as their configurations describe them, read once per version of the configurations.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rk_api::meta;
use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use rk_store::Revision;
use serde_json::Value;

use super::super::Request;

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
    pub(super) rules: Vec<Rule>,
    pub(super) client: Value,
    /// Whether a failure refuses the change.
    pub(super) fail_closed: bool,
    /// Whether only the resources in the rules themselves count.
    pub(super) exact: bool,
    pub(super) namespaces: LabelSelector,
    pub(super) objects: LabelSelector,
    /// Whether it may be asked about what will not be stored.
    pub(super) dry_run: bool,
    pub(super) limit: Duration,
    /// The version of the question; empty when none is understood by both.
    pub(super) version: String,
    /// Whether it is asked again after others changed the object.
    pub(super) again: bool,
    /// Whether it has conditions that this server cannot evaluate.
    pub(super) conditional: bool,
}

/// What a webhook wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) operations: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) versions: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) scope: String,
}

/// What was read of one sort, and of which version of its configurations.
type Read = Mutex<Option<(Revision, Arc<Vec<Hook>>)>>;

/// The webhooks of the cluster.
#[derive(Default)]
pub struct Hooks {
    mutating: Read,
    validating: Read,
}

/// The webhooks that may concern a request, in the order in which they are asked.
pub(super) async fn hooks(request: &Request<'_>, kind: Kind) -> Result<Arc<Vec<Hook>>, Status> {
    let none = || Ok(Arc::default());
    if request.resource.gvk.group == GROUP && EXEMPT.contains(&&*request.resource.plural) {
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
    meta::at(object, &["webhooks"]).as_array().into_iter().flatten().map(hook).collect()
}

fn hook(entry: &Value) -> Hook {
    let text = |field: &str| meta::text(entry, &[field]);
    // A selector that cannot be read was refused when it was written.
    let selector = |field: &str| match entry.get(field) {
        Some(selector @ Value::Object(_)) => LabelSelector::from_object(selector).unwrap_or(LabelSelector::NOTHING),
        _ => LabelSelector::default(),
    };
    let versions = texts(entry, "admissionReviewVersions");
    Hook {
        name: text("name").to_owned(),
        rules: meta::at(entry, &["rules"]).as_array().into_iter().flatten().map(rule).collect(),
        client: meta::at(entry, &["clientConfig"]).clone(),
        fail_closed: text("failurePolicy") != "Ignore",
        exact: text("matchPolicy") == "Exact",
        namespaces: selector("namespaceSelector"),
        objects: selector("objectSelector"),
        dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
        limit: Duration::from_secs(meta::at(entry, &["timeoutSeconds"]).as_u64().unwrap_or(10)),
        version: versions.into_iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1")).unwrap_or_default(),
        again: text("reinvocationPolicy") == "IfNeeded",
        conditional: meta::at(entry, &["matchConditions"]).as_array().is_some_and(|list| !list.is_empty()),
    }
}

fn rule(entry: &Value) -> Rule {
    Rule {
        operations: texts(entry, "operations"),
        groups: texts(entry, "apiGroups"),
        versions: texts(entry, "apiVersions"),
        resources: texts(entry, "resources"),
        scope: meta::text(entry, &["scope"]).to_owned(),
    }
}

fn texts(entry: &Value, field: &str) -> Vec<String> {
    let list = meta::at(entry, &[field]).as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
