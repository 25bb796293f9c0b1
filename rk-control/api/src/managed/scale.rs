//! Ownership of replicas, between a workload and its Scale: the Scale shows who owns them as owners of its own `spec.replicas`, and
//! who owns that after a write owns the replicas of the workload.

use std::collections::BTreeSet;

use serde_json::Value;

use super::entry::{self, Id, Managers, Owned};
use super::set::FieldSet;
use crate::meta::at;
use crate::status::Status;

/// The version in which a Scale speaks.
const SCALE: &str = "autoscaling/v1";

/// The path of the replicas in a workload of a version (`apps/v1`); `None` where that version has no scale or is unknown.
pub(crate) type Places<'a> = &'a dyn Fn(&str) -> Option<FieldSet>;

/// Gives a Scale the owners of the workload's replicas.
///
/// # Errors
/// 500 for a workload whose ownership is malformed.
pub(crate) fn show(scale: &mut Value, workload: &Value, places: Places<'_>) -> Result<(), Status> {
    let mut shown = Managers::new();
    for (id, owned) in read(workload)? {
        if !owns_replicas(&owned, places) {
            continue;
        }
        let owner = shown.entry(in_scale(&id)).or_insert_with(|| Owned {
            api_version: SCALE.to_owned(),
            fields: replicas(),
            time: None,
        });
        owner.time = owner.time.max(owned.time);
    }
    entry::store(scale, shown);
    Ok(())
}

/// Gives a workload of `api_version` the owners of its Scale's replicas. Whoever else owned them has lost them; nothing else changes
/// hands.
///
/// # Errors
/// 500 for malformed ownership, and for a version without scale.
pub(crate) fn take_back(
    workload: &mut Value,
    scale: &Value,
    api_version: &str,
    places: Places<'_>,
) -> Result<(), Status> {
    let place = places(api_version).ok_or_else(|| Status::internal(format!("{api_version} has no scale")))?;
    let mut owners = read(scale)?;
    owners.retain(|_, owned| has(&owned.fields, &replicas()));
    let mut managers = Managers::new();
    let mut kept = BTreeSet::new();
    for (id, mut owned) in read(workload)? {
        let owner = in_scale(&id);
        match (places(&owned.api_version).filter(|place| has(&owned.fields, place)), owners.contains_key(&owner)) {
            (None, _) => {}
            (Some(lost), false) => owned.fields.subtract(&lost),
            (Some(_), true) => {
                kept.insert(owner);
            }
        }
        managers.insert(id, owned);
    }
    owners.retain(|id, _| !kept.contains(id));
    // When they came is not kept of those who come by the Scale (kube-apiserver v1.36).
    for id in owners.into_keys() {
        let id = Id::new(id.applies, &id.manager, api_version, &id.subresource);
        let owner = managers.entry(id).or_insert_with(|| Owned {
            api_version: api_version.to_owned(),
            fields: FieldSet::default(),
            time: None,
        });
        owner.fields.absorb(place.clone());
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    entry::store(workload, managers);
    Ok(())
}

fn read(object: &Value) -> Result<Managers, Status> {
    entry::read(at(object, &["metadata", "managedFields"]))
        .map_err(|_| Status::internal("the stored managedFields are malformed"))
}

fn replicas() -> FieldSet {
    FieldSet::of_fields(&[&["spec", "replicas"]])
}

fn owns_replicas(owned: &Owned, places: Places<'_>) -> bool {
    places(&owned.api_version).is_some_and(|place| has(&owned.fields, &place))
}

fn has(set: &FieldSet, place: &FieldSet) -> bool {
    !set.intersection(place).is_empty()
}

fn in_scale(id: &Id) -> Id {
    Id::new(id.applies, &id.manager, SCALE, &id.subresource)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workload whose versions keep their replicas in two places.
    fn places(api_version: &str) -> Option<FieldSet> {
        match api_version {
            "e.com/v1" => Some(FieldSet::of_fields(&[&["spec", "replicas"]])),
            "e.com/v2" => Some(FieldSet::of_fields(&[&["spec", "size", "wanted"]])),
            _ => None,
        }
    }

    fn entry(manager: &str, operation: &str, api_version: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": api_version, "fieldsType": "FieldsV1",
            "fieldsV1": fields, "time": "2024-01-02T03:04:05Z"})
    }

    fn workload() -> Value {
        json!({"metadata": {"managedFields": [
            entry("a", "Apply", "e.com/v1", json!({"f:spec": {"f:color": {}, "f:replicas": {}}})),
            entry("b", "Update", "e.com/v2", json!({"f:spec": {"f:size": {"f:wanted": {}}}})),
            entry("c", "Update", "e.com/v1", json!({"f:spec": {"f:color": {}}})),
            entry("d", "Update", "e.com/v9", json!({"f:spec": {"f:replicas": {}}})),
        ]}})
    }

    fn brief(object: &Value) -> Vec<String> {
        let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let line = |e: &Value| {
            let text = |key: &str| e[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {} {}", text("manager"), text("operation"), text("apiVersion"), e["fieldsV1"])
        };
        list.iter().map(line).collect()
    }

    #[test]
    fn a_scale_shows_who_owns_the_replicas() {
        let mut scale = json!({"metadata": {}});
        show(&mut scale, &workload(), &places).unwrap();
        let replicas = r#"{"f:spec":{"f:replicas":{}}}"#;
        assert_eq!(
            brief(&scale),
            [format!("a Apply autoscaling/v1 {replicas}"), format!("b Update autoscaling/v1 {replicas}")]
        );
    }

    #[test]
    fn nothing_changes_hands_when_the_scale_does_not() {
        let mut scale = json!({"metadata": {}});
        show(&mut scale, &workload(), &places).unwrap();
        let mut same = workload();
        take_back(&mut same, &scale, "e.com/v1", &places).unwrap();
        assert_eq!(same, workload());
    }

    #[test]
    fn who_owns_the_scale_owns_the_replicas() {
        let mut scaler = entry("s", "Apply", "autoscaling/v1", json!({"f:spec": {"f:replicas": {}}}));
        scaler["subresource"] = json!("scale");
        let scale = json!({"metadata": {"managedFields": [scaler]}});
        let mut taken = workload();
        take_back(&mut taken, &scale, "e.com/v2", &places).unwrap();
        assert_eq!(
            brief(&taken),
            [
                r#"s Apply e.com/v2 {"f:spec":{"f:size":{"f:wanted":{}}}}"#,
                r#"a Apply e.com/v1 {"f:spec":{"f:color":{}}}"#,
                r#"c Update e.com/v1 {"f:spec":{"f:color":{}}}"#,
                r#"d Update e.com/v9 {"f:spec":{"f:replicas":{}}}"#,
            ]
        );
        let scaler = &taken["metadata"]["managedFields"][0];
        assert!(scaler["subresource"] == "scale" && scaler.get("time").is_none(), "{scaler}");
        assert_eq!(take_back(&mut taken, &scale, "e.com/v3", &places).unwrap_err().code, 500);
    }
}
