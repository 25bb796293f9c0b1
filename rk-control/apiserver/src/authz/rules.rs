//! One rule of a role, and whether it covers a request.

use serde_json::{Value, json};

use super::Attributes;
use crate::http::{is_path, lists};

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
        if !lists(&self.verbs, &attributes.verb) {
            return false;
        }
        match &attributes.path {
            Some(path) => self.urls.iter().any(|url| is_path(url, path)),
            None => {
                lists(&self.groups, &attributes.group)
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

    /// The permissions that the rule is made of, each as a rule with one entry per list, in upstream's order.
    #[must_use]
    pub fn permissions(&self) -> Vec<Self> {
        let one = |text: &str| vec![text.to_owned()];
        let mut out = Vec::new();
        for (group, resource) in self.groups.iter().flat_map(|group| self.resources.iter().map(move |own| (group, own)))
        {
            for verb in &self.verbs {
                let plain = Self { verbs: one(verb), groups: one(group), resources: one(resource), ..Self::default() };
                out.extend(self.names.iter().map(|name| Self { names: one(name), ..plain.clone() }));
                if self.names.is_empty() {
                    out.push(plain);
                }
            }
        }
        for url in &self.urls {
            out.extend(self.verbs.iter().map(|verb| Self { verbs: one(verb), urls: one(url), ..Self::default() }));
        }
        out
    }

    /// How many permissions that are.
    #[must_use]
    pub fn size(&self) -> usize {
        let objects = self.groups.len().saturating_mul(self.resources.len()).saturating_mul(self.names.len().max(1));
        self.verbs.len().saturating_mul(objects.saturating_add(self.urls.len()))
    }

    /// Whether the rule holds all that is in another one, such as a permission (see [`Rule::permissions`]), `*` standing for itself.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let all = |own: &[String], wanted: &[String]| {
            own.iter().any(|one| one == "*") || wanted.iter().all(|one| own.contains(one))
        };
        let resource = |wanted: &String| {
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            all(&self.resources, std::slice::from_ref(wanted)) || sub.is_some_and(|sub| self.resources.contains(&sub))
        };
        let url = |wanted: &String| self.urls.iter().any(|own| is_path(own, wanted));
        let named = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name)));
        named
            && all(&self.verbs, &other.verbs)
            && all(&self.groups, &other.groups)
            && other.resources.iter().all(resource)
            && other.urls.iter().all(url)
    }

    /// The rule as refusals tell of it.
    #[must_use]
    pub fn told(&self) -> String {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let given = lists.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> = given.map(|(name, list)| format!("{name}:{}", quoted::<String>(list))).collect();
        format!("{{{}}}", parts.join(", "))
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

/// A list as upstream prints it: quoted, in brackets, with blanks between.
#[must_use]
pub fn quoted<T: AsRef<str>>(list: &[T]) -> String {
    let entries: Vec<String> = list.iter().map(|entry| rk_api::status::quote(entry.as_ref())).collect();
    format!("[{}]", entries.join(" "))
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

    #[test]
    fn a_rule_is_held_permission_by_permission() {
        let own = [
            Rule::parse(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"]})),
            Rule::parse(&json!({"verbs": ["list"], "apiGroups": ["", "apps"], "resources": ["*"]})),
            Rule::parse(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]})),
            Rule::parse(&json!({"verbs": ["use"], "apiGroups": [""], "resources": ["x"], "resourceNames": ["a"]})),
        ];
        let missing = |rule: Value| -> Vec<String> {
            let all = Rule::parse(&rule).permissions();
            all.iter().filter(|one| !own.iter().any(|held| held.holds(one))).map(Rule::told).collect()
        };
        assert!(missing(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})).is_empty());
        let named =
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "a/scale"], "resourceNames": ["a"]});
        assert!(missing(named).is_empty());
        let sizes = [
            (json!({"verbs": ["a", "b"], "apiGroups": [""], "resources": ["x", "y"], "resourceNames": ["n"]}), 4),
            (json!({"verbs": ["a", "b"], "apiGroups": [""], "resources": ["x"], "nonResourceURLs": ["/x", "/y"]}), 6),
            (json!({"verbs": [], "apiGroups": [""], "resources": ["x"]}), 0),
        ];
        for (rule, size) in sizes {
            let rule = Rule::parse(&rule);
            assert_eq!((rule.size(), rule.permissions().len()), (size, size), "{rule:?}");
        }
        assert_eq!(
            missing(json!({"verbs": ["list", "get"], "apiGroups": ["apps"], "resources": ["pods"]})),
            [r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}"#]
        );
        assert_eq!(missing(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]})).len(), 1);
        assert!(missing(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/x"]})).is_empty());
        assert_eq!(
            missing(json!({"verbs": ["get"], "nonResourceURLs": ["*"]})),
            [r#"{NonResourceURLs:["*"], Verbs:["get"]}"#]
        );
        // A right to one object is none to all of them.
        assert_eq!(missing(json!({"verbs": ["use"], "apiGroups": [""], "resources": ["x"]})).len(), 1);
        let names = json!({"verbs": ["use"], "apiGroups": [""], "resources": ["x"], "resourceNames": ["a", "b"]});
        assert_eq!(missing(names), [r#"{APIGroups:[""], Resources:["x"], ResourceNames:["b"], Verbs:["use"]}"#]);
    }
}
