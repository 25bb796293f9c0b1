//! Server-side apply.

use serde_json::Value;

use super::Request;
use super::entry::{self, Id, Managers, Owned};
use super::last_applied;
use super::merge::{merge, remove};
use super::set::FieldSet;
use super::update::{blank, disown, forget, not_tracked, nothing, take_over};
use super::walk::{compare, owned};
use crate::decode::{Form, fit};
use crate::meta::{at, name, namespace, text};
use crate::schema::Schema;
use crate::status::{Reason, Status};

/// The manager to which fields fall that were there before anyone's ownership was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Server-side apply: merges `config` (fitted as [`crate::decode::Form::AsGiven`], with apiVersion and kind) into `live` (`None`:
/// create; canonical form) and returns the new object with its `managedFields`. Fields that this manager applied before, that
/// `config` leaves out and nobody else owns are removed. The result is in canonical form; the caller defaults it and goes on as
/// with an update, but without [`super::update`].
///
/// # Errors
/// 409 with one cause per conflicting field unless forced, 400 for a `config` that carries `managedFields`, and 500 as upstream
/// for list elements without keys or with equal ones.
pub fn apply(live: Option<&Value>, config: &Value, request: &Request<'_>) -> Result<Value, Status> {
    if !at(config, &["metadata", "managedFields"]).is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let (mut before, mut managers) = match live {
        Some(live) => (live.clone(), stored_managers(live, request)?),
        None => (blank(config, request.schema), Managers::new()),
    };
    forget(&mut before);
    let mut fields = owned(config, request.schema).map_err(|why| malformed(config, &why))?;
    fields.subtract_below(not_tracked(request));
    let id = Id::new(true, request.manager, request.api_version, request.subresource);
    let (last, time) = managers.remove(&id).map(|o| (o.fields, o.time)).unwrap_or_default();
    managers.insert(id.clone(), Owned { api_version: request.api_version.to_owned(), fields, time });

    let merged = merge(&before, config, request.schema);
    let mut result = prune(&merged, &managers, &last, request.schema);
    let mut changes = compare(&before, &result, request.schema);
    changes.ignore(not_tracked(request));
    let conflicts = take_over(&mut managers, &changes, Some(&id), request.force);
    if !conflicts.is_empty() {
        let conflicts = conflicts.outside(&last_applied::allowed(live, request));
        if !conflicts.is_empty() {
            return Err(conflicts.into_status());
        }
        take_over(&mut managers, &changes, Some(&id), true);
    }
    // Only now: a zero that was applied is a change like any other, although the stored form leaves it out. All parts fit already.
    let _ = fit(&mut result, request.schema, Form::Canonical);
    if let Some(owned) = managers.get_mut(&id) {
        disown(&mut owned.fields);
        if result != before || owned.fields != last {
            owned.time = Some(request.now);
        }
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    last_applied::refresh(&mut result, config, request);
    entry::store(&mut result, managers);
    Ok(result)
}

fn stored_managers(live: &Value, request: &Request<'_>) -> Result<Managers, Status> {
    let list = at(live, &["metadata", "managedFields"]);
    let mut managers = entry::read(list).map_err(|_| Status::internal("the stored managedFields are malformed"))?;
    if managers.is_empty() {
        let mut content = live.clone();
        forget(&mut content);
        let mut all = compare(&blank(&content, request.schema), &content, request.schema);
        all.ignore(not_tracked(request));
        let api_version = text(live, &["apiVersion"]);
        let mut owned = nothing(api_version);
        owned.fields = all.changed;
        disown(&mut owned.fields);
        if !owned.fields.is_empty() {
            managers.insert(Id::new(false, BEFORE_FIRST_APPLY, api_version, ""), owned);
        }
    }
    Ok(managers)
}

/// The answer to an applied configuration with fields that its kind does not have; `paths` name them (`spec.foo`).
#[must_use]
pub fn undeclared(config: &Value, paths: &[String]) -> Status {
    let lines: Vec<String> = paths.iter().map(|path| format!(".{path}: field not declared in schema")).collect();
    match lines.as_slice() {
        [one] => malformed(config, one),
        several => malformed(config, &format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn malformed(config: &Value, why: &str) -> Status {
    let (api_version, kind) = (text(config, &["apiVersion"]), text(config, &["kind"]));
    let place = format!("{}/{}; {api_version}, Kind={kind}", namespace(config), name(config));
    Status::new(Reason::Unknown, format!("failed to create typed patch object ({place}): {why}"))
}

/// Removes what this manager owned, no longer applies, and nobody else owns.
fn prune(merged: &Value, managers: &Managers, last: &FieldSet, schema: &Schema) -> Value {
    if last.is_empty() {
        return merged.clone();
    }
    let named = |mut set: FieldSet| {
        set.add_named_fields(schema);
        set
    };
    let all = |value: &Value| named(owned(value, schema).unwrap_or_default());
    let last = named(last.clone());
    // First everything that was owned goes; then what any manager owns comes back; then what nobody ever owned but lay below.
    let mut keep = FieldSet::default();
    for owned in managers.values() {
        keep.absorb(owned.fields.clone());
    }
    let mut keep = named(keep);
    keep.absorb(all(&remove(merged, &last, schema)));
    let everything = all(merged);
    let mut unwanted = everything.clone();
    unwanted.subtract(&keep);
    let mut gone = everything;
    gone.subtract(&all(&remove(merged, &unwanted, schema)));
    remove(merged, &gone.intersection(&last), schema)
}
