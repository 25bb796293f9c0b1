//! Whether the node is Ready, for the machine itself: its console and the machine API show it.

use k8s_openapi::api::core::v1::NodeStatus;
use std::fs;

/// `True` or `False`, then why. On other machines the folder is missing, and nothing is written.
const PATH: &str = "/run/rk/node-status";

/// What the Ready condition says.
pub fn why(status: &NodeStatus) -> String {
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    ready.and_then(|condition| condition.message.clone()).unwrap_or_default()
}

/// Leaves the note: Ready counts once the cluster was told.
pub fn leave(told: &Result<bool, kube::Error>, why: &str) {
    let text = match told {
        Ok(true) => "True\n".to_owned(),
        Ok(false) => format!("False\n{why}\n"),
        Err(error) => format!("False\nthe API server did not take the status: {}\n", crate::api_error::text(error)),
    };
    let new = format!("{PATH}.new");
    if fs::read_to_string(PATH).is_ok_and(|have| have == text) {
        return;
    }
    if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, PATH)) {
        tracing::debug!("the node's own note of readiness: {error}");
    }
}
