//! What the checks look at, and the phrases in which they tell what they found.

use std::collections::BTreeSet;

use rk_api::meta;
use serde_json::Value;

/// One broken rule: its name and what breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The reason in few words, which warnings about many pods consist of.
    pub(super) rule: &'static str,
    /// Which part of the pod, and what is wrong with it.
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// A pod, or what pods will be made of.
pub(super) struct Subject<'a> {
    /// Its `metadata`, or null.
    pub(super) metadata: &'a Value,
    /// Its `spec`, or null.
    pub(super) spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// The pod in an object, or the template that is the object.
    pub(super) fn of(body: &'a Value) -> Self {
        Self { metadata: meta::at(body, &["metadata"]), spec: meta::at(body, &["spec"]) }
    }

    /// Every container of whatever sort, in the order in which upstream tells of them.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| meta::at(spec, &[list]).as_array().into_iter().flatten())
    }

    /// Names of the containers for which something holds.
    pub(super) fn names(&self, holds: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| holds(container)).map(name).collect()
    }

    /// Whatever has a security context: the pod's spec and every container.
    pub(super) fn holders(&self) -> impl Iterator<Item = &'a Value> {
        std::iter::once(self.spec).chain(self.containers())
    }

    /// Whether the pod is for nodes on which Linux' security contexts mean nothing.
    pub(super) fn is_windows(&self) -> bool {
        meta::text(self.spec, &["os", "name"]) == "windows"
    }

    /// Whether the pod has a user namespace: its root is nobody outside of it.
    pub(super) fn has_own_users(&self) -> bool {
        meta::at(self.spec, &["hostUsers"]).as_bool() == Some(false)
    }

    /// Who set a field of the security context to something other than what is allowed.
    pub(super) fn setters(&self, path: &[&str], allowed: &[&str]) -> Setters<'a> {
        let mut setters = Setters::default();
        if let Some(value) = foreign(self.spec, path, allowed) {
            setters.pod = true;
            setters.values.insert(value);
        }
        for container in self.containers() {
            if let Some(value) = foreign(container, path, allowed) {
                setters.containers.push(name(container));
                setters.values.insert(value);
            }
        }
        setters
    }
}

/// The value at a path of the security context of a pod's spec or a container.
pub(super) fn security<'a>(holder: &'a Value, path: &[&str]) -> &'a Value {
    meta::at(meta::at(holder, &["securityContext"]), path)
}

fn name(container: &Value) -> &str {
    meta::text(container, &["name"])
}

/// A value that is not allowed. Where the first field of the path is not set, nothing is wrong.
fn foreign<'a>(holder: &'a Value, path: &[&str], allowed: &[&str]) -> Option<&'a str> {
    let (field, rest) = path.split_first()?;
    let set = security(holder, &[field]);
    let value = meta::text(set, rest);
    (!set.is_null() && !allowed.contains(&value)).then_some(value)
}

/// Who in a pod set what must not be set, and to what.
#[derive(Default)]
pub(super) struct Setters<'a> {
    /// Whether the pod itself did.
    pub(super) pod: bool,
    /// Names of the containers that did.
    pub(super) containers: Vec<&'a str>,
    /// What was set.
    pub(super) values: BTreeSet<&'a str>,
}

impl Setters<'_> {
    /// `pod and container "a"`, or nothing when nobody did.
    pub(super) fn told(&self) -> Option<String> {
        let mut who: Vec<String> = Vec::new();
        if self.pod {
            who.push("pod".to_owned());
        }
        if !self.containers.is_empty() {
            who.push(told(&self.containers));
        }
        (!who.is_empty()).then(|| who.join(" and "))
    }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn told(containers: &[&str]) -> String {
    format!("{} {}", plural(containers.len(), "container", "containers"), quoted(containers.iter().copied()))
}

/// `"a", "b"`.
pub(super) fn quoted<'t>(items: impl IntoIterator<Item = &'t str>) -> String {
    format!("\"{}\"", items.into_iter().collect::<Vec<_>>().join("\", \""))
}

/// The word for so many.
pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
