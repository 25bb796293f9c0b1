//! Laws of ownership that hold for all configurations.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{canonical, deployment, fields, request, schema};
use super::update::{blank, disown, not_tracked, untracked};
use super::walk::compare;
use super::{FieldSet, Request, apply, created};
use crate::schema::{Lists, Made, Schema, Shape};

#[test]
fn unknown_fields_that_are_kept_are_owned_by_themselves() {
    let mut open = Made::new(Shape::Object);
    open.open = true;
    let mut inner = Made::new(Shape::Object);
    inner.fields.insert("a".into(), Schema::made(Made::new(Shape::Any)));
    open.fields.insert("known".into(), Schema::made(inner));
    let owned = super::walk::owned(&json!({"known": {"a": 1}, "own": {"b": 1}}), &Schema::made(open)).unwrap();
    assert_eq!(owned.encode(), json!({"f:known": {"f:a": {}}, "f:own": {".": {}, "f:b": {}}}));
}

#[test]
fn fields_that_are_declared_come_in_by_their_names_and_those_that_are_kept_do_not() {
    let mut open = Made::new(Shape::Object);
    open.open = true;
    let mut known = Made::new(Shape::Object);
    known.fields.insert("a".into(), Schema::made(Made::new(Shape::Any)));
    open.fields.insert("known".into(), Schema::made(known));
    let mut set = FieldSet::parse(&json!({"f:known": {"f:a": {}}, "f:own": {"f:b": {}}})).unwrap();
    set.add_named_fields(&Schema::made(open));
    assert_eq!(set.encode(), json!({"f:known": {".": {}, "f:a": {}}, "f:own": {"f:b": {}}}));
}

/// A configuration over a few fields, list elements and labels.
fn config() -> impl Strategy<Value = Value> {
    let small = proptest::option::of(0..3i64);
    let labels = proptest::collection::btree_map("[a-c]", "[xy]", 0..3);
    let containers = proptest::collection::btree_map("[a-c]", proptest::option::of("[12]"), 0..3);
    (small, proptest::option::of(any::<bool>()), labels, containers).prop_map(
        |(replicas, paused, labels, containers)| {
            let mut object = deployment(json!({}));
            if let Some(replicas) = replicas {
                object["spec"]["replicas"] = json!(replicas);
            }
            if let Some(paused) = paused {
                object["spec"]["paused"] = json!(paused);
            }
            if !labels.is_empty() {
                object["metadata"]["labels"] = json!(labels);
            }
            if !containers.is_empty() {
                let list: Vec<Value> = containers
                    .into_iter()
                    .map(|(name, image)| image.map_or(json!({"name": name}), |i| json!({"name": name, "image": i})))
                    .collect();
                object["spec"]["template"] = json!({"spec": {"containers": list}});
            }
            object
        },
    )
}

fn forced(live: Option<&Value>, config: &Value, manager: &str) -> Value {
    canonical(apply(live, config, &Request { force: true, ..request(&schema(), manager) }).unwrap())
}

/// Any JSON, of few names so that they meet.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![Just("a"), Just("b"), Just("metadata"), Just("name"), Just("status"), Just("list")];
        let members = proptest::collection::vec((name, inner.clone()), 0..4);
        let object = |members: Vec<(&str, Value)>| {
            Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        prop_oneof![proptest::collection::vec(inner, 0..4).prop_map(Value::Array), members.prop_map(object)]
    })
}

/// A type whose lists have elements of their own, down to some depth; below that anything goes.
fn keyed(depth: usize) -> Schema {
    let Some(below) = depth.checked_sub(1) else { return Schema::FREE };
    let list = |lists: Lists, key: Option<&str>| {
        let mut list = Made::new(Shape::List);
        list.lists = lists;
        list.item = Some(keyed(below));
        list.keys = key.into_iter().map(Box::<str>::from).collect();
        Schema::made(list)
    };
    let mut atomic = Made::new(Shape::Object);
    (atomic.atomic, atomic.open) = (true, true);
    let mut object = Made::new(Shape::Object);
    object.open = true;
    object.fields.insert("b".into(), keyed(below));
    object.fields.insert("metadata".into(), keyed(below));
    object.fields.insert("list".into(), list(Lists::Map, Some("a")));
    object.fields.insert("status".into(), list(Lists::Set, None));
    object.fields.insert("name".into(), Schema::made(atomic));
    Schema::made(object)
}

/// What compares all paths, against which the short way is held.
fn long_way(old: &Value, new: &Value, request: &Request<'_>) -> Value {
    let mut changes = compare(old, new, request.schema);
    changes.ignore(not_tracked(request));
    disown(&mut changes.changed);
    changes.changed.encode()
}

fn short_way(old: &Value, new: &Value, request: &Request<'_>) -> Value {
    Value::Object(created::fields(old, new, request.schema, untracked(request)))
}

#[test]
fn the_creator_of_a_pod_owns_the_same_either_way() {
    let pods = Schema::named("core/v1.Pod").unwrap();
    let port = json!({"containerPort": 80, "protocol": "TCP"});
    let container = json!({"name": "c", "image": "i", "ports": [port, port, {"hostPort": 1}], "resources": {},
        "env": [{"name": "e", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], "command": ["a", "b"]});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generateName": "p-", "labels": {"a": "b"}, "finalizers": ["x/y", "x/y"],
            "creationTimestamp": "2024-01-02T03:04:05Z", "annotations": {}, "generation": 1,
            "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1"}]},
        "spec": {"containers": [container], "nodeSelector": {"a": "b"}, "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "tolerations": [{"key": "k", "operator": "Exists"}], "imagePullSecrets": [{"name": "s"}, {}],
            "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "m"}}]}}]},
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}});
    crate::decode::fit(&mut pod, &pods, crate::decode::Form::Canonical).unwrap();
    for subresource in ["", "status"] {
        let request = Request { subresource, ..request(&pods, "m") };
        let short = short_way(&blank(&pod, &pods), &pod, &request);
        assert_eq!(short, long_way(&blank(&pod, &pods), &pod, &request));
        assert_eq!(short.pointer("/f:status/f:phase"), (subresource == "status").then_some(&json!({})));
        assert_eq!(short.pointer("/f:metadata/f:labels/f:a"), Some(&json!({})));
        assert!(short.pointer("/f:metadata/f:name").is_none() && short.pointer("/f:metadata/.").is_none());
    }
}

proptest! {
    #[test]
    fn a_creator_owns_what_differs_from_nothing(a in config(), old in json_value(), new in json_value(), status in any::<bool>()) {
        let deployments = schema();
        let first = request(&deployments, "m");
        let object = canonical(a);
        let nothing = blank(&object, &deployments);
        prop_assert_eq!(short_way(&nothing, &object, &first), long_way(&nothing, &object, &first));
        for schema in [Schema::FREE, keyed(3)] {
            let request = Request { subresource: if status { "status" } else { "" }, ..request(&schema, "m") };
            prop_assert_eq!(short_way(&old, &new, &request), long_way(&old, &new, &request));
            prop_assert_eq!(short_way(&json!({}), &new, &request), long_way(&json!({}), &new, &request));
        }
    }

    #[test]
    fn applying_twice_equals_applying_once(a in config(), b in config()) {
        let live = forced(None, &a, "a");
        let once = forced(Some(&live), &b, "b");
        prop_assert_eq!(&forced(Some(&once), &b, "b"), &once);
    }

    #[test]
    fn what_is_applied_is_what_is_there(a in config(), b in config()) {
        let result = forced(Some(&forced(None, &a, "a")), &b, "b");
        for pointer in ["/spec/replicas", "/metadata/labels/a", "/metadata/labels/b"] {
            if let Some(want) = b.pointer(pointer) {
                prop_assert_eq!(result.pointer(pointer), Some(want));
            }
        }
    }

    #[test]
    fn the_empty_configuration_gives_back_everything(a in config(), b in config()) {
        let live = forced(None, &a, "a");
        let with = forced(Some(&live), &b, "b");
        let without = forced(Some(&with), &deployment(json!({})), "b");
        prop_assert_eq!(fields(&without, "b"), Value::Null);
    }

    #[test]
    fn managers_of_different_fields_commute(replicas in 0..5i64, paused in any::<bool>(), labels in proptest::collection::btree_map("[a-c]", "[xy]", 1..3)) {
        let first = deployment(json!({"replicas": replicas, "paused": paused}));
        let mut second = deployment(json!({}));
        second["metadata"]["labels"] = json!(labels);
        let content = |mut object: Value| {
            object["metadata"].as_object_mut().unwrap().remove("managedFields");
            object
        };
        let ab = content(forced(Some(&forced(None, &first, "a")), &second, "b"));
        let ba = content(forced(Some(&forced(None, &second, "b")), &first, "a"));
        prop_assert_eq!(ab, ba);
    }

    #[test]
    fn set_algebra_holds(a in config(), b in config()) {
        let set = |value: &Value| super::walk::owned(value, &schema()).unwrap();
        let (a, b) = (set(&a), set(&b));
        let (mut only, both) = (a.clone(), a.intersection(&b));
        only.subtract(&b);
        prop_assert!(only.intersection(&b).is_empty());
        only.absorb(both);
        prop_assert_eq!(&only, &a);
        prop_assert_eq!(FieldSet::parse(&a.encode()).unwrap(), a);
    }
}
