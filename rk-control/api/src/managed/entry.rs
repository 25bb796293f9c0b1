//! `metadata.managedFields`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Request;
use super::set::FieldSet;
use crate::Object;
use crate::meta::{at, format_time, parse_time, text};

/// Updating managers beyond this many are merged into one, the oldest first.
const MAX_UPDATERS: usize = 10;
/// The one into which they are merged.
const ANCIENT: &str = "ancient-changes";

/// Who an entry belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    /// Whether the manager applies; else it updates.
    pub applies: bool,
    pub manager: String,
    /// Of updaters only: an applier has one entry whatever its version.
    pub api_version: String,
    pub subresource: String,
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owned {
    pub api_version: String,
    pub fields: FieldSet,
    pub time: Option<Timestamp>,
}

/// All managers of an object.
pub(super) type Managers = BTreeMap<Id, Owned>;

impl Id {
    pub(super) fn new(applies: bool, manager: &str, api_version: &str, subresource: &str) -> Self {
        let api_version = if applies { String::new() } else { api_version.to_owned() };
        Id { applies, manager: manager.to_owned(), api_version, subresource: subresource.to_owned() }
    }

    /// As messages name a manager.
    pub(super) fn describe(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }

    /// What messages sort managers by: the entry as JSON, without what is owned and since when.
    pub(super) fn sort_key(&self) -> String {
        let operation = if self.applies { "Apply" } else { "Update" };
        let mut out = format!("{{\"manager\":{},\"operation\":\"{operation}\"", json!(self.manager));
        for (key, value) in [("apiVersion", &self.api_version), ("subresource", &self.subresource)] {
            if !value.is_empty() {
                out.push_str(&format!(",\"{key}\":{}", json!(value)));
            }
        }
        out.push('}');
        out
    }
}

/// Reads the list.
///
/// # Errors
/// What is wrong with the first entry that is malformed, in upstream's words.
pub(super) fn read(list: &Value) -> Result<Managers, String> {
    let mut managers = Managers::new();
    for (place, entry) in list.as_array().into_iter().flatten().enumerate() {
        let applies = match text(entry, &["operation"]) {
            "Apply" => true,
            "Update" => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text(entry, &["apiVersion"]);
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text(entry, &["fieldsType"]) {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {place}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {place}")),
        }
        let fields = match at(entry, &["fieldsV1"]) {
            Value::Null => FieldSet::default(),
            fields => FieldSet::parse(fields)
                .ok_or_else(|| format!("error decoding versioned set of managed fields entry {place}"))?,
        };
        let id = Id::new(applies, text(entry, &["manager"]), api_version, text(entry, &["subresource"]));
        let time = parse_time(text(entry, &["time"]));
        let owned = Owned { api_version: api_version.to_owned(), fields, time };
        // Of several entries of one manager the last counts.
        managers.insert(id, owned);
    }
    Ok(managers)
}

/// Writes the list: appliers first, then by time and name.
fn write(managers: Managers) -> Value {
    let mut entries: Vec<(Id, Owned)> = managers.into_iter().collect();
    let seconds = |owned: &Owned| owned.time.map_or(i64::MIN, Timestamp::as_second);
    entries.sort_by(|(a, x), (b, y)| {
        (!a.applies, seconds(x), &a.manager, &x.api_version, &a.subresource).cmp(&(
            !b.applies,
            seconds(y),
            &b.manager,
            &y.api_version,
            &b.subresource,
        ))
    });
    entries.into_iter().map(|(id, owned)| entry(id, owned)).collect()
}

fn entry(id: Id, owned: Owned) -> Value {
    let operation = if id.applies { "Apply" } else { "Update" };
    let time = owned.time.map(format_time);
    let texts = [
        ("manager", Some(id.manager).filter(|name| !name.is_empty())),
        ("operation", Some(operation.to_owned())),
        ("apiVersion", Some(owned.api_version)),
        ("fieldsType", Some("FieldsV1".to_owned())),
        ("time", time),
        ("subresource", Some(id.subresource).filter(|own| !own.is_empty())),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?))));
    let fields = ("fieldsV1".to_owned(), owned.fields.into_value());
    Value::Object(texts.chain([fields]).collect())
}

/// Puts in the list of an object that has one manager, an updater who owns `fields`.
pub(super) fn store_first(object: &mut Value, request: &Request<'_>, fields: Object) {
    let id = Id::new(false, request.manager, request.api_version, request.subresource);
    let owned =
        Owned { api_version: request.api_version.to_owned(), fields: FieldSet::default(), time: Some(request.now) };
    let mut first = entry(id, owned);
    first["fieldsV1"] = Value::Object(fields);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".into(), Value::Array(vec![first]));
    }
}

/// Puts the list into an object, or removes it when nobody owns anything.
pub(super) fn store(object: &mut Value, managers: Managers) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if managers.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), write(managers));
    }
}

/// Merges the oldest updaters of each version into one until there are not too many.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<(Option<Timestamp>, Id)> =
        managers.iter().filter(|(id, _)| !id.applies).map(|(id, owned)| (owned.time, id.clone())).collect();
    let mut left = updaters.len();
    if left <= MAX_UPDATERS {
        return;
    }
    updaters.sort();
    // The oldest of a version stays by itself until a second one is merged with it.
    let mut oldest: BTreeMap<String, Id> = BTreeMap::new();
    for (_, id) in updaters {
        if left <= MAX_UPDATERS {
            return;
        }
        let bucket = Id::new(false, ANCIENT, &id.api_version, "");
        let first = oldest.entry(id.api_version.clone()).or_insert_with(|| id.clone());
        if *first == id || id == bucket {
            continue;
        }
        if !managers.contains_key(&bucket)
            && let Some(owned) = managers.remove(&*first)
        {
            managers.insert(bucket.clone(), owned);
        }
        if let Some(owned) = managers.remove(&id)
            && let Some(into) = managers.get_mut(&bucket)
        {
            into.fields.absorb(owned.fields);
            into.time = into.time.max(owned.time);
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_entries_of_a_manager_the_last_counts_and_one_without_a_name_stays_so() {
        let entry = |field: &str| json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {field: {}}});
        let managers = read(&json!([entry("f:a"), entry("f:b")])).unwrap();
        let mut object = json!({"metadata": {}});
        store(&mut object, managers);
        assert_eq!(object, json!({"metadata": {"managedFields": [entry("f:b")]}}));
    }
}
