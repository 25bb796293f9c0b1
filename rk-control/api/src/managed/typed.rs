//! Whether an applied configuration is of its type, in the words of upstream's typed objects: that is asked before anything is merged.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{element, walk};
use crate::Object;
use crate::patch::{shown, type_name, written};
use crate::schema::{Lists, Schema, Shape, Takes};

/// Something that is wrong. Its path grows at the front while the walk returns.
struct Fault {
    path: String,
    what: String,
}

impl Fault {
    fn here(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    fn below(self, step: &str) -> Self {
        Self { path: format!("{step}{}", self.path), ..self }
    }

    fn text(&self) -> String {
        if self.path.is_empty() { self.what.clone() } else { format!("{}: {}", self.path, self.what) }
    }
}

/// What is wrong with a configuration: values of other types than its schema names, fields that it does not declare, elements of lists
/// without keys or with equal ones. `config` is as the client gave it. `None` when all is well.
#[must_use]
pub fn mistyped(config: &Value, schema: &Schema) -> Option<String> {
    let lines: Vec<String> = check(config, schema).iter().map(Fault::text).collect();
    match lines.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn check(value: &Value, schema: &Schema) -> Vec<Fault> {
    let schema = &schema.resolve(value);
    let wrong = match (schema.takes(), value) {
        (Takes::Anything, _)
        | (_, Value::Null)
        | (Takes::Text | Takes::Scalar, Value::String(_))
        | (Takes::Number | Takes::Scalar, Value::Number(_))
        | (Takes::Truth | Takes::Scalar, Value::Bool(_)) => return Vec::new(),
        (Takes::Members, Value::Object(members)) => return check_members(members, schema),
        (Takes::Elements, Value::Array(items)) => return check_elements(items, schema),
        (Takes::Members, other) => format!("expected map, got &{{{}}}", shown(other)),
        (Takes::Elements, other) => format!("expected list, got &{{{}}}", shown(other)),
        (Takes::Text, other) => format!("expected string, got &value.valueUnstructured{{Value:{}}}", written(other)),
        (Takes::Number, other) => format!("expected numeric (int or float), got {}", type_name(other)),
        (Takes::Truth, other) => format!("expected boolean, got &{{{}}}", shown(other)),
        (Takes::Scalar, other) => format!("expected any scalar, got &{{{}}}", shown(other)),
    };
    vec![Fault::here(wrong)]
}

fn check_members(members: &Object, schema: &Schema) -> Vec<Fault> {
    let mut faults = Vec::new();
    if schema.as_made().is_some_and(|made| made.shape == Shape::Object && made.fields.is_empty()) {
        // An object that names no fields declares none either: what stands in it goes later.
        return faults;
    }
    for (name, value) in members {
        let step = format!(".{name}");
        let Some(field) = walk::member(schema, name) else {
            faults.push(Fault::here("field not declared in schema").below(&step));
            // Upstream looks no further in this object.
            break;
        };
        faults.extend(check(value, &field).into_iter().map(|fault| fault.below(&step)));
    }
    faults
}

fn check_elements(items: &[Value], schema: &Schema) -> Vec<Fault> {
    let item = schema.item();
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, value) in items.iter().enumerate() {
        let step = match step_to(value, schema, index) {
            Ok(step) => step,
            Err(why) => {
                faults.push(Fault::here(format!("element {index}: {why}")));
                break;
            }
        };
        if !seen.insert(step.clone()) {
            faults.push(Fault::here(format!("duplicate entries for key {step}")));
        }
        faults.extend(check(value, &item).into_iter().map(|fault| fault.below(&step)));
    }
    faults
}

/// How messages name an element of a list; `Err` when it cannot be told from others.
fn step_to(value: &Value, schema: &Schema, index: usize) -> Result<String, String> {
    let why = match (schema.lists(), value) {
        (Lists::Atomic, _) => return Ok(format!("[{index}]")),
        (Lists::Map, Value::Object(_)) | (Lists::Set, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            return element::of(value, schema).map(|element| element.to_string());
        }
        (Lists::Map, Value::Null) => "associative list with keys may not have a null element",
        (Lists::Map, _) => "associative list with keys may not have non-map elements",
        (Lists::Set, Value::Object(_)) => "associative list without keys has an element that's a map type",
        (Lists::Set, Value::Array(_)) => "not supported: associative list with lists as elements",
        (Lists::Set, Value::Null) => "associative list without keys has an element that's an explicit null",
    };
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: Value) -> Option<String> {
        let schema = Schema::named("core/v1.Pod").unwrap();
        mistyped(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}), &schema)
    }

    #[test]
    fn what_is_of_its_type_is_let_pass() {
        let spec = json!({"hostNetwork": null, "terminationGracePeriodSeconds": 5, "nodeSelector": {"a": "b"},
            "containers": [{"name": "c", "image": "i", "args": ["x", "x"], "resources": {"limits": {"cpu": 1}},
                "livenessProbe": {"httpGet": {"port": "http"}}, "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}]});
        assert_eq!(pod(spec), None);
        // Keys that are always written stand for nothing when they are left out.
        assert_eq!(pod(json!({"containers": [{"image": "i"}], "imagePullSecrets": [{}]})), None);
    }

    #[test]
    fn what_is_of_another_type_is_told() {
        for (spec, want) in [
            (json!(5), ".spec: expected map, got &{5}"),
            (json!({"nodeName": 5}), ".spec.nodeName: expected string, got &value.valueUnstructured{Value:5}"),
            (json!({"nodeSelector": ["a", null]}), ".spec.nodeSelector: expected map, got &{[a <nil>]}"),
            (json!({"containers": {"a": 1}}), ".spec.containers: expected list, got &{map[a:1]}"),
            (json!({"hostNetwork": "yes"}), ".spec.hostNetwork: expected boolean, got &{yes}"),
            (json!({"priority": "x"}), ".spec.priority: expected numeric (int or float), got string"),
            (json!({"stray": 1}), ".spec.stray: field not declared in schema"),
            (
                json!({"containers": [{"name": "c", "args": [true]}]}),
                r#".spec.containers[name="c"].args[0]: expected string, got &value.valueUnstructured{Value:true}"#,
            ),
            (
                json!({"containers": [null]}),
                ".spec.containers: element 0: associative list with keys may not have a null element",
            ),
            (
                json!({"containers": ["c"]}),
                ".spec.containers: element 0: associative list with keys may not have non-map elements",
            ),
            (
                json!({"containers": [{"name": "c", "stray": 1}, {"name": "c"}], "nodeName": []}),
                "errors:\n  .spec.containers[name=\"c\"].stray: field not declared in schema\n  \
                .spec.containers: duplicate entries for key [name=\"c\"]\n  \
                .spec.nodeName: expected string, got &value.valueUnstructured{Value:[]interface {}{}}",
            ),
        ] {
            assert_eq!(pod(spec.clone()).as_deref(), Some(want), "{spec}");
        }
    }

    #[test]
    fn elements_of_sets_are_scalars_and_differ() {
        let schema = Schema::named("core/v1.ConfigMap").unwrap();
        let told = |finalizers: Value| mistyped(&json!({"metadata": {"finalizers": finalizers}}), &schema);
        for (finalizers, want) in [
            (json!(["a", "a"]), r#".metadata.finalizers: duplicate entries for key [="a"]"#),
            (json!([["a"]]), ".metadata.finalizers: element 0: not supported: associative list with lists as elements"),
            (
                json!(["a", {}]),
                ".metadata.finalizers: element 1: associative list without keys has an element that's a map type",
            ),
            (
                json!([null]),
                ".metadata.finalizers: element 0: associative list without keys has an element that's an explicit null",
            ),
            (json!([1]), ".metadata.finalizers[=1]: expected string, got &value.valueUnstructured{Value:1}"),
        ] {
            assert_eq!(told(finalizers.clone()).as_deref(), Some(want), "{finalizers}");
        }
        let time = |time: Value| mistyped(&json!({"metadata": {"creationTimestamp": time}}), &schema);
        assert_eq!(time(json!(5)), None, "that is judged later");
        assert_eq!(time(json!({})).as_deref(), Some(".metadata.creationTimestamp: expected any scalar, got &{map[]}"));
    }

    #[test]
    fn of_custom_kinds_formats_are_any_scalar_and_what_has_no_type_is_anything() {
        let text = |format: &str| json!({"type": "string", "format": format});
        let spec = json!({"type": "object", "properties": {"mail": text("email"), "bytes": text("byte"), "number": {"type": "number"},
            "either": {"x-kubernetes-int-or-string": true}, "bare": {"type": "object"}, "free": {"x-kubernetes-preserve-unknown-fields": true}}});
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        let rows = crate::custom::rows(
            &json!({"metadata": {"name": "foos.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}}),
        );
        let told = |name: &str, value: Value| mistyped(&json!({"spec": {name: value}}), &rows[0].schema);
        for (name, value) in [
            ("mail", json!(5)),
            ("number", json!(1.5)),
            ("either", json!(true)),
            ("free", json!([{}])),
            ("bare", json!({"a": 1})),
        ] {
            assert_eq!(told(name, value), None, "{name}");
        }
        for (name, value, want) in [
            ("mail", json!([]), "expected any scalar, got &{[]}"),
            ("bytes", json!(5), "expected string, got &value.valueUnstructured{Value:5}"),
            ("bare", json!(5), "expected map, got &{5}"),
            ("number", json!({}), "expected numeric (int or float), got map[string]interface {}"),
        ] {
            assert_eq!(told(name, value), Some(format!(".spec.{name}: {want}")));
        }
    }
}
