//! Putting rows and documents of custom kinds in and out of service.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rk_api::meta;
use rk_api::resources::{GroupVersion, Registry, Resource, Verbs};
use serde_json::Value;

use crate::server::Core;

/// What is served now, by the name of the definition.
#[derive(Default)]
pub struct Served(Mutex<HashMap<String, Entry>>);

struct Entry {
    /// What the rows were made of.
    spec: Value,
    deleting: bool,
    rows: Vec<Resource>,
}

/// Serves exactly these definitions; caches of those that changed or went are ended.
pub(super) fn publish(core: &Core, definitions: &[&Value]) {
    let mut served = core.custom.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut before = std::mem::take(&mut *served);
    let mut changed = false;
    // Rows whose objects are to be read anew. A deletion mark alone leaves their watches alone.
    let mut ended: Vec<Resource> = Vec::new();
    for definition in definitions {
        let name = meta::name(definition).to_owned();
        let (spec, deleting) = (meta::at(definition, &["spec"]), meta::is_deleting(definition));
        let entry = match before.remove(&name) {
            Some(entry) if entry.spec == *spec && entry.deleting == deleting => entry,
            other => {
                changed = true;
                let mut rows = rk_api::custom::rows(definition);
                match other {
                    Some(entry) if entry.spec == *spec => keep_form(&mut rows, &entry.rows),
                    other => ended.extend(other.into_iter().flat_map(|entry| entry.rows)),
                }
                Entry { spec: spec.clone(), deleting, rows }
            }
        };
        served.insert(name, entry);
    }
    changed |= !before.is_empty();
    ended.extend(before.into_values().flat_map(|entry| entry.rows));
    if !changed {
        return;
    }
    let mut registry = Registry::builtin();
    let own = registry.group_versions().to_vec();
    let mut names: Vec<&String> = served.keys().collect();
    names.sort();
    for row in names.iter().filter_map(|name| served.get(*name)).flat_map(|entry| &entry.rows) {
        registry.insert(unshadowing(row, &own));
    }
    core.discovery.openapi.publish(&registry);
    core.set_registry(registry);
    // After the table: who loads a cache anew must find the new row.
    for row in ended.iter().filter(|row| row.is_hub()) {
        core.storage.forget(row);
    }
}

/// A row as it is served beside the server's `own` versions of groups: their paths lead to nothing but built-in kinds, as upstream's do.
fn unshadowing(row: &Resource, own: &[GroupVersion]) -> Resource {
    let mut row = row.clone();
    if own.iter().any(|own| own.group == row.gvk.group && own.version == row.gvk.version) {
        row.verbs = Verbs::NONE;
    }
    row
}

/// Has rows say the same of their objects as those before did, which caches are told apart by.
fn keep_form(rows: &mut [Resource], before: &[Resource]) {
    for row in rows {
        if let Some(known) = before.iter().find(|known| known.gvk == row.gvk) {
            row.custom = known.custom.clone();
        }
    }
}
