//! The objects of a definition that is being deleted.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{Reason, Status};
use rk_store::{Expect, StoreError};
use serde_json::Value;

use crate::front_door::remove;
use crate::server::Core;
use crate::storage::{Cached, store_status};

/// Deletes every object of a definition; tells whether none is left.
pub(super) async fn delete_all(core: &Arc<Core>, definition: &Value) -> Result<bool, Status> {
    let (group, plural) =
        (meta::text(definition, &["spec", "group"]), meta::text(definition, &["spec", "names", "plural"]));
    let registry = core.registry();
    // What a definition shares only a name with, a built-in kind, keeps its objects.
    let versions = meta::at(definition, &["spec", "versions"]).as_array().into_iter().flatten();
    let known = versions.filter_map(|version| registry.known(group, meta::text(version, &["name"]), plural));
    let own: Vec<&Arc<Resource>> = known.filter(|row| row.custom.is_some()).collect();
    let Some(resource) = own.iter().find(|row| row.is_served()).or_else(|| own.first()).copied() else {
        // Never served: there is nothing that could be deleted by it.
        return Ok(true);
    };
    let hub: Arc<Resource> = registry.hub(resource).cloned().unwrap_or_else(|| Arc::clone(resource));
    for object in &core.storage.all_cached(&hub, "").await? {
        let outcome = match resource.is_served() {
            true => remove(core, resource, &object.namespace, &object.name).await,
            false => erase(core, &hub, object).await,
        };
        match outcome {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    Ok(core.storage.all_cached(&hub, "").await?.is_empty())
}

/// Deletes an object that no request can name, unless it waits for somebody.
async fn erase(core: &Core, hub: &Resource, object: &Cached) -> Result<(), Status> {
    let value = object.value();
    let waits_for = meta::at(&value, &["metadata", "finalizers"]).as_array();
    if waits_for.is_some_and(|finalizers| !finalizers.is_empty()) {
        return Ok(());
    }
    match core.storage.delete(hub, &object.namespace, &object.name, Expect::At(object.revision)).await {
        // Of one that was changed meanwhile the next turn knows more.
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(store_status(&error)),
    }
}
