//! What values of custom kinds are judged to be.

use serde_json::{Value, json};

use super::rows;
use super::tests::{custom, definition, resource};
use crate::status::FieldErrors;

#[test]
fn rules_are_told_in_known_words() {
    let resource = resource();
    for (spec, want) in [
        (
            json!({"replicas": "3"}),
            r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ),
        (
            json!({"replicas": 9}),
            "spec.replicas: Invalid value: 9: spec.replicas in body should be less than or equal to 5",
        ),
        (json!({"color": "blue"}), r#"spec.color: Unsupported value: "blue": supported values: "red", "green""#),
        (json!({"name": "UP"}), r#"spec.name: Invalid value: "UP": spec.name in body should match '^[a-z]+$'"#),
        (
            json!({"port": true}),
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"labels": {"a": 1}}),
            r#"spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer""#,
        ),
        (json!({"ports": [{}]}), "spec.ports[0].number: Required value"),
        (json!({"ports": [{"number": 1}, {"number": 1}]}), r#"spec.ports[1]: Duplicate value: {"number":1}"#),
    ] {
        let mut errors = FieldErrors::new();
        custom(&resource).validate(&json!({"spec": spec}), &mut errors);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(texts.join("; "), want, "{spec}");
    }
    let mut errors = FieldErrors::new();
    let (old, new) = (json!({"spec": {"replicas": 9}}), json!({"spec": {"replicas": 9, "color": "green"}}));
    custom(&resource).validate_update(&new, &old, &mut errors);
    assert!(errors.is_empty(), "what was wrong before does not stand in the way: {errors:?}");
    custom(&resource).validate(&json!({}), &mut errors);
    assert_eq!(errors.0[0].to_string(), "spec: Required value");
}

#[test]
fn what_is_as_it_was_is_let_be_where_it_can_be_told_which_it_was() {
    let word = json!({"type": "string", "enum": ["good"]});
    let keyed = json!({"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}, "word": word}});
    let resource = rows(&definition(json!({"type": "object", "properties": {
        "word": word, "map": {"type": "object", "additionalProperties": word}, "list": {"type": "array", "items": word},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": word},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"], "items": keyed},
    }})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let told = |new: &Value, old: &Value| -> Vec<String> {
        let mut errors = FieldErrors::new();
        custom(&resource).validate_update(new, old, &mut errors);
        errors.0.into_iter().map(|error| error.path).collect()
    };
    let old = json!({"word": "bad", "map": {"a": "bad"}, "list": ["bad"], "set": ["bad"], "keyed": [{"key": "a", "word": "bad"}]});
    for (field, value, wrong) in [
        ("metadata", json!({"labels": {"a": "b"}}), None),
        ("word", json!("worse"), Some("word")),
        ("map", json!({"a": "bad", "b": "good"}), None),
        ("map", json!({"b": "bad"}), Some("map.b")),
        ("keyed", json!([{"key": "b", "word": "good"}, {"key": "a", "word": "bad"}]), None),
        ("keyed", json!([{"key": "a", "word": "worse"}]), Some("keyed[0].word")),
        ("list", json!(["bad", "good"]), Some("list[0]")),
        ("set", json!(["bad", "good"]), Some("set[0]")),
    ] {
        let mut new = old.clone();
        new[field] = value;
        assert_eq!(told(&new, &old).first().map(String::as_str), wrong, "{new}");
    }
    let turned = json!({"key": "b", "word": "bad"});
    let both = json!({"keyed": [old["keyed"][0], turned]});
    assert_eq!(told(&json!({"keyed": [turned, old["keyed"][0]]}), &both), [""; 0], "keyed lists have no order");
    let set = |items: &[&str]| json!({"set": items});
    assert_eq!(told(&set(&["good", "good"]), &set(&["good"])), ["set[1]"]);
    assert_eq!(told(&set(&["good", "good", "good"]), &set(&["good", "good"])), [""; 0], "there were equal ones before");
}

#[test]
fn combinations_look_at_all_of_a_value_that_is_another_one_than_before() {
    let word = |word: &str| json!({"properties": {"word": {"enum": [word]}}});
    let item = json!({"type": "object", "properties": {"key": {"type": "string"}, "word": {"type": "string"}}});
    let with = |name: &str, parts: Value| {
        let mut schema = item.clone();
        schema[name] = parts;
        schema
    };
    let resource = rows(&definition(json!({"type": "object", "properties": {
        "not": with("not", word("bad")), "one": with("oneOf", json!([word("good"), word("bad")])),
        "any": with("anyOf", json!([word("good"), word("better")])),
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"], "items": item,
            "allOf": [{"items": word("good"), "maxItems": 2}]},
    }})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let one = |key: &str, word: &str| json!({"key": key, "word": word});
    let many = |order: [&str; 3]| Value::from(order.map(|key| one(key, "good")).to_vec());
    for (field, new, old, wrong) in [
        ("not", one("b", "good"), one("a", "good"), &[] as &[&str]),
        ("not", one("b", "bad"), one("a", "bad"), &["<nil>"]),
        ("not", one("a", "bad"), one("a", "bad"), &[]),
        ("one", one("b", "good"), one("a", "good"), &[]),
        ("any", one("b", "bad"), one("a", "bad"), &["<nil>", "any.word"]),
        ("keyed", json!([one("b", "good"), one("a", "bad")]), json!([one("a", "bad")]), &["keyed[1].word", "<nil>"]),
        ("keyed", many(["c", "b", "a"]), many(["a", "b", "c"]), &[]),
        ("keyed", many(["c", "b", "d"]), many(["a", "b", "c"]), &["keyed", "<nil>"]),
    ] {
        let mut errors = FieldErrors::new();
        let (now, before) = (json!({field: new, "other": 1}), json!({ field: old }));
        custom(&resource).validate_update(&now, &before, &mut errors);
        let told: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(told, wrong, "{now} {before}");
    }
}

#[test]
fn all_that_is_wrong_with_a_value_is_told_in_order() {
    let told = |schema: Value, value: Value| -> Vec<String> {
        let spec = json!({"type": "object", "properties": {"a": schema}});
        let resource = rows(&definition(json!({"type": "object", "properties": {"spec": spec}})));
        let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
        let mut errors = FieldErrors::new();
        custom(&resource).validate(&json!({"spec": {"a": value}}), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    };
    let number = "spec.a: Invalid value: \"number\": spec.a in body must be of type integer: \"number\"";
    let checked = "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.a";
    assert_eq!(told(json!({"type": "integer"}), json!(1.5)), [number, checked]);
    assert_eq!(told(json!({"type": "integer"}), json!(1e20)), [number, checked]);
    assert_eq!(
        told(json!({"type": "integer", "format": "int32"}), json!(2_147_483_648_i64)),
        ["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.a"]
    );
    assert_eq!(
        told(json!({"type": "integer", "format": "int32"}), json!(true)),
        ["spec.a: Invalid value: \"\": spec.a in body must be of type int32: \"\""]
    );
    assert_eq!(
        told(json!({"type": "integer", "enum": [2, 1]}), json!("x")),
        [
            "spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\"",
            "spec.a: Unsupported value: \"x\": supported values: \"2\", \"1\""
        ]
    );
    assert_eq!(
        told(json!({"type": "string", "anyOf": [{"minLength": 4}, {"pattern": "^b"}]}), json!("a")),
        [
            "<nil>: Invalid value: \"\": \"spec.a\" must validate at least one schema (anyOf)",
            "spec.a: Invalid value: \"a\": spec.a in body should be at least 4 chars long"
        ]
    );
    assert_eq!(
        told(json!({"type": "string", "allOf": [{"minLength": 2}]}), json!("a")),
        [
            "spec.a: Invalid value: \"a\": spec.a in body should be at least 2 chars long",
            "<nil>: Invalid value: \"\": \"spec.a\" must validate all the schemas (allOf). None validated"
        ]
    );
    assert_eq!(told(json!({"type": "number", "enum": [1, 2.5]}), json!(1.0)), [""; 0]);
    let of = |step: Value, value: Value| told(json!({"type": "number", "multipleOf": step}), value).len();
    assert_eq!([of(json!(0.1), json!(0.3)), of(json!(3), json!(6.0)), of(json!(2), json!(4))], [0; 3]);
    let largest = i64::MAX;
    assert_eq!([of(json!(0.1), json!(1e20)), of(json!(3), json!(7)), of(json!(3), json!(largest))], [1; 3]);
    let map = json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}},
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]});
    assert_eq!(told(map.clone(), json!([null])).len(), 1, "null is told to be of no type, and that is all");
    assert_eq!(
        told(map, json!([1])),
        [
            "spec.a[0]: Invalid value: \"integer\": spec.a[0] in body must be of type object: \"integer\"",
            "spec.a[0]: Invalid value: 1: must be an object for an array of list-type map"
        ]
    );
    let own = json!({"type": "object", "x-kubernetes-embedded-resource": true});
    let why = "spec.a.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c";
    assert_eq!(told(own.clone(), json!({"apiVersion": "a/b/c", "kind": "Pod"})), [why]);
    let why = "spec.a.kind: Invalid value: 5: must be a string";
    assert_eq!(told(own, json!({"apiVersion": "v1", "kind": 5})), [why]);
    let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
    assert_eq!(told(set, json!(["a", "a", "a"])), ["spec.a[1]: Duplicate value: \"a\""]);
    assert_eq!(
        told(json!({"type": "number", "maximum": 5.5}), json!(6)),
        ["spec.a: Invalid value: 6: spec.a in body should be less than or equal to 5"]
    );
}

#[test]
fn objects_within_objects_have_metadata_like_others() {
    let resource = rows(&definition(json!({"type": "object", "properties": {
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let told = |metadata: Value| -> Vec<String> {
        let mut errors = FieldErrors::new();
        let inner = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        custom(&resource).validate(&json!({"inner": inner}), &mut errors);
        errors.0.into_iter().map(|error| error.path).collect()
    };
    assert!(
        told(json!({})).is_empty() && told(json!({"name": "UP!", "namespace": "a", "generateName": "A_"})).is_empty()
    );
    assert_eq!(told(json!({"labels": {"a b": "c"}})), ["inner.metadata.labels"]);
    let paths = told(json!({"name": "a/b", "namespace": "B_", "finalizers": ["a", "b c"], "annotations": {"a b": ""}}));
    let mut errors = FieldErrors::new();
    let broken = json!({"inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a b": "c"}}}});
    custom(&resource).validate_update(&broken, &broken, &mut errors);
    assert_eq!(errors.0.len(), 1, "even what is as it was: {errors:?}");
    let want = ["name", "namespace", "annotations", "finalizers"].map(|field| format!("inner.metadata.{field}"));
    assert_eq!(paths, want);
}

#[test]
fn the_whole_object_has_no_name() {
    let resource = rows(&definition(json!({"type": "object", "minProperties": 2})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let mut errors = FieldErrors::new();
    custom(&resource).validate(&json!({"a": 1}), &mut errors);
    let want = "<nil>: Invalid value: 1:  in body should have at least 2 properties";
    assert_eq!(errors.0[0].to_string(), want);
}

#[test]
fn null_is_no_choice() {
    let resource = rows(&definition(json!({"type": "object", "properties": {
        "word": {"type": "string", "nullable": true, "enum": ["a", null]}, "free": {"type": "string", "nullable": true},
        "list": {"type": "array", "items": {"type": "string", "enum": ["a"]}}}})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let mut errors = FieldErrors::new();
    custom(&resource).validate(&json!({"word": null, "free": null, "list": [null]}), &mut errors);
    let mut said: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    said.sort_unstable();
    let want = [
        r#"list[0]: Invalid value: "null": list[0] in body must be of type string: "null""#,
        r#"list[0]: Unsupported value: null: supported values: "a""#,
        r#"word: Unsupported value: null: supported values: "a", "null""#,
    ];
    assert_eq!(said, want);
}
