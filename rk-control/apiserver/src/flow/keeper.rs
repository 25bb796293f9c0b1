//! The loop over FlowSchemas and priority levels; level-triggered, one in every server.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::dangling::with_condition;
use super::defaults;
use super::matching::Table;
use crate::front_door::write;
use crate::health::Hook;
use crate::keeper::keep;
use crate::server::Core;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// How often everything is compared without a reason.
const PERIOD: Duration = Duration::from_secs(600);
/// Objects written at once; they share the store's commits.
const AT_ONCE: usize = 32;
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "FlowSchemas and priority levels could not be compared", turn).await;
}

/// Compares everything, then waits for a change.
async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut schemas = core.cache(GROUP, "v1", SCHEMAS).await?.subscribe();
    let mut levels = core.cache(GROUP, "v1", LEVELS).await?.subscribe();
    for changes in [&mut schemas, &mut levels] {
        changes.borrow_and_update();
    }
    let mut writes = Vec::new();
    for (plural, wanted) in defaults::objects() {
        let core = Arc::clone(core);
        writes.push(async move { maintain(&core, plural, wanted).await });
    }
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    judge(core).await?;
    core.health.finish(Hook::FlowSchemas);
    tokio::select! {
        _ = schemas.changed() => {}
        _ = levels.changed() => {}
        () = tokio::time::sleep(PERIOD) => {}
    }
    Ok(())
}

/// Makes an object that is missing, and puts right the spec of one that is not its owner's business.
async fn maintain(core: &Arc<Core>, plural: &'static str, wanted: Value) -> Result<(), Status> {
    let resource = core.resource(GROUP, "v1", plural)?;
    let done = match core.object(GROUP, "v1", plural, "", meta::name(&wanted)).await? {
        None => write(core, Method::POST, &resource, "", &wanted).await,
        Some(present) if defaults::is_kept(&present) => {
            let spec = defaults::right_spec(&present, &wanted);
            if present["spec"] == spec {
                return Ok(());
            }
            let mut right = present;
            right["spec"] = spec;
            write(core, Method::PUT, &resource, "", &right).await
        }
        Some(_) => Ok(()),
    };
    unless_overtaken(done)
}

/// Matches requests with what there is from now on, and says of every schema whether it leads anywhere.
async fn judge(core: &Arc<Core>) -> Result<(), Status> {
    let resource = core.resource(GROUP, "v1", SCHEMAS)?;
    let levels = core.objects(GROUP, "v1", LEVELS, "").await?;
    let schemas = core.objects(GROUP, "v1", SCHEMAS, "").await?;
    core.flows.publish(Table::new(&schemas, &levels));
    let mut writes = Vec::new();
    for schema in schemas {
        let level = meta::text(&schema, &["spec", "priorityLevelConfiguration", "name"]);
        let exists = levels.iter().any(|own| meta::name(own) == level);
        let Some(changed) = with_condition(&schema, exists, jiff::Timestamp::now()) else { continue };
        let (core, resource) = (Arc::clone(core), resource.clone());
        writes.push(async move { unless_overtaken(write(&core, Method::PUT, &resource, "status", &changed).await) });
    }
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
}

/// Somebody else was faster: the next turn sees what they wrote.
fn unless_overtaken(done: Result<(), Status>) -> Result<(), Status> {
    match done {
        Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound | Reason::AlreadyExists) => Ok(()),
        other => other,
    }
}
