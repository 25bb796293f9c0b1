//! Ownership, case by case.

use serde_json::{Value, json};

use super::entry::{Id, Managers, Owned, cap};
use super::{FieldSet, OneVersion, Request, apply, is_unchanged, mend, update};
use crate::decode::{Form, fit};
use crate::schema::Schema;

pub(super) fn schema() -> Schema {
    Schema::named("apps/v1.Deployment").unwrap()
}

pub(super) fn request<'a>(schema: &'a Schema, manager: &'a str) -> Request<'a> {
    Request {
        schema,
        manager,
        api_version: "apps/v1",
        subresource: "",
        force: false,
        now: "2024-01-02T03:04:05Z".parse().unwrap(),
        has_status: true,
        status_resets: &super::SPEC,
        versions: &OneVersion,
    }
}

pub(super) fn canonical(mut value: Value) -> Value {
    fit(&mut value, &schema(), Form::Canonical).unwrap();
    value
}

/// A Deployment; without a spec when that is empty, since an empty object that was given is owned too.
pub(super) fn deployment(spec: Value) -> Value {
    let mut object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}});
    if spec != json!({}) {
        object["spec"] = spec;
    }
    object
}

fn applied(live: Option<&Value>, manager: &str, spec: Value) -> Value {
    canonical(apply(live, &deployment(spec), &request(&schema(), manager)).unwrap())
}

pub(super) fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.into_iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn a_creator_owns_what_it_sent_and_what_was_filled_in() {
    let schema = schema();
    let mut object = canonical(deployment(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"securityContext": {},
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}], "volumes": [{"name": "v", "emptyDir": {}}]}}})));
    update(None, &mut object, &request(&schema, "kubectl-create"));
    assert_eq!(
        object["metadata"]["managedFields"][0],
        json!({"manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1", "time": "2024-01-02T03:04:05Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}}}},
                    "f:securityContext": {},
                    "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}},
                }},
        }}})
    );
}

#[test]
fn a_changed_field_changes_hands_and_a_removed_one_is_nobodys() {
    let schema = schema();
    let mut first = canonical(deployment(json!({"replicas": 1, "paused": true})));
    update(None, &mut first, &request(&schema, "a"));
    let mut second = first.clone();
    second["spec"]["replicas"] = json!(2);
    second["spec"].as_object_mut().unwrap().remove("paused");
    update(Some(&first), &mut second, &request(&schema, "b"));
    assert_eq!(fields(&second, "b"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&second, "a"), Value::Null);
}

#[test]
fn an_update_that_changes_nothing_leaves_ownership_alone() {
    let schema = schema();
    let mut first = canonical(deployment(json!({"replicas": 1})));
    update(None, &mut first, &request(&schema, "a"));
    let mut again = first.clone();
    again["metadata"].as_object_mut().unwrap().remove("managedFields");
    update(Some(&first), &mut again, &request(&schema, "b"));
    assert_eq!(again, first);
    let mut reset = first.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    update(Some(&first), &mut reset, &request(&schema, "b"));
    assert!(reset["metadata"].get("managedFields").is_none());
    reset["metadata"]["uid"] = json!("u");
    let mut later = reset.clone();
    later["spec"]["replicas"] = json!(2);
    update(Some(&reset), &mut later, &request(&schema, "b"));
    assert!(later["metadata"].get("managedFields").is_none(), "until somebody applies");
}

/// A change, and whether it counts as none.
type Change = (fn(&mut Value), bool);

#[test]
fn a_change_of_nothing_but_times_of_owners_is_none() {
    let schema = schema();
    let mut old = canonical(deployment(json!({"replicas": 1})));
    update(None, &mut old, &request(&schema, "a"));
    let changes: [Change; 6] = [
        (|_| {}, true),
        (|new| new["metadata"]["managedFields"][0]["time"] = json!("2025-01-02T03:04:05Z"), true),
        (|new| new["metadata"]["resourceVersion"] = json!("7"), true),
        (|new| new["metadata"]["managedFields"][0]["manager"] = json!("b"), false),
        (|new| new["metadata"]["managedFields"] = Value::Null, false),
        (|new| new["spec"]["replicas"] = json!(2), false),
    ];
    for (place, (change, want)) in changes.into_iter().enumerate() {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(is_unchanged(&old, &new), want, "{place}");
    }
}

#[test]
fn a_list_that_cannot_be_read_is_replaced_and_told_why() {
    let entry = json!({"manager": "a", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}});
    for (key, value, why) in [
        ("operation", json!("Odd"), "operation must be `Apply` or `Update`"),
        ("apiVersion", json!(""), "apiVersion must not be empty"),
        ("fieldsType", Value::Null, "missing fieldsType in managed fields entry 1"),
        ("fieldsType", json!("V2"), "invalid fieldsType \"V2\" in managed fields entry 1"),
        ("fieldsV1", json!([]), "error decoding versioned set of managed fields entry 1"),
    ] {
        let mut spoiled = entry.clone();
        spoiled[key] = value;
        for (before, want) in [(json!([entry]), json!({"managedFields": [entry]})), (Value::Null, json!({}))] {
            let mut object = json!({"metadata": {"managedFields": [entry, spoiled]}});
            assert_eq!(mend(&mut object, before).as_deref(), Some(why));
            assert_eq!(object["metadata"], want, "{why}");
        }
    }
    let mut good = json!({"metadata": {"managedFields": [entry]}});
    assert_eq!(mend(&mut good, Value::Null), None);
    assert_eq!(good["metadata"]["managedFields"], json!([entry]));
}

#[test]
fn the_status_is_owned_through_its_subresource() {
    let schema = schema();
    let mut first = canonical(deployment(json!({"replicas": 1})));
    first["status"] = json!({"replicas": 1});
    update(None, &mut first, &request(&schema, "a"));
    assert_eq!(fields(&first, "a"), json!({"f:spec": {"f:replicas": {}}}));
    let mut second = first.clone();
    second["status"] = json!({"replicas": 2});
    update(Some(&first), &mut second, &Request { subresource: "status", ..request(&schema, "b") });
    assert_eq!(second["metadata"]["managedFields"][1]["subresource"], "status");
    assert_eq!(fields(&second, "b"), json!({"f:status": {"f:replicas": {}}}));
}

#[test]
fn a_status_without_a_subresource_is_owned_like_all_else() {
    let schema = schema();
    let mut first = canonical(deployment(json!({})));
    first["status"] = json!({"replicas": 1});
    update(None, &mut first, &Request { has_status: false, ..request(&schema, "a") });
    assert_eq!(fields(&first, "a").pointer("/f:status/f:replicas"), Some(&json!({})));
}

#[test]
fn a_part_of_an_object_says_nothing_of_its_owners() {
    let schema = schema();
    let mut first = canonical(deployment(json!({"replicas": 1})));
    update(None, &mut first, &request(&schema, "a"));
    let mut second = first.clone();
    second["status"] = json!({"replicas": 2});
    second["metadata"]["managedFields"] = json!([{}]);
    update(Some(&first), &mut second, &Request { subresource: "status", ..request(&schema, "b") });
    assert_eq!(fields(&second, "a"), fields(&first, "a"));
    assert_eq!(fields(&second, "b").pointer("/f:status/f:replicas"), Some(&json!({})));
}

#[test]
fn applying_takes_removes_and_shares_fields() {
    let container = |image: &str| json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}});
    let first = applied(None, "a", json!({"replicas": 3, "paused": true}));
    assert_eq!(fields(&first, "a"), json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
    assert_eq!(first["metadata"]["managedFields"][0]["operation"], "Apply");
    // Left out and owned by nobody else: removed.
    let second = applied(Some(&first), "a", json!({"replicas": 3}));
    assert!(second["spec"].get("paused").is_none());
    // The same value is shared, and stays when one of the two lets go.
    let shared = applied(Some(&second), "b", json!({"replicas": 3}));
    let after = applied(Some(&shared), "a", json!({}));
    assert_eq!(after["spec"]["replicas"], 3);
    assert_eq!(fields(&after, "a"), Value::Null);
    // Elements of lists come and go by key.
    let both = applied(
        Some(&applied(None, "a", container("1"))),
        "b",
        json!({"template": {"spec": {"containers": [{"name": "d", "image": "2"}]}}}),
    );
    assert_eq!(both["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
    let one = applied(Some(&both), "b", json!({}));
    assert_eq!(one["spec"]["template"]["spec"]["containers"], json!([{"name": "c", "image": "1", "resources": {}}]));
}

#[test]
fn conflicts_name_the_manager_and_the_field() {
    let schema = schema();
    let mut live = canonical(deployment(json!({"replicas": 1, "paused": true})));
    update(None, &mut live, &request(&schema, "kubectl"));
    let config = deployment(json!({"replicas": 5}));
    let error = apply(Some(&live), &config, &request(&schema, "b")).unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (409, "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas")
    );
    assert_eq!(
        error.to_value()["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"}])
    );
    let many =
        apply(Some(&live), &deployment(json!({"replicas": 5, "paused": false})), &request(&schema, "b")).unwrap_err();
    assert_eq!(
        many.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl\" using apps/v1:\n- .spec.paused\n- .spec.replicas"
    );
    let forced = apply(Some(&live), &config, &Request { force: true, ..request(&schema, "b") }).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(fields(&forced, "kubectl"), json!({"f:spec": {"f:paused": {}}}));
    let twice =
        apply(Some(&canonical(forced)), &deployment(json!({"replicas": 6})), &request(&schema, "c")).unwrap_err();
    assert_eq!(twice.message, "Apply failed with 1 conflict: conflict with \"b\": .spec.replicas");
}

#[test]
fn conflicts_at_a_place_are_told_before_those_below_it() {
    let pod = |image: &str, node: &str| json!({"template": {"spec": {"containers": [{"name": "c", "image": image}], "nodeName": node}}});
    let live = applied(None, "a", pod("i", "x"));
    let error = apply(Some(&live), &deployment(pod("j", "y")), &request(&schema(), "b")).unwrap_err();
    let place = ".spec.template.spec";
    assert!(error.message.ends_with(&format!("\n- {place}.nodeName\n- {place}.containers[name=\"c\"].image")));
}

#[test]
fn who_applies_what_is_there_has_no_time() {
    let live = applied(None, "a", json!({"replicas": 1}));
    let shared = applied(Some(&live), "b", json!({"replicas": 1}));
    let owners = shared["metadata"]["managedFields"].as_array().unwrap();
    let told: Vec<_> =
        owners.iter().map(|entry| (entry["manager"].as_str().unwrap(), entry["time"].is_null())).collect();
    assert_eq!(told, [("b", true), ("a", false)]);
}

#[test]
fn an_applied_null_takes_nothing_from_a_map() {
    let labels = |value: Value| json!({"template": {"metadata": {"labels": value}}});
    let live = applied(None, "a", labels(json!({"x": "y"})));
    let after = applied(Some(&live), "b", labels(Value::Null));
    assert_eq!(after["spec"], live["spec"]);
}

#[test]
fn atomic_lists_are_owned_whole_and_sets_by_value() {
    let tolerations = |key: &str| json!({"template": {"spec": {"tolerations": [{"key": key, "operator": "Exists"}]}}});
    let live = applied(None, "a", tolerations("x"));
    assert_eq!(fields(&live, "a"), json!({"f:spec": {"f:template": {"f:spec": {"f:tolerations": {}}}}}));
    assert_eq!(apply(Some(&live), &deployment(tolerations("y")), &request(&schema(), "b")).unwrap_err().code, 409);
    let finalizers = |names: Value| {
        let mut object = deployment(json!({}));
        object["metadata"]["finalizers"] = names;
        object
    };
    let first = canonical(apply(None, &finalizers(json!(["a/x"])), &request(&schema(), "a")).unwrap());
    let second = canonical(apply(Some(&first), &finalizers(json!(["b/y"])), &request(&schema(), "b")).unwrap());
    assert_eq!(second["metadata"]["finalizers"], json!(["a/x", "b/y"]));
    assert_eq!(fields(&second, "b"), json!({"f:metadata": {"f:finalizers": {"v:\"b/y\"": {}}}}));
}

#[test]
fn keys_that_defaulting_fills_in_need_not_be_given() {
    let ports = |extra: Value| json!({"template": {"spec": {"containers": [{"name": "c", "ports": [extra]}]}}});
    let live = applied(None, "a", ports(json!({"containerPort": 80})));
    let again = applied(Some(&live), "a", ports(json!({"containerPort": 80, "protocol": "TCP", "name": "http"})));
    assert_eq!(again.pointer("/spec/template/spec/containers/0/ports").unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn malformed_configurations_are_refused() {
    let schema = schema();
    let twins = deployment(json!({"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}));
    assert!(
        apply(None, &twins, &request(&schema, "a"))
            .unwrap_err()
            .message
            .ends_with("duplicate entries for key [name=\"a\"]")
    );
    let mut carried = deployment(json!({}));
    carried["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        apply(None, &carried, &request(&schema, "a")).unwrap_err().message,
        "metadata.managedFields must be nil"
    );
}

#[test]
fn kubectl_moves_from_client_side_to_server_side_apply_without_conflict() {
    let schema = schema();
    let applied_before = deployment(json!({"replicas": 1}));
    let mut live = canonical(deployment(json!({"replicas": 1, "paused": true})));
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": applied_before.to_string()});
    update(None, &mut live, &request(&schema, "kubectl-client-side-apply"));
    let moved = apply(Some(&live), &deployment(json!({"replicas": 2})), &request(&schema, "kubectl")).unwrap();
    assert_eq!(moved["spec"]["replicas"], 2);
    let text = &moved["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(text, &json!(format!("{}\n", deployment(json!({"replicas": 2})))));
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(applied_before.to_string().replace("Deployment", "Other"));
    let config = deployment(json!({"replicas": 2}));
    assert_eq!(apply(Some(&live), &config, &request(&schema, "kubectl")).unwrap_err().code, 409);
    assert_eq!(
        apply(Some(&live), &deployment(json!({"paused": false})), &request(&schema, "kubectl")).unwrap_err().code,
        409
    );
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner_of_its_own() {
    let live = canonical(deployment(json!({"replicas": 1})));
    let error = apply(Some(&live), &deployment(json!({"replicas": 2})), &request(&schema(), "a")).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    let taken = applied(Some(&live), "a", json!({"replicas": 1}));
    assert_eq!(taken["metadata"]["managedFields"][1]["time"], "2024-01-02T03:04:05Z");
}

#[test]
fn only_so_many_updaters_are_remembered() {
    let schema = schema();
    let mut object = canonical(deployment(json!({})));
    for i in 0..15 {
        let old = object.clone();
        object["metadata"]["labels"][format!("l{i}")] = json!("x");
        update(
            Some(&old),
            &mut object,
            &Request {
                now: format!("2024-01-02T03:04:{i:02}Z").parse().unwrap(),
                ..request(&schema, &format!("m{i}"))
            },
        );
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().any(|e| e["manager"] == "ancient-changes"));
}

#[test]
fn the_oldest_updaters_are_merged_version_by_version() {
    let mut managers = Managers::new();
    for i in 0..12 {
        let api_version = if i == 1 { "apps/v2" } else { "apps/v1" };
        let time = Some(format!("2024-01-02T03:04:{i:02}Z").parse().unwrap());
        let fields = FieldSet::of_fields(&[&[format!("f{i}").as_str()]]);
        managers.insert(
            Id::new(false, &format!("m{i}"), api_version, ""),
            Owned { api_version: api_version.into(), fields, time },
        );
    }
    cap(&mut managers);
    let ancient = managers.remove(&Id::new(false, "ancient-changes", "apps/v1", "")).unwrap();
    assert_eq!(ancient.fields.paths(), [".f0", ".f2", ".f3"]);
    assert_eq!(managers.len(), 9);
    assert!(managers.contains_key(&Id::new(false, "m1", "apps/v2", "")), "the only one of its version stays");
}

#[test]
fn sets_survive_their_text() {
    let text = json!({"f:a": {".": {}, "k:{\"x\":1}": {"f:b": {}}, "v:\"s\"": {}, "i:3": {}}});
    assert_eq!(FieldSet::parse(&text).unwrap().encode(), text);
    for bad in [json!([]), json!({"x:a": {}}), json!({"f:a": 1}), json!({"k:1": {}})] {
        assert!(FieldSet::parse(&bad).is_none(), "{bad}");
    }
}
