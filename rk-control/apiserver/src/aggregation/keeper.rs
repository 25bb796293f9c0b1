//! The loop over APIServices that other servers stand behind; level-triggered, one in every server.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rk_api::status::{Reason, Status};

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
    core.health.finish(Hook::Aggregation);
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
    let mut remotes = Vec::new();
    for object in &objects {
        let Some(mut remote) = remote(object) else { continue };
        let verdict = judge(core, &mut remote).await;
        remotes.push(remote);
        let Some(changed) = with_condition(object, &verdict, jiff::Timestamp::now()) else { continue };
        match write(core, Method::PUT, &resource, "status", &changed).await {
            // Somebody else wrote it: the next turn sees that.
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => {}
            other => other?,
        }
    }
    let (any, working) = (!remotes.is_empty(), remotes.iter().all(|remote| remote.available));
    if core.aggregated.replace(remotes) {
        core.discovery.invalidate();
    }
    Ok((any, working))
}
