//! Definitions and objects of custom kinds.

use serde_json::{Value, json};

use super::{CustomKind, JsonPath, rows};
use crate::decode::{self, FieldValidation, Limits};
use crate::resources::{Registry, Resource};
use crate::table::{self, IncludeObject};

pub(super) fn definition(schema: Value) -> Value {
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

pub(super) fn resource() -> Resource {
    rows(&definition(schema())).into_iter().find(|row| row.is_hub()).unwrap()
}

pub(super) fn custom(resource: &Resource) -> &CustomKind {
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
fn numbers_without_a_fraction_are_whole() {
    let body = br#"{"spec":{"replicas":5.0,"free":{"a":[1e2,1.5,-0.0]}},"status":{"big":1e300}}"#;
    let decoded = decode::json(body, &resource().schema, FieldValidation::Strict, Limits::default()).unwrap();
    let want = json!({"spec": {"replicas": 5, "free": {"a": [100, 1.5, 0]}}, "status": {"big": 1e300}});
    assert_eq!(decoded.object, want);
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
        status_resets: &crate::managed::SPEC,
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
    // Who says that an object is empty owns it, but no longer what was in it: null is left, which the rules of the kind judge.
    let emptied = crate::managed::apply(Some(&one), &config(json!({"free": {}})), &request("one")).unwrap();
    assert_eq!(emptied["spec"].get("free"), Some(&Value::Null));
    let conflict =
        crate::managed::apply(Some(&both), &config(json!({"free": {"a": {"c": 3}}})), &request("one")).unwrap_err();
    assert!(conflict.message.contains(r#"conflict with "two": .spec.free.a.c"#), "{}", conflict.message);
}

#[test]
fn who_applies_a_status_owns_nothing_of_the_metadata() {
    let resource = resource();
    let request = crate::managed::Request {
        schema: &resource.schema,
        manager: "m",
        api_version: "example.com/v1",
        subresource: "status",
        force: false,
        now: jiff::Timestamp::UNIX_EPOCH,
        has_status: true,
        status_resets: crate::strategy::status_resets(&resource),
        versions: &crate::managed::OneVersion,
    };
    let mut config =
        json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a", "labels": {"l": "1"}}});
    config["status"] = json!({"note": "well"});
    let live = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": {}});
    let told = crate::managed::apply(Some(&live), &config, &request).unwrap();
    let entries = told["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "m").unwrap();
    assert_eq!(entry["fieldsV1"], json!({"f:status": {"f:note": {}}}));
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
        (r".m['k\.l']", json!([3])),
        (".m['k.l']", json!([])),
        (".a[0]['v']", json!([1])),
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
fn a_change_of_metadata_is_refused_once_for_each_time_that_it_is_judged() {
    let rows = rows(&definition(schema()));
    let resource = rows.iter().find(|row| row.gvk.version == "v1").unwrap();
    let object = |uid: &str, labels: Value| json!({"metadata": {"name": "a", "namespace": "n", "uid": uid, "labels": labels}, "spec": {"color": "red"}});
    let told = |new: Value| -> Vec<String> {
        let errors = crate::validate::metadata_update(resource, &new, &object("u", json!({})));
        errors.0.into_iter().map(|error| error.path).collect()
    };
    assert_eq!(told(object("v", json!({}))), ["metadata.uid"; 2]);
    assert_eq!(told(object("u", json!({"a b": "c"}))), ["metadata.labels"; 3]);
    assert_eq!(told(object("u", json!({"a": "b"}))), [""; 0]);
}

#[test]
fn a_status_is_judged_by_itself() {
    let phase = json!({"type": "object", "properties": {"phase": {"type": "string"}}});
    let rows = rows(&definition(json!({"type": "object", "properties": {"status": phase}})));
    let resource = rows.iter().find(|row| row.gvk.version == "v1").unwrap();
    let told = |status: Value| -> Vec<String> {
        let mut errors = crate::status::FieldErrors::new();
        let new = json!({"status": status});
        crate::validate::subresource_update(resource, "status", &new, &json!({}), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(json!({"phase": 1})),
        [r#"status.phase: Invalid value: "integer": phase in body must be of type string: "integer""#]
    );
    assert_eq!(
        told(json!([])),
        [
            r#"status: Invalid value: "array":  in body must be of type object: "array""#,
            ".status.replicas: Invalid value: 0: .status.replicas accessor error: [] is of the type []interface {}, \
             expected map[string]interface{}",
        ]
    );
}

#[test]
fn null_stands_for_the_default_where_it_may_not_be() {
    let number = |nullable: bool| json!({"type": "integer", "default": 1, "nullable": nullable});
    let list = |items: Value| json!({"type": "array", "items": items});
    let resource = rows(&definition(json!({"type": "object", "properties": {
        "list": list(number(false)), "free": list(number(true)), "bare": list(json!({"type": "integer"})),
        "map": {"type": "object", "additionalProperties": number(false)}}})));
    let resource = resource.into_iter().find(|row| row.is_hub()).unwrap();
    let nulls = json!([null, 2]);
    let mut object = json!({"list": nulls, "free": nulls, "bare": nulls, "map": {"a": null}});
    custom(&resource).default(&mut object);
    assert_eq!(object, json!({"list": [1, 2], "free": nulls, "bare": nulls, "map": {"a": 1}}));
}

#[test]
fn a_kind_tells_whether_a_status_that_was_taken_comes_again() {
    let comes = |status: Value| {
        let rows = rows(&definition(json!({"type": "object", "properties": {"status": status}})));
        rows.iter().find(|row| row.is_hub()).is_some_and(|row| custom(row).has_default_status())
    };
    for status in [json!({"type": "object", "default": {}}), json!({"nullable": true, "default": null})] {
        assert!(comes(status.clone()), "{status}");
    }
    let within = json!({"type": "object", "properties": {"phase": {"type": "string", "default": "Waiting"}}});
    assert!(!comes(within), "nothing is filled in below a status that is not there");
}
