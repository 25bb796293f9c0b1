//! What the node offers to claims while no driver is there to prepare it: nothing.

use std::time::Duration;

use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{Api, DeleteParams, ListParams};

use crate::api_error;

/// First and longest pause after a failure; upstream's.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

fn selector(node: &str, driver: Option<&str>) -> String {
    let driver = driver.map(|driver| format!("spec.driver={driver},")).unwrap_or_default();
    format!("{driver}spec.nodeName={node}")
}

/// Deletes the ResourceSlices of a node, all of them or those of a driver, however long the API takes for it.
pub async fn wipe(client: kube::Client, node: String, driver: Option<String>) {
    let api: Api<ResourceSlice> = Api::all(client);
    let those = ListParams::default().fields(&selector(&node, driver.as_deref()));
    let mut pause = PAUSES.0;
    loop {
        match api.delete_collection(&DeleteParams::default(), &those).await {
            Ok(_) => return,
            // An API without the kind has none of it.
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(error) => tracing::debug!("deleting the node's ResourceSlices: {}", api_error::text(&error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_of_this_node_are_meant_and_no_others() {
        assert_eq!(selector("n", None), "spec.nodeName=n");
        assert_eq!(selector("n", Some("d.example")), "spec.driver=d.example,spec.nodeName=n");
    }
}
