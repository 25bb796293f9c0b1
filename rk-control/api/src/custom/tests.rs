//! Definitions and objects of custom kinds.

use serde_json::{Value, json};

use super::{CustomKind, JsonPath, rows};
use crate::decode::{self, FieldValidation, Limits};
use crate::resources::{Registry, Resource};
use crate::status::FieldErrors;
use crate::table::{self, IncludeObject};

fn definition(schema: Value) -> Value {
    json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
    "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["fo"]},
    "versions": [
        {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}},
        {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
         "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
         "selectableFields": [{"jsonPath": ".spec.color"}],
         "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]},
        {"name": "v2alpha1", "served": false, "storage": false, "schema": {"openAPIV3Schema": schema}},
    ]}})
}

fn schema() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "properties": {
            "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 5},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "maybe": {"type": "string", "nullable": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number", "protocol"],
                "items": {"type": "object", "required": ["number"], "properties": {
                    "number": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "note": {"type": "string"}}}},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn resource() -> Resource {
    rows(&definition(schema())).into_iter().find(|row| row.is_hub()).unwrap()
}

fn custom(resource: &Resource) -> &CustomKind {
    resource.custom.as_ref().unwrap()
}

#[test]
fn a_definition_becomes_rows_in_the_order_of_its_versions() {
    let rows = rows(&definition(schema()));
    let named: Vec<_> = rows.iter().map(|row| (row.gvk.version.as_ref(), row.is_hub(), row.is_served())).collect();
    assert_eq!(named, [("v1", true, true), ("v1beta1", false, true), ("v2alpha1", false, false)]);
    let mut registry = Registry::builtin();
    rows.into_iter().for_each(|row| registry.insert(row));
    let found = registry.by_name("fo").unwrap();
    assert_eq!((found.group_resource().as_str(), found.list_kind().as_str()), ("foos.example.com", "FooList"));
    assert!(found.subresource("scale").is_some() && found.subresource("status").is_some());
    assert_eq!(registry.preferred_version("example.com"), Some("v1"));
    assert_eq!(registry.hub(registry.get("example.com", "v1beta1", "foos").unwrap()).unwrap().gvk.version, "v1");
    let unserved = registry.known("example.com", "v2alpha1", "foos").unwrap();
    assert!(unserved.hub == found.hub && registry.get("example.com", "v2alpha1", "foos").is_none());
}

#[test]
fn what_is_kept_in_a_version_that_is_not_served_has_its_parts() {
    let mut definition = definition(schema());
    definition["spec"]["versions"][1]["served"] = json!(false);
    let stored = rows(&definition).into_iter().find(Resource::is_hub).unwrap();
    assert!(!stored.is_served() && crate::scale::replicas(&stored).is_some());
    let old = json!({"metadata": {"name": "a"}, "spec": {}, "status": {"replicas": 1}});
    let mut new = old.clone();
    new["status"] = json!({"replicas": 9});
    crate::strategy::prepare_for_update(&stored, None, &mut new, &old);
    assert_eq!(new["status"], old["status"], "only the subresource changes it");
}

#[test]
fn a_kind_that_goes_lists_what_reads_and_deletes() {
    let mut definition = definition(schema());
    let listed = |definition: &Value| rows(definition).into_iter().find(Resource::is_hub).unwrap();
    assert!(!listed(&definition).is_closing());
    definition["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let closing = listed(&definition);
    assert_eq!(closing.listed_verbs(), ["delete", "deletecollection", "get", "list", "watch"]);
    assert!(closing.is_closing() && closing.is_stored(), "what is there may still be changed");
}

#[test]
fn nulls_go_where_they_are_no_values() {
    let resource = resource();
    let sent = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "status": null,
        "spec": {"name": null, "maybe": null, "port": null, "labels": {"a": null, "b": "c"}, "free": {"x": null},
            "ports": [{"number": 1, "note": null}, null]}});
    let body = sent.to_string();
    let limits = Limits::default();
    let decoded = decode::json(body.as_bytes(), &resource.schema, FieldValidation::Strict, limits).unwrap();
    let finished = decode::finish(sent, Vec::new(), &resource.schema, FieldValidation::Strict).unwrap();
    assert_eq!(finished.object, decoded.object);
    assert_eq!(
        decoded.object["spec"],
        json!({"maybe": null, "labels": {"b": "c"}, "free": {"x": null}, "ports": [{"number": 1}, null]})
    );
    assert!(decoded.object.get("status").is_none());
}

#[test]
fn what_comes_twice_is_told_before_what_nobody_knows() {
    let body = br#"{"apiVersion":"example.com/v1","kind":"Foo","more":1,"spec":{"stray":1,"replicas":1,"replicas":2},"metadata":{"odd":1}}"#;
    let schema = resource().schema;
    let decoded = decode::json(body, &schema, FieldValidation::Warn, Limits::default()).unwrap();
    let want = [
        r#"duplicate field "spec.replicas""#,
        r#"unknown field "metadata.odd""#,
        r#"unknown field "more""#,
        r#"unknown field "spec.stray""#,
    ];
    assert_eq!(decoded.warnings, want);
}

#[test]
fn metadata_is_read_by_itself() {
    let body = br#"{"metadata":{"name":1}}"#;
    let error = decode::json(body, &resource().schema, FieldValidation::Warn, Limits::default()).unwrap_err();
    assert!(error.to_string().ends_with("Go struct field ObjectMeta.name of type string"), "{error}");
}

#[test]
fn unknown_fields_go_unless_they_are_to_be_kept() {
    let resource = resource();
    let body = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a", "nonsense": 1}, "more": 1,
        "spec": {"replicas": 0, "maybe": null, "color": null, "stray": true, "free": {"any": {"thing": [1, null]}},
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "b", "wrong": 2}, "data": 1},
            "ports": [{"number": 1, "stray": 2}]}});
    let decoded =
        decode::json(body.to_string().as_bytes(), &resource.schema, FieldValidation::Warn, Limits::default()).unwrap();
    let mut warnings = decoded.warnings;
    warnings.sort();
    let named: Vec<String> =
        ["metadata.nonsense", "more", "spec.ports[0].stray", "spec.stray", "spec.template.metadata.wrong"]
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
    assert_eq!(warnings, named);
    let mut object = decoded.object;
    custom(&resource).default(&mut object);
    assert_eq!(
        object["spec"],
        json!({"replicas": 0, "maybe": null, "color": "red", "free": {"any": {"thing": [1, null]}},
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "b"}, "data": 1},
            "ports": [{"number": 1, "protocol": "TCP"}]})
    );
}

#[test]
fn objects_have_no_fields_where_none_are_meant() {
    let resource = resource();
    let body = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"},
        "spec": {"color": {"a": 1}, "ports": {"b": 2}, "labels": [{"c": 3}], "free": [{"kept": 4}], "name": [5, {"d": {"e": 6}}]}});
    let decoded =
        decode::json(body.to_string().as_bytes(), &resource.schema, FieldValidation::Warn, Limits::default()).unwrap();
    let mut warnings = decoded.warnings;
    warnings.sort();
    let named = ["spec.color.a", "spec.labels[0].c", "spec.name[1].d", "spec.ports.b"];
    assert_eq!(warnings, named.map(|path| format!("unknown field {path:?}")));
    let want = json!({"color": {}, "ports": {}, "labels": [{}], "free": [{"kept": 4}], "name": [5, {}]});
    assert_eq!(decoded.object["spec"], want);
}

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
        assert_eq!(texts, [want], "{spec}");
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
        ("not", one("b", "good"), one("a", "good"), None),
        ("not", one("b", "bad"), one("a", "bad"), Some("not")),
        ("not", one("a", "bad"), one("a", "bad"), None),
        ("one", one("b", "good"), one("a", "good"), None),
        ("any", one("b", "bad"), one("a", "bad"), Some("any")),
        ("keyed", json!([one("b", "good"), one("a", "bad")]), json!([one("a", "bad")]), Some("keyed[1].word")),
        ("keyed", many(["c", "b", "a"]), many(["a", "b", "c"]), None),
        ("keyed", many(["c", "b", "d"]), many(["a", "b", "c"]), Some("keyed")),
    ] {
        let mut errors = FieldErrors::new();
        let (now, before) = (json!({field: new, "other": 1}), json!({ field: old }));
        custom(&resource).validate_update(&now, &before, &mut errors);
        let told: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(told, Vec::from_iter(wrong), "{now} {before}");
    }
}

#[test]
fn appliers_share_keyed_lists_and_free_objects() {
    let resource = resource();
    let request = |manager: &'static str| crate::managed::Request {
        schema: &resource.schema,
        manager,
        api_version: "example.com/v1",
        subresource: "",
        force: false,
        now: jiff::Timestamp::UNIX_EPOCH,
        has_status: true,
        versions: &crate::managed::OneVersion,
    };
    let config =
        |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": spec});
    let first = config(json!({"ports": [{"number": 1, "note": "x"}], "free": {"a": {"b": 1}}}));
    let second = config(json!({"ports": [{"number": 2}], "free": {"a": {"c": 2}}}));
    let one = crate::managed::apply(None, &first, &request("one")).unwrap();
    let both = crate::managed::apply(Some(&one), &second, &request("two")).unwrap();
    assert_eq!(both["spec"]["free"], json!({"a": {"b": 1, "c": 2}}));
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    let gone = crate::managed::apply(Some(&both), &config(json!({})), &request("one")).unwrap();
    assert_eq!(gone["spec"]["free"], json!({"a": {"c": 2}}));
    assert_eq!(gone["spec"]["ports"], json!([{"number": 2}]));
    let conflict =
        crate::managed::apply(Some(&both), &config(json!({"free": {"a": {"c": 3}}})), &request("one")).unwrap_err();
    assert!(conflict.message.contains(r#"conflict with "two": .spec.free.a.c"#), "{}", conflict.message);
}

#[test]
fn columns_scale_and_paths_follow_the_definition() {
    let resource = resource();
    let object =
        json!({"metadata": {"name": "a"}, "spec": {"color": "green", "replicas": 3}, "status": {"replicas": 2}});
    assert_eq!(
        table::row(&resource, &object, IncludeObject::None, jiff::Timestamp::UNIX_EPOCH)["cells"],
        json!(["a", "green"])
    );
    let scale = crate::scale::view(&resource, &object).unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(3), &json!(2)));
    let wanted = json!({"metadata": {"name": "a"}, "spec": {"replicas": 4}});
    let changed = crate::scale::apply(&resource, &object, &wanted).unwrap();
    assert_eq!(changed["spec"], json!({"color": "green", "replicas": 4}));
    assert!(crate::scale::check_replicas(&resource, &object).is_ok());
    let without = crate::scale::check_replicas(&resource, &json!({"metadata": {"name": "a"}})).unwrap_err();
    assert_eq!(
        (without.code, without.message.as_str()),
        (500, "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist")
    );

    let object = json!({"a": [{"t": "x", "v": 1}, {"t": "y", "v": 2}, {"v": 10}], "m": {"k.l": 3}});
    for (path, want) in [
        (".a[0].v", json!([1])),
        (".a[-1].v", json!([10])),
        (".a[-1:].v", json!([10])),
        (".a[:2].t", json!(["x", "y"])),
        (".a[0:3:2].v", json!([1, 10])),
        (".a[1:9].v", json!([])),
        (".a[*].t", json!(["x", "y"])),
        (r#".a[?(@.t=="y")].v"#, json!([2])),
        (".a[?(@.t!='y')].v", json!([1])),
        (r".m.k\.l", json!([3])),
        (".m['k.l']", json!([3])),
        (".a[?(@.t)].v", json!([1, 2])),
        (".a[?(@.v>=2)].v", json!([2, 10])),
        (".a[?(@.v<2)].t", json!(["x"])),
        ("..t", json!(["x", "y"])),
        (".none.at.all", json!([])),
    ] {
        let found: Vec<Value> =
            JsonPath::parse(path).unwrap_or_else(|| panic!("{path}")).find(&object).into_iter().cloned().collect();
        assert_eq!(json!(found), want, "{path}");
    }
    for path in [".a[b]", ".a[0:1:0]", ".a[1:2:3:4]", ".a[?(t)]"] {
        assert!(JsonPath::parse(path).is_none(), "{path}");
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
    assert_eq!(
        told(map, json!([1])),
        [
            "spec.a[0]: Invalid value: \"integer\": spec.a[0] in body must be of type object: \"integer\"",
            "spec.a[0]: Invalid value: 1: must be an object for an array of list-type map"
        ]
    );
    let own = json!({"type": "object", "x-kubernetes-embedded-resource": true});
    let why = "spec.a.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c";
    assert_eq!(told(own, json!({"apiVersion": "a/b/c", "kind": "Pod"})), [why]);
    let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
    assert_eq!(told(set, json!(["a", "a", "a"])), ["spec.a[1]: Duplicate value: \"a\""]);
    assert_eq!(
        told(json!({"type": "number", "maximum": 5.5}), json!(6)),
        ["spec.a: Invalid value: 6: spec.a in body should be less than or equal to 5"]
    );
}
