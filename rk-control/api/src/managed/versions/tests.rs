//! Owners of a kind with two versions.

use serde_json::{Value, json};

use super::Versions;
use crate::convert::convert;
use crate::decode::{Form, fit};
use crate::managed::tests::fields;
use crate::managed::{Request, apply, update};
use crate::resources::GroupVersionKind;
use crate::schema::Schema;
use crate::status::Status;

const ONE: &str = "autoscaling/v1";
const TWO: &str = "autoscaling/v2";

/// The versions of autoscalers, of which v1 has a number where v2 has a list of metrics.
#[derive(Debug)]
struct Autoscalers;

impl Versions for Autoscalers {
    fn convert(&self, object: Value, api_version: &str) -> Result<Option<(Value, Schema)>, Status> {
        let gvk = GroupVersionKind::from_api_version(api_version, "HorizontalPodAutoscaler").unwrap();
        let Some(schema) = Schema::of_kind(&gvk) else { return Ok(None) };
        let mut object = convert(object, &gvk)?;
        fit(&mut object, &schema, Form::Canonical).unwrap();
        Ok(Some((object, schema)))
    }
}

/// Versions of which only one can be had.
#[derive(Debug)]
struct Broken;

impl Versions for Broken {
    fn convert(&self, _: Value, _: &str) -> Result<Option<(Value, Schema)>, Status> {
        Err(Status::internal("broken"))
    }
}

/// Versions that know objects by their names alone, as webhooks may.
#[derive(Debug)]
struct Named;

impl Versions for Named {
    fn convert(&self, object: Value, api_version: &str) -> Result<Option<(Value, Schema)>, Status> {
        match object.pointer("/metadata/name") {
            Some(_) => Autoscalers.convert(object, api_version),
            None => Err(Status::internal("whose is it")),
        }
    }
}

fn schema(api_version: &str) -> Schema {
    let gvk = GroupVersionKind::from_api_version(api_version, "HorizontalPodAutoscaler").unwrap();
    Schema::of_kind(&gvk).unwrap()
}

fn request<'a>(schema: &'a Schema, manager: &'a str, api_version: &'a str) -> Request<'a> {
    Request { api_version, versions: &Autoscalers, ..crate::managed::tests::request(schema, manager) }
}

fn autoscaler(api_version: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

fn canonical(mut object: Value) -> Value {
    let api_version = object["apiVersion"].as_str().unwrap().to_owned();
    fit(&mut object, &schema(&api_version), Form::Canonical).unwrap();
    object
}

fn cpu(percent: i64) -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

/// One that was made in v1 by `old`, as v2 shows it.
fn made_in_one() -> Value {
    let schema = schema(ONE);
    let mut made = canonical(autoscaler(ONE, json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50})));
    update(None, &mut made, &request(&schema, "old", ONE));
    Autoscalers.convert(made, TWO).unwrap().unwrap().0
}

/// Who has entries, and in which version.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let line =
        |entry: &Value| format!("{} {}", entry["manager"].as_str().unwrap(), entry["apiVersion"].as_str().unwrap());
    entries.iter().map(line).collect()
}

#[test]
fn an_owner_speaks_its_own_version_and_loses_what_others_change_in_theirs() {
    let two = schema(TWO);
    let live = made_in_one();
    let owned = fields(&live, "old");
    assert_eq!(owned.pointer("/f:spec/f:targetCPUUtilizationPercentage"), Some(&json!({})));
    let mut labelled = live.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    update(Some(&live), &mut labelled, &request(&two, "new", TWO));
    assert_eq!(owners(&labelled), ["new autoscaling/v2", "old autoscaling/v1"]);
    assert_eq!(fields(&labelled, "old"), owned, "what was not changed is owned as it was");
    let mut changed = labelled.clone();
    changed["spec"]["metrics"] = cpu(60);
    update(Some(&labelled), &mut changed, &request(&two, "new", TWO));
    assert_eq!(fields(&changed, "new").pointer("/f:spec/f:metrics"), Some(&json!({})));
    let left = fields(&changed, "old");
    assert_eq!(left.pointer("/f:spec/f:targetCPUUtilizationPercentage"), None);
    assert_eq!(left.pointer("/f:spec/f:maxReplicas"), Some(&json!({})));
}

#[test]
fn a_conflict_is_told_in_the_version_of_the_owner() {
    let two = schema(TWO);
    let config = autoscaler(TWO, json!({"maxReplicas": 3, "metrics": cpu(70)}));
    let refused = apply(Some(&made_in_one()), &config, &request(&two, "new", TWO)).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"old\" using autoscaling/v1: .spec.targetCPUUtilizationPercentage"
    );
    let forced = Request { force: true, ..request(&two, "new", TWO) };
    let taken = apply(Some(&made_in_one()), &config, &forced).unwrap();
    assert_eq!(owners(&taken), ["new autoscaling/v2", "old autoscaling/v1"]);
    assert_eq!(fields(&taken, "old").pointer("/f:spec/f:targetCPUUtilizationPercentage"), None);
}

#[test]
fn what_was_applied_in_one_version_is_let_go_in_another() {
    let (one, two) = (schema(ONE), schema(TWO));
    let first = autoscaler(ONE, json!({"maxReplicas": 3, "minReplicas": 2, "targetCPUUtilizationPercentage": 50}));
    let live = canonical(apply(None, &first, &request(&one, "a", ONE)).unwrap());
    let live = Autoscalers.convert(live, TWO).unwrap().unwrap().0;
    let second = autoscaler(TWO, json!({"maxReplicas": 3, "metrics": cpu(50)}));
    let applied = apply(Some(&live), &second, &request(&two, "a", TWO)).unwrap();
    assert_eq!(owners(&applied), ["a autoscaling/v2"]);
    assert_eq!((applied["spec"].get("minReplicas"), &applied["spec"]["metrics"]), (None, &cpu(50)));
    // Somebody else's word keeps it, in whatever version that was said.
    let mut other = live.clone();
    other["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({"manager": "b", "operation": "Update",
        "apiVersion": ONE, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:minReplicas": {}}}}));
    let applied = apply(Some(&other), &second, &request(&two, "a", TWO)).unwrap();
    assert_eq!(applied["spec"]["minReplicas"], 2);
    assert_eq!(owners(&applied), ["a autoscaling/v2", "b autoscaling/v1"]);
}

#[test]
fn what_is_let_go_leaves_an_object_that_others_know() {
    let (one, two) = (schema(ONE), schema(TWO));
    let mut first = autoscaler(ONE, json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
    first["metadata"]["labels"] = json!({"l": "1"});
    let live = canonical(apply(None, &first, &request(&one, "a", ONE)).unwrap());
    let live = Autoscalers.convert(live, TWO).unwrap().unwrap().0;
    let second = autoscaler(TWO, json!({"maxReplicas": 3, "metrics": cpu(50)}));
    let asked = Request { versions: &Named, ..request(&two, "a", TWO) };
    let applied = apply(Some(&live), &second, &asked).unwrap();
    assert_eq!((applied["metadata"].get("labels"), &applied["metadata"]["name"]), (None, &json!("a")));
}

#[test]
fn owners_whose_version_is_no_more_own_nothing() {
    let two = schema(TWO);
    let mut live = made_in_one();
    live["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({"manager": "gone", "operation": "Apply",
        "apiVersion": "autoscaling/v9", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:maxReplicas": {}}}}));
    let mut changed = live.clone();
    changed["spec"]["maxReplicas"] = json!(4);
    update(Some(&live), &mut changed, &request(&two, "new", TWO));
    assert_eq!(owners(&changed), ["new autoscaling/v2", "old autoscaling/v1"]);
    // Nor is what such an applier said before taken away.
    let config = autoscaler(TWO, json!({"minReplicas": 2}));
    let applied = apply(Some(&live), &config, &request(&two, "gone", TWO)).unwrap();
    assert_eq!((&applied["spec"]["maxReplicas"], &applied["spec"]["minReplicas"]), (&json!(3), &json!(2)));
}

#[test]
fn nobody_owns_what_cannot_be_had_in_the_versions_of_its_owners() {
    let two = schema(TWO);
    let live = made_in_one();
    let broken = Request { versions: &Broken, ..request(&two, "new", TWO) };
    let mut changed = live.clone();
    changed["spec"]["maxReplicas"] = json!(4);
    update(Some(&live), &mut changed, &broken);
    assert!(changed["metadata"].get("managedFields").is_none());
    let refused = apply(Some(&live), &autoscaler(TWO, json!({"maxReplicas": 5})), &broken).unwrap_err();
    assert_eq!(refused.code, 500);
}
