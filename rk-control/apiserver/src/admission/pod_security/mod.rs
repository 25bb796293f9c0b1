//! PodSecurity: the Pod Security Standards by namespace label (KEP-2579): enforce, warn, audit at a level and version each.

mod baseline;
mod checks;
mod namespaces;
mod policy;
mod restricted;
mod subject;
#[cfg(test)]
mod tests;

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use self::policy::{Policy, Standard};
use self::subject::Subject;
use super::{Operation, Request};
use crate::metrics::Evaluation;

/// Audit annotations: the standard that a pod is held to, and how something breaks the one that is audited.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";

/// Where the pod template of a workload is.
fn template_path(request: &Request<'_>) -> Option<&'static [&'static str]> {
    match (&*request.resource.gvk.group, &*request.resource.plural) {
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs")
        | ("", "replicationcontrollers") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        ("", "podtemplates") => Some(&["template"]),
        _ => None,
    }
}

pub(super) async fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.operation != Operation::Delete) else { return Ok(()) };
    if request.is("", "namespaces") {
        return namespaces::validate(request, object, warnings).await;
    }
    let pod = request.is("", "pods") || request.is_sub("", "pods", "ephemeralcontainers");
    let template = template_path(request).filter(|_| request.subresource.is_empty());
    if !pod && template.is_none() {
        return Ok(());
    }
    if pod && request.old.is_some_and(|old| !significant(old, object)) {
        return Ok(());
    }
    let body = template.map_or(object, |path| meta::at(object, path));
    // A replication controller may do without a template.
    if body.is_null() {
        return Ok(());
    }
    let Some(namespace) = request.core.consult("", "v1", "namespaces", "", request.namespace).await? else {
        return Ok(());
    };
    // Labels that are wrong were refused when they were written, or count as strict.
    let (policy, _) = Policy::of(meta::labels(&namespace));
    let subject = Subject::of(body);
    audit(request, policy.audit, &subject);
    if pod {
        crate::audit::annotate(ENFORCED, || policy.enforce.to_string());
        let found = violations(policy.enforce, &subject);
        count(request, found.is_none(), "enforce", policy.enforce);
        if let Some(found) = found {
            return Err(request.forbid(&format!("violates PodSecurity {found}")));
        }
    }
    // What is enforced already needs no warning.
    let redundant = pod && policy.warn == policy.enforce;
    if !redundant && let Some(found) = violations(policy.warn, &subject) {
        count(request, false, "warn", policy.warn);
        warnings.push(format!("would violate PodSecurity {found}"));
    }
    Ok(())
}

/// The standard and how a pod breaks it, if it does.
fn violations(standard: Standard, subject: &Subject<'_>) -> Option<String> {
    let broken = checks::judge(standard, subject);
    (!broken.is_empty()).then(|| format!("{:?}: {}", standard.to_string(), checks::describe(&broken)))
}

fn audit(request: &Request<'_>, standard: Standard, subject: &Subject<'_>) {
    if let Some(violations) = violations(standard, subject) {
        count(request, false, "audit", standard);
        tracing::info!(namespace = request.namespace, name = request.name, violations, "pod security audit");
        crate::audit::annotate(VIOLATIONS, || format!("would violate PodSecurity {violations}"));
    }
}

fn count(request: &Request<'_>, allowed: bool, mode: &'static str, standard: Standard) {
    request.core.metrics.pod_security.judged(Evaluation {
        allowed,
        mode,
        level: standard.level.name(),
        version: standard.version.told(),
        operation: if request.creates() { "create" } else { "update" },
        resource: if &*request.resource.plural == "pods" { "pod" } else { "controller" },
        subresource: if request.subresource.is_empty() { "" } else { "ephemeralcontainers" },
    });
}

/// Whether an update touches what the standards look at: of what can change at all, images, ephemeral containers and the
/// annotations that were seccomp profiles once.
fn significant(old: &Value, new: &Value) -> bool {
    let annotation = |pod: &Value, key: &str| meta::text(pod, &["metadata", "annotations", key]).to_owned();
    let differs = |key: &str| annotation(old, key) != annotation(new, key);
    let changed = |before: &Value, after: &Value| {
        let key = format!("{}{}", baseline::SECCOMP_PREFIX, meta::text(after, &["name"]));
        meta::text(before, &["image"]) != meta::text(after, &["image"]) || differs(&key)
    };
    let lasting = ["containers", "initContainers"].into_iter().any(|field| {
        let (before, after) = (list(old, field), list(new, field));
        before.len() != after.len() || before.iter().zip(after).any(|(before, after)| changed(before, after))
    });
    let added = list(new, "ephemeralContainers").iter().any(|after| {
        let same = |before: &&Value| meta::text(before, &["name"]) == meta::text(after, &["name"]);
        let before = list(old, "ephemeralContainers").iter().find(same);
        before.is_none_or(|before| changed(before, after))
    });
    differs(baseline::SECCOMP_OF_POD) || lasting || added
}

fn list<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    meta::list(pod, &["spec", field])
}
