//! Ownership after a create, an update or a patch that is not an apply.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::Request;
use super::conflict::Conflicts;
use super::created;
use super::entry::{self, Id, Managers, Owned};
use super::set::FieldSet;
use super::versions::Changes;
use crate::Object;
use crate::decode::{Form, fit};
use crate::meta::{at, uid};
use crate::schema::Schema;

/// Metadata that nobody owns: the server writes it, or it names the object.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut unowned = FieldSet::of_fields(&[&["apiVersion"], &["kind"], &["metadata"]]);
    for name in UNOWNED_METADATA {
        unowned.absorb(FieldSet::of_fields(&[&["metadata", name]]));
    }
    unowned
});

/// The members of it.
pub(super) const UNOWNED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// What requests to the main resource cannot change.
static STATUS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&[&["status"]]));
static NOTHING: LazyLock<FieldSet> = LazyLock::new(FieldSet::default);
/// What requests to the status cannot change, whatever the kind.
pub static SPEC: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&[&["spec"]]));

/// Records who changed what between `old` (`None`: create) and `new` after a POST, PUT or other patch: rewrites
/// `new.metadata.managedFields` in place. Call it after defaulting and before admission: what that adds nobody owns, so that an author
/// who applies anew what a former request said does not take it away. Both objects are in canonical form.
///
/// Nobody owns anything afterwards when an object cannot be had in the version of an owner, nor when nobody did of one that was there: its
/// owners are counted from the first time on that it is applied (kube-apiserver v1.36).
pub fn update(old: Option<&Value>, new: &mut Value, request: &Request<'_>) {
    // Ownership itself is a matter of the main resource.
    let sent = Some(take_list(new)).filter(|_| request.subresource.is_empty()).unwrap_or_default();
    let stored = old.map_or(&Value::Null, list);
    let untouched = sent.is_null() || sent == *stored;
    if untouched && !stored.is_null() && old.is_some_and(|old| same_content(old, new)) {
        put_list(new, if sent.is_null() { stored.clone() } else { sent });
        return;
    }
    let mut managers = starting_managers(&sent, stored);
    if managers.is_empty() && old.is_some_and(|old| !uid(old).is_empty()) {
        return;
    }
    let blank = old.is_none().then(|| blank(new, request.schema));
    if let (Some(blank), true) = (&blank, managers.is_empty()) {
        let fields = created::fields(blank, new, request.schema, untracked(request));
        if !fields.is_empty() {
            entry::store_first(new, request, fields);
        }
        return;
    }
    let before = old.or(blank.as_ref()).unwrap_or(&Value::Null);
    let Ok(changes) = Changes::between(before, new, &managers, request) else { return };
    // A Scale has the owners of its workload's replicas, and gets none if it had none; that it wants nothing it does not say, so that nobody
    // owns it; and when it was written is not kept.
    let scaled = request.subresource == "scale";
    let held =
        managers.values().any(|owned| changes.of(&owned.api_version).is_some_and(|seen| meets(owned, &seen.changed)));
    take_over(&mut managers, &changes, None, true);
    let mut gained = changes.into_own(request);
    disown(&mut gained);
    if !gained.is_empty() && (!scaled || held && !is_nought(&gained, new)) {
        let id = Id::new(false, request.manager, request.api_version, request.subresource);
        let owned = managers.entry(id).or_insert_with(|| nothing(request.api_version));
        owned.fields.absorb(gained);
        owned.time = (!scaled).then_some(request.now);
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    entry::cap(&mut managers);
    entry::store(new, managers);
}

/// Whether somebody owns any of these fields.
fn meets(owned: &Owned, fields: &FieldSet) -> bool {
    !owned.fields.intersection(fields).is_empty()
}

/// Whether all that these fields say is zero.
fn is_nought(fields: &FieldSet, object: &Value) -> bool {
    let value = |path: &str| at(object, &path.split('.').skip(1).collect::<Vec<_>>()).as_i64();
    fields.paths().iter().all(|path| value(path) == Some(0))
}

/// Gives an object the owners of another, which loses them.
pub fn hand_over(from: &mut Value, to: &mut Value) {
    let list = take_list(from);
    take_list(to);
    if !list.is_null() {
        put_list(to, list);
    }
}

/// Takes its owners from an object.
pub fn disown_all(object: &mut Value) {
    take_list(object);
}

/// Puts the list `before` in the place of one that cannot be read, and answers what is wrong with that.
pub fn mend(object: &mut Value, before: Value) -> Option<String> {
    let wrong = entry::read(list(object)).err()?;
    take_list(object);
    if !before.is_null() {
        put_list(object, before);
    }
    Some(wrong)
}

/// Whether a change is none: two objects differ in nothing but their version and the times of their owners. An owner is counted before
/// admission has its say, which may undo what it did.
pub fn is_unchanged(old: &Value, new: &Value) -> bool {
    let entries = |object| list(object).as_array().map(Vec::as_slice).unwrap_or_default();
    let (before, after) = (entries(old), entries(new));
    before.len() == after.len() && before.iter().zip(after).all(|(a, b)| same_entry(a, b)) && same_content(old, new)
}

fn same_entry(old: &Value, new: &Value) -> bool {
    match (old.as_object(), new.as_object()) {
        (Some(old), Some(new)) => same_but_for(old, new, &["time"]),
        _ => old == new,
    }
}

/// The ownership that an object carries.
fn list(object: &Value) -> &Value {
    at(object, &["metadata", "managedFields"])
}

fn take_list(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|m| m.remove("managedFields")).unwrap_or_default()
}

fn put_list(object: &mut Value, list: Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".into(), list);
    }
}

/// Whether two objects differ in nothing but their ownership and version.
fn same_content(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().all(|(key, value)| match (key.as_str(), new.get(key)) {
            ("metadata", Some(Value::Object(metadata))) => {
                value.as_object().is_some_and(|old| same_but_for(old, metadata, &["managedFields", "resourceVersion"]))
            }
            (_, other) => other == Some(value),
        })
}

/// Whether two objects have the same members, whatever those of these names are.
fn same_but_for(old: &Object, new: &Object, names: &[&str]) -> bool {
    let counts = |key: &str| !names.contains(&key);
    let within = |a: &Object, b: &Object| a.iter().all(|(key, value)| !counts(key) || b.get(key) == Some(value));
    within(old, new) && within(new, old)
}

pub(super) fn nothing(api_version: &str) -> Owned {
    Owned { api_version: api_version.to_owned(), fields: FieldSet::default(), time: None }
}

/// Drops what nobody owns.
pub(super) fn disown(set: &mut FieldSet) {
    set.subtract(&UNOWNED);
}

/// What a client sent as `managedFields` counts when it is valid; `[{}]` resets it; otherwise the stored one stays.
fn starting_managers(sent: &Value, stored: &Value) -> Managers {
    if *sent == json!([{}]) {
        return Managers::new();
    }
    let read = |list| entry::read(list).ok();
    read(sent).filter(|m| !m.is_empty()).unwrap_or_else(|| read(stored).unwrap_or_default())
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
    take_list(object);
}

/// What requests of this kind cannot change: a status that has a subresource, but through that, and through that the spec, and what
/// of the metadata the kind keeps.
pub(super) fn not_tracked<'a>(request: &Request<'a>) -> &'a FieldSet {
    match untracked(request) {
        Some("status") => &STATUS,
        Some(_) => request.status_resets,
        None => &NOTHING,
    }
}

/// The member of the object that is so, besides metadata.
pub(super) fn untracked(request: &Request<'_>) -> Option<&'static str> {
    match request.subresource {
        "" => request.has_status.then_some("status"),
        "status" => Some("spec"),
        _ => None,
    }
}

/// Takes changed fields from every manager but `applier`, and all from those whose version is no more. Without `force` nothing is taken when
/// fields conflict; the conflicts are returned.
pub(super) fn take_over(managers: &mut Managers, changes: &Changes, applier: Option<&Id>, force: bool) -> Conflicts {
    managers.retain(|id, owned| Some(id) == applier || changes.of(&owned.api_version).is_some());
    let mut conflicts = Conflicts::default();
    for (id, owned) in managers.iter().filter(|(id, _)| Some(*id) != applier) {
        let taken = changes.of(&owned.api_version).map(|seen| owned.fields.intersection(&seen.changed));
        if let Some(taken) = taken.filter(|taken| !taken.is_empty()) {
            conflicts.0.push((id.clone(), taken));
        }
    }
    if !force && !conflicts.is_empty() {
        return conflicts;
    }
    for (id, taken) in &conflicts.0 {
        if let Some(owned) = managers.get_mut(id) {
            owned.fields.subtract(taken);
        }
    }
    for (_, owned) in managers.iter_mut().filter(|(id, _)| Some(*id) != applier) {
        if let Some(seen) = changes.of(&owned.api_version) {
            owned.fields.subtract(&seen.removed);
        }
    }
    managers.retain(|_, owned| !owned.fields.is_empty());
    Conflicts::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managed::OneVersion;

    /// What `m` asks of the main resource, at the beginning of time.
    fn request<'a>(schema: &'a Schema, api_version: &'a str, has_status: bool) -> Request<'a> {
        Request {
            schema,
            manager: "m",
            api_version,
            subresource: "",
            force: false,
            now: jiff::Timestamp::UNIX_EPOCH,
            has_status,
            status_resets: &SPEC,
            versions: &OneVersion,
        }
    }

    #[test]
    fn who_scales_owns_replicas_without_a_time_if_somebody_did_and_there_are_some() {
        let schema = Schema::named("apps/v1.Deployment").unwrap();
        let request = request(&schema, "apps/v1", true);
        let of = |replicas: i32| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "uid": "u"}, "spec": {"replicas": replicas}});
        let mut made = of(1);
        made["spec"]["paused"] = json!(true);
        update(None, &mut made, &request);
        for (replicas, entries) in [(3, 2), (0, 1)] {
            let mut scaled = made.clone();
            scaled["spec"]["replicas"] = json!(replicas);
            update(Some(&made), &mut scaled, &Request { manager: "s", subresource: "scale", ..request });
            let list = list(&scaled).as_array().unwrap();
            assert_eq!(list.len(), entries, "{scaled}");
            let own: Vec<&Value> = list.iter().filter(|entry| entry["manager"] == "s").collect();
            assert!(own.iter().all(|entry| entry.get("time").is_none()), "{scaled}");
            assert!(
                list.iter().all(|entry| entry["manager"] == "s" || entry["fieldsV1"]["f:spec"]["f:replicas"].is_null())
            );
        }
        let mut made = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "uid": "u"}, "spec": {"paused": true}});
        update(None, &mut made, &request);
        let mut scaled = made.clone();
        scaled["spec"]["replicas"] = json!(3);
        update(Some(&made), &mut scaled, &Request { manager: "s", subresource: "scale", ..request });
        assert_eq!(list(&scaled), list(&made));
    }

    #[test]
    fn an_object_without_owners_stays_without_until_it_is_applied() {
        let schema = Schema::named("core/v1.ConfigMap").unwrap();
        let request = request(&schema, "v1", false);
        let map = |data: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"k": data}});
        let mut changed = map("2");
        update(Some(&map("1")), &mut changed, &request);
        assert_eq!(changed, map("2"));
        let mut made = map("1");
        update(None, &mut made, &request);
        let mut reset = map("2");
        reset["metadata"]["managedFields"] = json!([{}]);
        update(Some(&made), &mut reset, &request);
        assert_eq!(reset, map("2"));
        let applied = crate::managed::apply(Some(&reset), &map("2"), &request).unwrap();
        let managers: Vec<&Value> =
            list(&applied).as_array().unwrap().iter().map(|entry| at(entry, &["manager"])).collect();
        assert!(managers.len() == 2 && managers.contains(&&json!("before-first-apply")), "{applied}");
    }
}
