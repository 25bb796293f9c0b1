//! The loop over CustomResourceDefinitions; level-triggered, one in every server.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rk_api::meta;
use rk_api::resources::Registry;
use rk_api::status::{Reason, Status};
use serde_json::{Value, json};

use super::conditions::{FINALIZER, served, with_status};
use super::{api_services, instances, publish};
use crate::front_door::write;
use crate::keeper::keep;
use crate::server::Core;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// How often definitions whose objects hold on are looked at again.
const WAITING: Duration = Duration::from_millis(500);
/// How often everything is compared without a reason.
const PERIOD: Duration = Duration::from_secs(300);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "custom resource definitions could not be served", turn).await;
}

/// Compares everything, then waits for a change.
async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut changes = core.cache(GROUP, "v1", PLURAL).await?.subscribe();
    changes.borrow_and_update();
    let waiting = sync(core).await?;
    tokio::select! {
        _ = changes.changed() => {}
        () = tokio::time::sleep(if waiting { WAITING } else { PERIOD }) => {}
    }
    Ok(())
}

/// Serves what is defined and records that in its status; answers whether a deletion waits for objects.
///
/// # Errors
/// The store cannot be read, or a status could not be written.
pub async fn sync(core: &Arc<Core>) -> Result<bool, Status> {
    let builtin = Registry::builtin();
    let resource = core.resource(GROUP, "v1", PLURAL)?;
    let mut all = core.objects(GROUP, "v1", PLURAL, "").await?;
    // Who asked first has a name.
    all.sort_by_key(|definition| meta::text(definition, &["metadata", "creationTimestamp"]).to_owned());
    publish::publish(core, &served(&all, &builtin));
    api_services::sync(core, &builtin).await?;
    let mut waiting = false;
    for index in 0..all.len() {
        let Some(definition) = all.get(index).cloned() else { continue };
        let outcome = step(core, &resource, &definition, &mut all, &builtin).await;
        match outcome {
            // Somebody else wrote it: the next turn sees that.
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => waiting = true,
            // One that cannot be written must not keep the others from being served.
            Err(status) => {
                let name = meta::name(&definition);
                tracing::warn!(definition = name, "its state is not written: {}", status.message);
                waiting = true;
            }
            Ok(holds) => waiting |= holds,
        }
    }
    Ok(waiting)
}

/// Takes a definition one step further. What it is told is in `all` for those who come after it: two may not get one name in one turn.
async fn step(
    core: &Arc<Core>,
    resource: &rk_api::resources::Resource,
    definition: &Value,
    all: &mut [Value],
    builtin: &Registry,
) -> Result<bool, Status> {
    if let Some(changed) = with_status(definition, all, builtin, jiff::Timestamp::now()) {
        write(core, Method::PUT, resource, "status", &changed).await?;
        if let Some(own) = all.iter_mut().find(|own| meta::name(own) == meta::name(definition)) {
            *own = changed;
        }
        return Ok(true);
    }
    let finalizers = meta::at(definition, &["metadata", "finalizers"]).as_array().cloned().unwrap_or_default();
    if !meta::is_deleting(definition) || !finalizers.iter().any(|name| name == FINALIZER) {
        return Ok(false);
    }
    if !instances::delete_all(core, definition).await? {
        return Ok(true);
    }
    let mut changed = definition.clone();
    changed["metadata"]["finalizers"] = finalizers.into_iter().filter(|name| *name != json!(FINALIZER)).collect();
    write(core, Method::PUT, resource, "", &changed).await?;
    Ok(false)
}
