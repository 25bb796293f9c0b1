//! Selectors over fields.

use serde_json::Value;

use super::SelectorError;
use crate::meta;
use crate::resources::GroupVersionKind;

/// The fields that may be selected besides `metadata.name` and `metadata.namespace`: group, kind, fields.
const SUPPORTED: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Namespace", &["status.phase"]),
    ("", "Secret", &["type"]),
    ("", "Service", &["spec.clusterIP", "spec.type"]),
    ("", "ReplicationController", &["status.replicas"]),
    (
        "",
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (
        "events.k8s.io",
        "Event",
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
    ),
    ("apps", "ReplicaSet", &["status.replicas"]),
    ("batch", "Job", &["status.successful"]),
    ("certificates.k8s.io", "CertificateSigningRequest", &["spec.signerName"]),
    ("resource.k8s.io", "ResourceSlice", &["spec.nodeName", "spec.driver"]),
];

/// Kinds of the cluster whose selectors may not name a namespace, since upstream lists all of their fields: group, kind.
const WITHOUT_NAMESPACE: [(&str, &str); 4] = [
    ("", "Node"),
    ("", "Namespace"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("resource.k8s.io", "ResourceSlice"),
];

/// What selectors of a custom kind may name.
#[derive(Debug, Clone, Copy)]
pub struct CustomFields<'a> {
    /// The fields that its definition names.
    pub selectable: &'a [String],
    /// Whether its objects have namespaces.
    pub namespaced: bool,
}

/// A parsed `fieldSelector`, already checked against the fields that the kind supports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSelector {
    /// Field, whether equal (or unequal), value.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Parses the `fieldSelector` parameter for a kind; `custom` are the fields of a custom kind, none of a built-in one.
    ///
    /// # Errors
    /// A malformed selector, or a field that the kind does not support.
    pub fn parse(text: &str, gvk: &GroupVersionKind, custom: Option<CustomFields<'_>>) -> Result<Self, SelectorError> {
        let mut parts = split_unescaped(text);
        // Upstream reads them in the order of their texts, all before it asks for the kind's, and forgets what names nothing.
        parts.sort_unstable();
        let mut read = Vec::with_capacity(parts.len());
        for part in parts {
            let (field, equal, value) = term(part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            read.push((field, equal, unescape(value)?));
        }
        let mut terms = Vec::with_capacity(read.len());
        for (field, equal, value) in read.into_iter().filter(|own| !(own.0.is_empty() && own.2.is_empty())) {
            if !is_known(field, gvk, custom) {
                return Err(unsupported(field, gvk, custom.is_some()));
            }
            terms.push((stored_name(field, gvk), equal, value));
        }
        Ok(FieldSelector { terms })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the object matches.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(field, equal, want)| (field_text(object, field) == *want) == *equal)
    }

    /// As [`FieldSelector::matches`], of an object of a custom kind and the [fields](path_text) that its definition names.
    pub fn matches_paths(&self, object: &Value) -> bool {
        self.terms.iter().all(|(field, equal, want)| (path_text(object, field) == *want) == *equal)
    }

    /// As [`FieldSelector::matches`], of an object whose [texts](field_text) are at hand.
    pub fn matches_texts<'a>(&self, text_of: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|(field, equal, want)| (text_of(field) == want.as_str()) == *equal)
    }

    /// The value that a field must have for any object to match, if the selector says so (`metadata.name=x`).
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, equal, _)| *equal && f == field).map(|(_, _, v)| v.as_str())
    }
}

/// Whether selectors of a kind may name a field.
fn is_known(field: &str, gvk: &GroupVersionKind, custom: Option<CustomFields<'_>>) -> bool {
    match (field, custom) {
        ("metadata.name", _) => true,
        ("metadata.namespace", None) => !WITHOUT_NAMESPACE.contains(&(&*gvk.group, &*gvk.kind)),
        ("metadata.namespace", Some(custom)) => custom.namespaced,
        // As clients of old say it.
        ("spec.host", None) => gvk.group.is_empty() && gvk.kind == "Pod",
        (_, None) => supported_fields(gvk).contains(&field),
        (_, Some(custom)) => custom.selectable.iter().any(|own| own == field),
    }
}

/// Upstream's words for a field that the kind does not support: each kind that says which fields it has says so in its own.
fn unsupported(field: &str, gvk: &GroupVersionKind, custom: bool) -> SelectorError {
    SelectorError(match (&*gvk.group, &*gvk.kind) {
        _ if custom => format!("field label not supported: {field}"),
        ("batch", "Job") => format!("field label {field:?} not supported for batchv1.Job"),
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for {}/{}, Kind={}: {field}", gvk.group, gvk.version, gvk.kind)
        }
        _ if !supported_fields(gvk).is_empty() => format!("field label not supported: {field}"),
        _ => format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    })
}

/// The field by the name that it has in the stored version: events of `events.k8s.io` are stored as those of the core group.
fn stored_name(field: &str, gvk: &GroupVersionKind) -> String {
    match field.strip_prefix("regarding.") {
        Some(rest) if &*gvk.group == "events.k8s.io" => format!("involvedObject.{rest}"),
        _ if field == "reportingController" => "reportingComponent".into(),
        _ if field == "spec.host" && gvk.group.is_empty() && gvk.kind == "Pod" => "spec.nodeName".into(),
        _ => field.to_owned(),
    }
}

/// The fields of a built-in kind that selectors may name besides `metadata.name` and `metadata.namespace`.
pub fn supported_fields(gvk: &GroupVersionKind) -> &'static [&'static str] {
    let row = SUPPORTED.iter().find(|row| row.0 == gvk.group && row.1 == gvk.kind);
    row.map(|row| row.2).unwrap_or_default()
}

/// The field's text as selectors compare it.
pub fn field_text(object: &Value, field: &str) -> String {
    let path: Vec<&str> = field.split('.').collect();
    let value = match field {
        // Names of selectors that are no paths of the object.
        "source" => {
            let component = meta::text(object, &["source", "component"]);
            return if component.is_empty() { meta::text(object, &["reportingComponent"]) } else { component }
                .to_owned();
        }
        "status.successful" => meta::at(object, &["status", "succeeded"]),
        "status.podIPs" => {
            meta::at(object, &["status", "podIPs"]).get(0).map_or(&Value::Null, |ip| meta::at(ip, &["ip"]))
        }
        _ => meta::at(object, &path),
    };
    scalar(value).unwrap_or_else(|| match field {
        "spec.unschedulable" | "spec.hostNetwork" => "false".into(),
        "status.replicas" | "status.successful" => "0".into(),
        _ => String::new(),
    })
}

/// The text at a path of an object of a custom kind, as selectors compare it: a path means nothing else there, whatever it is called, and
/// what is missing is empty.
pub fn path_text(object: &Value, path: &str) -> String {
    let path: Vec<&str> = path.split('.').collect();
    scalar(meta::at(object, &path)).unwrap_or_default()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Splits at commas that no backslash precedes; empty parts are skipped, as upstream does.
fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts.retain(|p| !p.is_empty());
    parts
}

/// Field, whether equal, value with escapes.
fn term(part: &str) -> Option<(&str, bool, &str)> {
    for (index, _) in part.char_indices() {
        let rest = part.get(index..)?;
        for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(sign) {
                return Some((part.get(..index)?, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => {
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \\{other}")));
                }
                None => {
                    return Err(SelectorError("invalid field selector: invalid escape sequence: \\".into()));
                }
            },
            ',' | '=' => {
                let code = u32::from(c);
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {code}")));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> GroupVersionKind {
        GroupVersionKind::new("", "v1", "Pod")
    }

    #[test]
    fn fields_are_compared_as_text() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (selector, want) in [
            ("=,!=", true),
            ("metadata.name=a", true),
            ("metadata.name==a,spec.nodeName!=n2", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", false),
            ("spec.hostNetwork=false", true),
        ] {
            let selector = FieldSelector::parse(selector, &pod(), None).unwrap();
            assert_eq!(selector.matches(&object), want, "{selector:?}");
            let text_of = |field: &str| match field {
                "metadata.name" => "a",
                "spec.nodeName" => "n1",
                "status.phase" => "Running",
                "spec.hostNetwork" => "false",
                _ => "",
            };
            assert_eq!(selector.matches_texts(text_of), want, "{selector:?}");
        }
        assert!(FieldSelector::parse("spec.host=n1", &pod(), None).unwrap().matches(&object), "an older name");
        let selector = FieldSelector::parse("metadata.name=a\\,b", &pod(), None).unwrap();
        assert_eq!(selector.required_value("metadata.name"), Some("a,b"));
    }

    #[test]
    fn paths_of_custom_kinds_mean_what_they_say() {
        let object =
            json!({"source": "git", "reportingComponent": "kubelet", "spec": {"size": 3, "on": true, "list": ["a"]}});
        for (field, text, builtin) in [
            ("source", "git", "kubelet"),
            ("status.replicas", "", "0"),
            ("spec.hostNetwork", "", "false"),
            ("spec.size", "3", "3"),
            ("spec.on", "true", "true"),
            ("spec.list", "", ""),
        ] {
            assert_eq!((path_text(&object, field).as_str(), field_text(&object, field).as_str()), (text, builtin));
            let selector = FieldSelector { terms: vec![(field.to_owned(), true, text.to_owned())] };
            assert!(selector.matches_paths(&object), "{field}");
        }
    }

    #[test]
    fn events_are_found_by_the_fields_of_either_group() {
        let stored = json!({"reportingComponent": "kubelet", "involvedObject": {"kind": "Pod", "name": "a"}, "reason": "Pulled"});
        let core = GroupVersionKind::new("", "v1", "Event");
        let new = GroupVersionKind::new("events.k8s.io", "v1", "Event");
        for (gvk, selector) in [
            (&core, "reportingComponent=kubelet,involvedObject.name=a"),
            (&new, "reportingController=kubelet,regarding.name=a,regarding.kind=Pod,reason=Pulled"),
        ] {
            assert!(FieldSelector::parse(selector, gvk, None).unwrap().matches(&stored), "{selector}");
        }
        assert!(!FieldSelector::parse("regarding.name=b", &new, None).unwrap().matches(&stored));
        assert!(FieldSelector::parse("regarding.name=a", &core, None).is_err());
    }

    #[test]
    fn unsupported_fields_are_refused() {
        assert_eq!(
            FieldSelector::parse("spec.x=1", &pod(), None).unwrap_err().to_string(),
            "field label not supported: spec.x"
        );
        assert_eq!(
            FieldSelector::parse("spec.x=1", &GroupVersionKind::new("apps", "v1", "Deployment"), None)
                .unwrap_err()
                .to_string(),
            r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#
        );
        for (group, version, kind, field, want) in [
            ("batch", "v1", "Job", "status.active", "field label \"status.active\" not supported for batchv1.Job"),
            ("", "v1", "Node", "metadata.namespace", "field label not supported: metadata.namespace"),
            ("events.k8s.io", "v1", "Event", "source", "field label not supported: source"),
            (
                "resource.k8s.io",
                "v1",
                "ResourceSlice",
                "spec.x",
                "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.x",
            ),
        ] {
            let told = FieldSelector::parse(&format!("{field}=1"), &GroupVersionKind::new(group, version, kind), None);
            assert_eq!(told.unwrap_err().to_string(), want);
        }
        let (foo, own) = (GroupVersionKind::new("example.com", "v1", "Foo"), ["spec.color".to_owned()]);
        let custom = |text: &str, namespaced: bool| {
            FieldSelector::parse(text, &foo, Some(CustomFields { selectable: &own, namespaced }))
        };
        assert!(custom("spec.color=red,metadata.namespace=a", true).is_ok());
        assert_eq!(custom("spec.x=1", true).unwrap_err().to_string(), "field label not supported: spec.x");
        let told = custom("spec.color=red,metadata.namespace=a", false).unwrap_err().to_string();
        assert_eq!(told, "field label not supported: metadata.namespace");
        assert_eq!(
            FieldSelector::parse("nonsense", &pod(), None).unwrap_err().to_string(),
            "invalid selector: 'nonsense'; can't understand 'nonsense'"
        );
        for (text, want) in [
            ("nonsense,(a", "invalid selector: 'nonsense,(a'; can't understand '(a'"),
            ("a=1,b", "invalid selector: 'a=1,b'; can't understand 'b'"),
            ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(FieldSelector::parse(text, &pod(), None).unwrap_err().to_string(), want);
        }
        assert!(FieldSelector::parse("metadata.name=a\\b", &pod(), None).is_err());
    }
}
