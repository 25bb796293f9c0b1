//! Labels of nodes that have other names now.

use serde_json::Value;

use super::{Found, list};
use crate::meta::{at, label_value, text};
use crate::status::Path;

const OF_OLD: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What to say of a label of old.
pub(super) fn of_old(key: &str) -> Option<&'static str> {
    OF_OLD.iter().find(|(old, _)| *old == key).map(|(_, what)| *what)
}

/// A term of a node selector; `values`: whether its values are looked at, too.
pub(super) fn term(term: &Value, values: bool, path: &Path<'_>, found: &mut Found) {
    let path = path.child("matchExpressions");
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.index(index);
        key(expression, &path, found);
        let values: &[Value] = if values { list(expression, "values") } else { &[] };
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            for why in label_value(value) {
                found.about(&path.child("values").index(index), format_args!("{value} is invalid, {why}"));
            }
        }
    }
}

/// A label selector over nodes.
pub(super) fn selector(selector: &Value, path: &Path<'_>, found: &mut Found) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        key(expression, &expressions.index(index), found);
    }
    let labels = path.child("matchLabels");
    for (label, _) in at(selector, &["matchLabels"]).as_object().into_iter().flatten() {
        if let Some(what) = of_old(label) {
            found.about(&labels.child(label), what);
        }
    }
}

fn key(expression: &Value, path: &Path<'_>, found: &mut Found) {
    let key = text(expression, &["key"]);
    if let Some(what) = of_old(key) {
        found.about(&path.child("key"), format_args!("{key} is {what}"));
    }
}
