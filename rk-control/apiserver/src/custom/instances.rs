//! The objects of a definition that is being deleted.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::front_door::remove;
use crate::server::Core;

/// Deletes every object of a definition; tells whether none is left.
pub(super) async fn delete_all(core: &Arc<Core>, definition: &Value) -> Result<bool, Status> {
    let (group, plural) =
        (meta::text(definition, &["spec", "group"]), meta::text(definition, &["spec", "names", "plural"]));
    let registry = core.registry();
    // What a definition shares only a name with, a built-in kind, keeps its objects.
    let own = |row: &Arc<Resource>| row.custom.is_some() && row.gvk.group == group && row.plural == plural;
    let Some(resource) = registry.iter().find(|row| own(row)) else {
        // Never served: there is nothing that could be deleted by it.
        return Ok(true);
    };
    let hub: Arc<Resource> = registry.hub(resource).cloned().unwrap_or_else(|| Arc::clone(resource));
    for object in &core.storage.all_cached(&hub, "").await? {
        match remove(core, resource, &object.namespace, &object.name).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    Ok(core.storage.all_cached(&hub, "").await?.is_empty())
}
