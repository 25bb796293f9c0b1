//! What Burstable pods weigh together, beside Guaranteed ones and those that ask for nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Manager;
use crate::resources::burstable_request;

impl Manager {
    /// Gives Burstable pods together the weight of what they ask for together; those that have ended or were refused count no more.
    pub(super) fn weigh(&self) {
        let pods = self.workers.values().filter(|h| self.takes(h)).map(|h| h.desired.borrow().pod().clone());
        let pods: Vec<Arc<Pod>> = self.context.withheld.counted(pods);
        if let Err(error) = self.context.cgroups.weigh(burstable_request(pods.iter().map(AsRef::as_ref))) {
            tracing::warn!("Burstable pods do not weigh what they ask for: {error}");
        }
    }
}
