//! One rule of a role, and whether it covers a request.

use serde_json::{Value, json};

use super::Attributes;

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs, `*` for all.
    pub verbs: Vec<String>,
    /// Groups, `*` for all.
    pub groups: Vec<String>,
    /// Resources with their subresources, `*` for all.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub names: Vec<String>,
    /// Paths that are no resources, with `*` at the end for all below.
    pub urls: Vec<String>,
}

impl Rule {
    /// Reads a rule of a role object.
    #[must_use]
    pub fn parse(rule: &Value) -> Self {
        let list = |name: &str| -> Vec<String> {
            rule.get(name)
                .and_then(Value::as_array)
                .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    /// Whether the rule covers a request.
    #[must_use]
    pub fn covers(&self, attributes: &Attributes) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|own| own == "*" || own == wanted);
        if !has(&self.verbs, &attributes.verb) {
            return false;
        }
        match &attributes.path {
            Some(path) => self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => url == path,
            }),
            None => {
                has(&self.groups, &attributes.group)
                    && self.covers_resource(attributes)
                    && (self.names.is_empty() || self.names.contains(&attributes.name))
            }
        }
    }

    fn covers_resource(&self, attributes: &Attributes) -> bool {
        let combined = attributes.combined();
        self.resources.iter().any(|own| {
            own == "*"
                || *own == combined
                || own
                    .strip_prefix("*/")
                    .is_some_and(|sub| !attributes.subresource.is_empty() && sub == attributes.subresource)
        })
    }

    /// Whether the rule holds one permission on resources, `*` standing for itself.
    #[must_use]
    pub fn grants(&self, verb: &str, group: &str, resource: &str, name: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|own| own == "*" || own == wanted);
        let sub = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        has(&self.verbs, verb)
            && has(&self.groups, group)
            && (has(&self.resources, resource) || sub.is_some_and(|sub| self.resources.contains(&sub)))
            && (self.names.is_empty() || self.names.iter().any(|own| own == name))
    }

    /// Whether the rule holds one permission on a path, `*` standing for itself.
    #[must_use]
    pub fn grants_url(&self, verb: &str, url: &str) -> bool {
        self.verbs.iter().any(|own| own == "*" || own == verb)
            && self
                .urls
                .iter()
                .any(|own| own == url || own.strip_suffix('*').is_some_and(|start| url.starts_with(start)))
    }

    /// The rule in a SelfSubjectRulesReview.
    #[must_use]
    pub fn to_json(&self) -> Value {
        if !self.urls.is_empty() {
            return json!({"verbs": self.verbs, "nonResourceURLs": self.urls});
        }
        let mut out = json!({"verbs": self.verbs, "apiGroups": self.groups, "resources": self.resources});
        if !self.names.is_empty() {
            out["resourceNames"] = json!(self.names);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_cover_what_they_name_and_nothing_else() {
        let pods = Rule::parse(
            &json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"], "resourceNames": ["a"]}),
        );
        assert!(pods.covers(&wanted("get", "", "pods", "", "a")));
        assert!(!pods.covers(&wanted("get", "", "pods", "", "b")));
        assert!(!pods.covers(&wanted("get", "", "pods", "log", "a")));
        assert!(pods.covers(&wanted("get", "", "replicationcontrollers", "scale", "a")));
        assert!(!pods.covers(&wanted("list", "", "pods", "", "")));
        let all = Rule::parse(&json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        assert!(all.covers(&wanted("delete", "apps", "deployments", "status", "x")));
        let urls = Rule::parse(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}));
        let path = |path: &str| Attributes { verb: "get".into(), path: Some(path.into()), ..Attributes::default() };
        assert!(urls.covers(&path("/apis/apps")) && urls.covers(&path("/healthz")) && !urls.covers(&path("/metrics")));
    }
}
