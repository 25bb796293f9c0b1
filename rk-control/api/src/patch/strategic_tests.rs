//! Strategic merge patch, case by case.

use serde_json::{Value, json};

use super::{PatchError, shown, spent, strategic_merge_patch};
use crate::schema::Schema;
use crate::status::{Reason, Status};

fn patched(schema: &str, object: Value, patch: Value) -> Result<Value, PatchError> {
    let mut object = object;
    strategic_merge_patch(&mut object, &patch, &Schema::named(schema).unwrap()).map(|()| object)
}

#[test]
fn maps_and_lists_merge_by_their_strategy() {
    let pod = "core/v1.PodSpec";
    for (why, schema, object, patch, want) in [
        (
            "elements merge by key, new ones come first when the original does not know them",
            pod,
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
        ),
        (
            "a deleted element goes",
            pod,
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "a list is replaced on request",
            pod,
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
            json!({"containers": [{"name": "z"}]}),
        ),
        (
            "null removes, also inside elements",
            pod,
            json!({"nodeName": "x", "containers": [{"name": "a", "image": "1", "tty": true}]}),
            json!({"nodeName": null, "containers": [{"name": "a", "tty": null}]}),
            json!({"containers": [{"name": "a", "image": "1"}]}),
        ),
        (
            "lists without merge strategy are replaced",
            pod,
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "what replaces a list keeps its directives",
            pod,
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"$patch": "delete", "key": "a"}, {"key": "b"}]}),
            json!({"tolerations": [{"$patch": "delete", "key": "a"}, {"key": "b"}]}),
        ),
        (
            "a new value loses nulls and directives",
            pod,
            json!({}),
            json!({"securityContext": {"runAsUser": 1, "fsGroup": null}, "$setElementOrder/containers": [{"name": "a"}]}),
            json!({"securityContext": {"runAsUser": 1}}),
        ),
        (
            "a map is replaced on request",
            pod,
            json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
            json!({"securityContext": {"$patch": "replace", "runAsGroup": 3}}),
            json!({"securityContext": {"runAsGroup": 3}}),
        ),
        (
            "a map is emptied on request",
            pod,
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            "scalars of a merging list are added once",
            "meta/v1.ObjectMeta",
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["b", "c"]}),
            json!({"finalizers": ["a", "b", "c"]}),
        ),
        (
            "scalars of a merging list are deleted by directive",
            "meta/v1.ObjectMeta",
            json!({"finalizers": ["a", "b", "c"]}),
            json!({"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}),
            json!({"finalizers": ["c", "a"]}),
        ),
        (
            "what is deleted by directive is gone, even if the patch has it",
            "meta/v1.ObjectMeta",
            json!({"finalizers": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["b"], "finalizers": ["b"]}),
            json!({"finalizers": ["a"]}),
        ),
        (
            "nothing as what to delete is the whole list",
            "meta/v1.ObjectMeta",
            json!({"name": "x", "finalizers": ["a", "b"]}),
            json!({"$deleteFromPrimitiveList/finalizers": null}),
            json!({"name": "x"}),
        ),
        (
            "labels merge key by key",
            "meta/v1.ObjectMeta",
            json!({"labels": {"a": "1", "b": "2"}}),
            json!({"labels": {"a": null, "c": "3"}}),
            json!({"labels": {"b": "2", "c": "3"}}),
        ),
        (
            "only retained keys survive",
            "apps/v1.DeploymentSpec",
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            "the order of elements follows the directive, unknown ones keep their place",
            pod,
            json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "x"}, {"name": "b"}, {"name": "a", "image": "2"}]}),
        ),
        (
            "what the object does not have is taken as it is, known or unknown",
            pod,
            json!({"nodeName": "x"}),
            json!({"foo": {"a": {"b": 1, "c": null}}, "bar": [{"a": 1}], "containers": [{"image": "1"}]}),
            json!({"nodeName": "x", "foo": {"a": {"b": 1}}, "bar": [{"a": 1}], "containers": [{"image": "1"}]}),
        ),
        (
            "what a directive is about and is not there stays so",
            pod,
            json!({"nodeName": "x"}),
            json!({"securityContext": {"$patch": "delete"}, "affinity": {"podAffinity": {"$patch": "replace"}}}),
            json!({"nodeName": "x", "affinity": {}}),
        ),
        (
            "a different type replaces",
            pod,
            json!({"securityContext": "x"}),
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"runAsUser": 1}}),
        ),
        (
            "nested lists merge within elements",
            pod,
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}], "env": [{"name": "E", "value": "1"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "E", "value": "2"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "x", "protocol": "TCP"}], "env": [{"name": "E", "value": "2"}]}]}),
        ),
        (
            "volumes merge by name and retain their source",
            pod,
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
            json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
        ),
        (
            "an object that is replaced as a whole keeps nothing of what was",
            "policy/v1.PodDisruptionBudgetSpec",
            json!({"selector": {"matchLabels": {"a": "1"}}, "minAvailable": 1}),
            json!({"selector": {"matchLabels": {"b": "2"}}}),
            json!({"selector": {"matchLabels": {"b": "2"}}, "minAvailable": 1}),
        ),
    ] {
        assert_eq!(patched(schema, object, patch).as_ref(), Ok(&want), "{why}");
    }
}

#[test]
fn malformed_patches_are_refused_and_change_nothing() {
    let pod = "core/v1.PodSpec";
    for (patch, want) in [
        (json!([1]), "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (
            json!({"securityContext": {"$retainKeys": ["fsGroup"], "runAsUser": 1}}),
            "invalid patch format of retainKeys",
        ),
        (json!({"$deleteFromPrimitiveList": []}), "invalid patch format of primitive list"),
        (json!({"$setElementOrder": []}), "invalid patch format of setElementOrder list"),
    ] {
        assert_eq!(patched(pod, original(), patch), Err(PatchError::Malformed(want.into())));
    }
    let (empty, nested) = (json!({"finalizers": []}), json!({"finalizers": [["b"]]}));
    let refused = patched("meta/v1.ObjectMeta", empty, nested);
    assert_eq!(refused, Err(PatchError::Unprocessable("lists of lists are not supported".into())));
}

fn original() -> Value {
    json!({"containers": [{"name": "a"}], "securityContext": {"runAsUser": 0}, "foo": {}})
}

/// What upstream refuses without an answer of its own is a failure without a reason, which quotes values as Go prints them.
#[test]
fn what_makes_no_sense_is_told_in_upstream_s_words() {
    let pod = "core/v1.PodSpec";
    for (patch, want) in [
        (json!({"containers": [{"image": "x"}]}), "map: map[image:x] does not contain declared merge key: name"),
        (
            json!({"containers": [{"$patch": "delete"}]}),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "frob"}]}),
            "unknown patch type: frob in map: map[$patch:frob name:a]",
        ),
        (json!({"containers": ["b"]}), "list element types are not identical: [[map[name:a]] [b]]"),
        (
            json!({"containers": [{"name": "b"}, null]}),
            "list element types are not identical: [[map[name:a]] [map[name:b] <nil>]]",
        ),
        (json!({"$patch": "merge"}), "unknown patch type: merge in map: map[$patch:merge]"),
        (json!({"$patch": "frob", "x": 1}), "unknown patch type: frob in map: map[$patch:frob x:1]"),
        (json!({"foo": {"a": 1}}), "unable to find api field in struct PodSpec for the json field \"foo\""),
        (
            json!({"$setElementOrder/bar": [{"name": "a"}]}),
            "unable to find api field in struct PodSpec for the json field \"bar\"",
        ),
        (json!({"$setElementOrder/containers": "x"}), "expected a []interface {}, but received a string"),
        (
            json!({"$setElementOrder/containers": [{"image": "x"}], "containers": [{"name": "b"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}),
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
        ),
    ] {
        assert_eq!(patched(pod, original(), patch), Err(PatchError::Unanswered(want.into())));
    }
    let status = Status::from(PatchError::Unanswered("why".into()));
    assert_eq!((status.code, status.reason, status.message.as_str()), (500, Reason::Unknown, "why"));
}

#[test]
fn a_patch_is_shown_as_merging_leaves_it() {
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": "x"}],
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "volumes": [{"$patch": "delete", "name": "v"}],
    }});
    assert_eq!(shown(&spent(&patch)), "map[spec:map[strategy:map[type:Recreate] volumes:[map[$patch:delete name:v]]]]");
}

#[test]
fn an_empty_patch_changes_nothing() {
    let object = json!({"containers": [{"name": "a"}], "x": 1});
    for nothing in [json!({}), Value::Null] {
        assert_eq!(patched("core/v1.PodSpec", object.clone(), nothing), Ok(object.clone()));
    }
}
