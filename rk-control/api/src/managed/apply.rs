//! Server-side apply.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Request;
use super::entry::{self, Id, Managers, Owned};
use super::last_applied;
use super::merge::merge;
use super::set::FieldSet;
use super::typed::mistyped;
use super::update::{blank, disown, forget, not_tracked, nothing, take_over};
use super::versions::{Changes, Spoken};
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
/// 409 with one cause per conflicting field unless forced, 400 for a `config` that carries `managedFields`, 500 as upstream
/// for list elements without keys or with equal ones, and what [`super::Versions::convert`] refuses.
pub fn apply(live: Option<&Value>, config: &Value, request: &Request<'_>) -> Result<Value, Status> {
    refuse_owners(config)?;
    let (mut before, mut managers) = match live {
        Some(live) => (live.clone(), stored_managers(live, request)?),
        None => (blank(config, request.schema), Managers::new()),
    };
    forget(&mut before);
    let mut fields = owned(config, request.schema).map_err(|why| malformed(config, &why))?;
    fields.subtract_below(not_tracked(request));
    let id = Id::new(true, request.manager, request.api_version, request.subresource);
    let mut last = managers.remove(&id).unwrap_or_else(|| nothing(request.api_version));
    disown(&mut last.fields);
    managers.insert(id.clone(), Owned { api_version: request.api_version.to_owned(), fields, time: last.time });

    let merged = merge(&before, config, request.schema);
    let mut result = prune(&merged, &managers, &last, request)?;
    let changes = Changes::between(&before, &result, &managers, request)?;
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
        // Fields that are owned anew, but have the values they had, are no news (kube-apiserver v1.36).
        if result != before {
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
        let mut owned = nothing(request.api_version);
        owned.fields = all.changed;
        disown(&mut owned.fields);
        owned.time = Some(request.now);
        if !owned.fields.is_empty() {
            managers.insert(Id::new(false, BEFORE_FIRST_APPLY, request.api_version, request.subresource), owned);
        }
    }
    Ok(managers)
}

/// Whether an applied configuration, as the client gave it, can be one of its kind at all.
///
/// # Errors
/// 400 for one that carries `managedFields`, 500 as upstream for one that is not of its type ([`mistyped`]).
pub fn check(config: &Value, schema: &Schema) -> Result<(), Status> {
    if at(config, &["metadata", "managedFields"]).is_array() {
        refuse_owners(config)?;
    }
    mistyped(config, schema).map_or(Ok(()), |why| Err(malformed(config, &why)))
}

/// Who applies says nothing of owners.
fn refuse_owners(config: &Value) -> Result<(), Status> {
    if at(config, &["metadata", "managedFields"]).is_null() {
        return Ok(());
    }
    Err(Status::bad_request("metadata.managedFields must be nil"))
}

fn malformed(config: &Value, why: &str) -> Status {
    let (api_version, kind) = (text(config, &["apiVersion"]), text(config, &["kind"]));
    let place = format!("{}/{}; {api_version}, Kind={kind}", namespace(config), name(config));
    Status::new(Reason::Unknown, format!("failed to create typed patch object ({place}): {why}"))
}

/// Removes what this manager owned, no longer applies, and nobody else owns. `last` is what it owned, in the version in which it applied that;
/// when this version is no more, all stays.
fn prune(merged: &Value, managers: &Managers, last: &Owned, request: &Request<'_>) -> Result<Value, Status> {
    let whole = Spoken::own(merged, request);
    let Some(before) = whole.to(&last.api_version, request)?.filter(|_| !last.fields.is_empty()) else {
        return Ok(merged.clone());
    };
    // First everything that was owned goes; then what any manager owns comes back; then what nobody ever owned but lay below.
    let mut owned = before.named(last.fields.clone());
    // But for what names the object: a webhook may be asked for what is left of it, and must know whose it is.
    disown(&mut owned);
    let mut gone = before.paths();
    gone.subtract(&left(&whole, &before, &owned, (managers, last.api_version.as_str()), request)?);
    let gone = gone.intersection(&owned);
    if gone.is_empty() {
        return Ok(merged.clone());
    }
    let pruned = before.without(&gone);
    if last.api_version == request.api_version {
        return Ok(pruned.object.into_owned());
    }
    let (Some(before), Some(pruned)) =
        (before.to(request.api_version, request)?, pruned.to(request.api_version, request)?)
    else {
        return Ok(merged.clone());
    };
    let mut changes = compare(&before.object, &pruned.object, request.schema);
    if !changes.changed.is_empty() {
        return Ok(pruned.object.into_owned());
    }
    // What the other version knows nothing of stays.
    let own = owned_by_version(managers).remove(request.api_version).unwrap_or_default();
    changes.removed.subtract(&whole.named(own));
    Ok(whole.without(&changes.removed).object.into_owned())
}

/// What managers own, by the versions in which they do.
fn owned_by_version(managers: &Managers) -> BTreeMap<&str, FieldSet> {
    let mut all: BTreeMap<&str, FieldSet> = BTreeMap::new();
    for owned in managers.values() {
        all.entry(&owned.api_version).or_default().absorb(owned.fields.clone());
    }
    all
}

/// The paths of `before`, which is the whole object in a version, that are left when those of `owned` go and what the managers own comes back.
/// Each version gives back by itself: one that knows less of the object would take away what another one gave.
fn left(
    whole: &Spoken<'_>,
    before: &Spoken<'_>,
    owned: &FieldSet,
    (managers, api_version): (&Managers, &str),
    request: &Request<'_>,
) -> Result<FieldSet, Status> {
    let mut kept = owned_by_version(managers);
    // In its own version first, since others may be made of what comes back in that.
    let own = kept.remove(api_version).unwrap_or_default();
    let rest = give_back(before, &before.without(owned), own);
    let mut left = rest.paths();
    for (version, fields) in kept {
        let (Some(there), Some(rest)) = (whole.to(version, request)?, rest.to(version, request)?) else { continue };
        if let Some(rest) = give_back(&there, &rest, fields).to(api_version, request)? {
            left.absorb(rest.paths());
        }
    }
    Ok(left)
}

/// `rest` of an object with the paths of a set of the `whole` one.
fn give_back(whole: &Spoken<'_>, rest: &Spoken<'_>, fields: FieldSet) -> Spoken<'static> {
    let mut keep = whole.named(fields);
    keep.absorb(rest.paths());
    let mut unwanted = whole.paths();
    unwanted.subtract(&keep);
    whole.without(&unwanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_that_is_none_of_its_kind_is_told_by_its_own_names() {
        let schema = Schema::named("core/v1.ConfigMap").unwrap();
        let mut config =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
        assert!(check(&config, &schema).is_ok());
        config["data"]["a"] = json!(1);
        let refused = check(&config, &schema).unwrap_err();
        assert_eq!((refused.code, refused.reason), (500, Reason::Unknown));
        assert_eq!(
            refused.message,
            "failed to create typed patch object (/c; v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:1}"
        );
        config["metadata"]["managedFields"] = json!([{"stray": 1}]);
        assert_eq!(check(&config, &schema).unwrap_err().message, "metadata.managedFields must be nil");
    }
}
