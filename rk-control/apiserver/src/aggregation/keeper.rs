//! The loop over APIServices that other servers stand behind; level-triggered, one in every server.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::Remote;
use super::check::{judge, remote};
use super::status::with_condition;
use crate::front_door::write;
use crate::health::Hook;
use crate::keeper::keep;
use crate::server::Core;

const GROUP: &str = "apiregistration.k8s.io";
/// How often those that work are asked again; upstream's figure.
const PERIOD: Duration = Duration::from_secs(30);
/// How often those that do not are.
const BROKEN: Duration = Duration::from_secs(1);
/// Servers asked at once: one that hangs is not to keep the verdict on the others.
const AT_ONCE: usize = 16;
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "aggregated APIs could not be judged", turn).await;
}

/// Judges all, then waits for a change of what they depend on.
async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut services = core.cache(GROUP, "v1", "apiservices").await?.subscribe();
    let mut targets = core.cache("", "v1", "services").await?.subscribe();
    let mut endpoints = core.cache("discovery.k8s.io", "v1", "endpointslices").await?.subscribe();
    for changes in [&mut services, &mut targets, &mut endpoints] {
        changes.borrow_and_update();
    }
    let (any, working) = sync(core).await?;
    tokio::select! {
        _ = services.changed() => {}
        _ = targets.changed(), if any => {}
        _ = endpoints.changed(), if any => {}
        () = tokio::time::sleep(if working { PERIOD } else { BROKEN }) => {}
    }
    Ok(())
}

/// Judges all; tells whether there are any, and whether all of them work.
async fn sync(core: &Arc<Core>) -> Result<(bool, bool), Status> {
    let resource = core.resource(GROUP, "v1", "apiservices")?;
    let objects = core.objects(GROUP, "v1", "apiservices", "").await?;
    core.metrics.aggregation.there_are(&objects.iter().map(|object| meta::name(object).to_owned()).collect());
    let known = objects.into_iter().filter_map(|object| remote(&object).map(|remote| (object, remote)));
    let known: Vec<(Value, Remote)> = known.collect();
    if core.aggregated.announce(known.iter().map(|(_, remote)| remote)) {
        core.discovery.invalidate();
    }
    // That they are known is the work of the start; whether they answer is not this server's health.
    core.health.finish(Hook::Aggregation);
    let mut verdicts = Vec::new();
    for (object, remote) in known {
        let (core, resource) = (Arc::clone(core), resource.clone());
        verdicts.push(async move { settle(&core, &resource, &object, remote).await });
    }
    let remotes: Vec<Remote> = stream::iter(verdicts).buffer_unordered(AT_ONCE).try_collect().await?;
    let (any, working) = (!remotes.is_empty(), remotes.iter().all(|remote| remote.available));
    if core.aggregated.replace(remotes) {
        core.discovery.invalidate();
        core.discovery.openapi.publish_remotes(core.aggregated.swaggers());
    }
    Ok((any, working))
}

/// Judges one, and writes the verdict where it is news.
async fn settle(core: &Arc<Core>, resource: &Resource, object: &Value, mut remote: Remote) -> Result<Remote, Status> {
    let verdict = judge(core, &mut remote).await;
    let changed = with_condition(object, &verdict, jiff::Timestamp::now());
    let news = Some(verdict.reason).filter(|_| !verdict.available && changed.is_some());
    core.metrics.aggregation.judged(meta::name(object), verdict.available, news);
    let Some(changed) = changed else { return Ok(remote) };
    match write(core, Method::PUT, resource, "status", &changed).await {
        // Somebody else wrote it: the next turn sees that.
        Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => Ok(remote),
        other => other.map(|()| remote),
    }
}
