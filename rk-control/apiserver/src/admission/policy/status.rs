//! The loop that type checks validating policies and writes down what it found; level-triggered, one in every server.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::{Value, json};

use super::read::GROUP;
use super::types;
use crate::front_door::write;
use crate::keeper::keep;
use crate::server::Core;

const PLURAL: &str = "validatingadmissionpolicies";
/// How often everything is compared without a reason.
const PERIOD: Duration = Duration::from_secs(300);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until shutdown.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "admission policies could not be type checked", turn).await;
}

async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut changes = core.cache(GROUP, "v1", PLURAL).await?.subscribe();
    changes.borrow_and_update();
    let resource = core.resource(GROUP, "v1", PLURAL)?;
    for policy in core.objects(GROUP, "v1", PLURAL, "").await? {
        if is_checked(&policy) {
            continue;
        }
        let mut checked = policy.clone();
        checked["status"]["observedGeneration"] = meta::at(&policy, &["metadata", "generation"]).clone();
        checked["status"]["typeChecking"] = types::check(&policy, &core.registry());
        match write(core, Method::PUT, &resource, "status", &checked).await {
            // Somebody else wrote it: the next turn sees that.
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => {}
            outcome => outcome?,
        }
    }
    tokio::select! {
        _ = changes.changed() => {}
        () = tokio::time::sleep(PERIOD) => {}
    }
    Ok(())
}

/// Whether the status is of the policy as it is.
fn is_checked(policy: &Value) -> bool {
    let (own, observed) =
        (meta::at(policy, &["metadata", "generation"]), meta::at(policy, &["status", "observedGeneration"]));
    own == observed && meta::at(policy, &["status", "typeChecking"]).is_object()
        || meta::is_deleting(policy) && *observed != json!(null)
}
