//! PodSecurity: the Pod Security Standards by namespace label (KEP-2579): enforce, warn, audit at a level each.

mod baseline;
mod restricted;

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Map, Value};

use super::{Operation, Request};

/// A level of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Self {
        match text {
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            // Upstream is as strict as it can be with words that it does not know.
            "" | "privileged" => Self::Privileged,
            _ => Self::Restricted,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// One broken rule: its name and what breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation {
    rule: String,
    detail: String,
}

impl Violation {
    fn new(rule: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { rule: rule.into(), detail: detail.into() }
    }
}

/// What the checks look at.
struct Subject<'a> {
    metadata: &'a Value,
    spec: &'a Value,
}

/// A container and its name.
type Container<'a> = (&'a str, &'a Value);

impl<'a> Subject<'a> {
    fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| meta::at(spec, &[list]).as_array().into_iter().flatten())
            .map(|container| (meta::text(container, &["name"]), container))
    }

    fn is_windows(&self) -> bool {
        meta::text(self.spec, &["os", "name"]) == "windows"
    }

    /// Names of the containers for which something holds, as messages quote them.
    fn naming(&self, holds: impl Fn(&Value) -> bool) -> Option<String> {
        let names: Vec<String> =
            self.containers().filter(|(_, container)| holds(container)).map(|(name, _)| format!("{name:?}")).collect();
        let noun = if names.len() == 1 { "container" } else { "containers" };
        (!names.is_empty()).then(|| format!("{noun} {}", names.join(", ")))
    }
}

fn judge(level: Level, subject: &Subject<'_>) -> Vec<Violation> {
    let mut broken = Vec::new();
    if level >= Level::Baseline {
        baseline::check(subject, level == Level::Baseline, &mut broken);
    }
    if level >= Level::Restricted {
        restricted::check(subject, &mut broken);
    }
    broken
}

fn describe(broken: &[Violation]) -> String {
    broken.iter().map(|violation| format!("{} ({})", violation.rule, violation.detail)).collect::<Vec<_>>().join(", ")
}

fn level_of(labels: &Map<String, Value>, mode: &str) -> (Level, String) {
    let text = |key: String| labels.get(&key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let level = Level::parse(&text(format!("pod-security.kubernetes.io/{mode}")));
    let version = text(format!("pod-security.kubernetes.io/{mode}-version"));
    (level, if version.is_empty() { "latest".to_owned() } else { version })
}

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
    let pod = request.is("", "pods") || request.is_sub("", "pods", "ephemeralcontainers");
    let template = template_path(request).filter(|_| request.subresource.is_empty());
    if !pod && template.is_none() {
        return Ok(());
    }
    if pod && request.old.is_some_and(|old| !significant(old, object)) {
        return Ok(());
    }
    let Some(namespace) = request.core.consult("", "v1", "namespaces", "", request.namespace).await? else {
        return Ok(());
    };
    let Some(labels) = meta::labels(&namespace).as_object() else { return Ok(()) };
    let body = template.map_or(object, |path| meta::at(object, path));
    let (metadata, spec) = (body.get("metadata").unwrap_or(&Value::Null), body.get("spec").unwrap_or(&Value::Null));
    let subject = Subject { metadata, spec };
    let (enforced, version) = level_of(labels, "enforce");
    if pod {
        let broken = judge(enforced, &subject);
        if !broken.is_empty() {
            return Err(request.forbid(&format!(
                "violates PodSecurity \"{}:{version}\": {}",
                enforced.name(),
                describe(&broken)
            )));
        }
    }
    let (warned, version) = level_of(labels, "warn");
    // What is enforced already needs no warning.
    let redundant = pod && warned <= enforced;
    let broken = if redundant { Vec::new() } else { judge(warned, &subject) };
    if !broken.is_empty() {
        warnings.push(format!("would violate PodSecurity \"{}:{version}\": {}", warned.name(), describe(&broken)));
    }
    let (audited, version) = level_of(labels, "audit");
    let broken = judge(audited, &subject);
    if !broken.is_empty() {
        tracing::info!(
            namespace = request.namespace,
            name = request.name,
            level = audited.name(),
            version,
            violations = describe(&broken),
            "pod security audit"
        );
    }
    Ok(())
}

/// Whether an update touches what the standards look at: of a pod, only images and ephemeral containers can change at all.
fn significant(old: &Value, new: &Value) -> bool {
    old.get("spec") != new.get("spec")
        || meta::at(old, &["metadata", "annotations"]) != meta::at(new, &["metadata", "annotations"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn broken(level: Level, spec: Value) -> Vec<String> {
        let subject = Subject { metadata: &Value::Null, spec: &spec };
        judge(level, &subject).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn baseline_refuses_what_reaches_the_host() {
        let spec = json!({"hostNetwork": true, "volumes": [{"name": "h", "hostPath": {"path": "/"}}], "containers": [
            {"name": "a", "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}, "ports": [{"hostPort": 80}]},
        ]});
        assert_eq!(
            broken(Level::Baseline, spec),
            ["non-default capabilities", "host namespaces", "hostPath volumes", "hostPort", "privileged"]
        );
        assert!(broken(Level::Baseline, json!({"containers": [{"name": "a"}]})).is_empty());
    }

    #[test]
    fn restricted_asks_for_every_precaution() {
        assert_eq!(
            broken(Level::Restricted, json!({"containers": [{"name": "a"}]})),
            [
                "allowPrivilegeEscalation != false",
                "unrestricted capabilities",
                "runAsNonRoot != true",
                "seccompProfile",
            ]
        );
        let careful = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        });
        assert!(broken(Level::Restricted, careful).is_empty());
    }
}
