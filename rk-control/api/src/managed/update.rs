//! Ownership after a create, an update or a patch that is not an apply.

use serde_json::{Value, json};

use super::Request;
use super::conflict::Conflicts;
use super::entry::{self, Id, Managers, Owned};
use super::set::FieldSet;
use super::walk::{Comparison, compare};
use crate::decode::{Form, fit};
use crate::meta::at;
use crate::schema::Schema;

/// Metadata that nobody owns: the server writes it, or it names the object.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Records who changed what between `old` (`None`: create) and `new` after a POST, PUT or other patch: rewrites
/// `new.metadata.managedFields` in place. Call it last, after defaulting and admission; both objects are in canonical form.
pub fn update(old: Option<&Value>, new: &mut Value, request: &Request<'_>) {
    let mut managers = starting_managers(old, new);
    let mut after = new.clone();
    forget(&mut after);
    let before = match old {
        Some(old) => {
            let mut before = old.clone();
            forget(&mut before);
            before
        }
        None => blank(&after, request.schema),
    };
    let changes = compare(&before, &after, request.schema).without(&not_tracked(request));
    take_over(&mut managers, &changes, None, true);
    let gained = unowned_removed(changes.added.union(&changes.modified));
    if !gained.is_empty() {
        let id = Id::new(false, request.manager, request.api_version, request.subresource);
        let owned = managers.entry(id).or_insert_with(|| nothing(request.api_version));
        owned.fields = owned.fields.union(&gained);
        owned.time = Some(request.now);
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    entry::cap(&mut managers);
    entry::store(new, &managers);
}

pub(super) fn nothing(api_version: &str) -> Owned {
    Owned { api_version: api_version.to_owned(), fields: FieldSet::default(), time: None }
}

pub(super) fn unowned_removed(set: FieldSet) -> FieldSet {
    set.difference(&FieldSet::of_fields(UNOWNED))
}

/// What a client sent as `managedFields` counts when it is valid; `[{}]` resets it; otherwise the stored one stays.
fn starting_managers(old: Option<&Value>, new: &Value) -> Managers {
    let sent = at(new, &["metadata", "managedFields"]);
    if *sent == json!([{}]) {
        return Managers::new();
    }
    let stored = || old.and_then(|o| entry::read(at(o, &["metadata", "managedFields"]))).unwrap_or_default();
    entry::read(sent).filter(|m| !m.is_empty()).unwrap_or_else(stored)
}

/// The object that a new one is compared with: nothing but what is always written.
pub(super) fn blank(like: &Value, schema: &Schema) -> Value {
    let mut blank = json!({"apiVersion": like.get("apiVersion"), "kind": like.get("kind")});
    // An empty object fits any schema.
    let _ = fit(&mut blank, schema, Form::Canonical);
    blank
}

/// Removes `managedFields`, which is no content.
pub(super) fn forget(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// What requests of this kind cannot change: the status, but through its subresource.
pub(super) fn not_tracked(request: &Request<'_>) -> FieldSet {
    if request.subresource.is_empty() { FieldSet::of_fields(&[&["status"]]) } else { FieldSet::default() }
}

/// Takes changed fields from every manager but `applier`. Without `force` nothing is taken when fields conflict; the conflicts
/// are returned.
pub(super) fn take_over(managers: &mut Managers, changes: &Comparison, applier: Option<&Id>, force: bool) -> Conflicts {
    let changed = changes.added.union(&changes.modified);
    let mut conflicts = Conflicts::default();
    for (id, owned) in managers.iter().filter(|(id, _)| Some(*id) != applier) {
        let taken = owned.fields.intersection(&changed);
        if !taken.is_empty() {
            conflicts.0.push((id.clone(), taken));
        }
    }
    if !force && !conflicts.is_empty() {
        return conflicts;
    }
    for (id, taken) in &conflicts.0 {
        if let Some(owned) = managers.get_mut(id) {
            owned.fields = owned.fields.difference(taken);
        }
    }
    for (_, owned) in managers.iter_mut().filter(|(id, _)| Some(*id) != applier) {
        owned.fields = owned.fields.difference(&changes.removed);
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    Conflicts::default()
}
