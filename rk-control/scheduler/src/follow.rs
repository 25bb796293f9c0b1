//! Keeps what decisions know of devices current. Most clusters have no pod that may get any: nothing is watched before one is there.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use rk_client::{Change, Informers, ObjectKey};

use crate::sync::{Shared, deed, needs_devices, on_pod};

/// Watches slices, classes and claims from the first pod on that claims devices or asks for extended resources, behind which some may
/// stand; such pods are taken in once all is known.
pub(crate) async fn devices(shared: Arc<Shared>, informers: &Informers, scheduler: &str) {
    shared.devices_wanted.notified().await;
    let (claims, slices, classes) =
        (informers.of::<ResourceClaim>(), informers.of::<ResourceSlice>(), informers.of::<DeviceClass>());
    let own = Arc::clone(&shared);
    claims.on_change(move |change| on_claim(&own, change));
    let own = Arc::clone(&shared);
    slices.on_change(move |change| {
        match change {
            Change::Deleted(slice) => own.cluster().devices.remove_slice(&ObjectKey::of(slice.as_ref()).name),
            other => own.cluster().set_device_slice(other.object()),
        }
        own.cluster_changed(("resource.k8s.io/ResourceSlice", deed(change)));
    });
    let own = Arc::clone(&shared);
    classes.on_change(move |change| {
        match change {
            Change::Deleted(class) => own.cluster().devices.remove_class(&ObjectKey::of(class.as_ref()).name),
            other => own.cluster().set_device_class(other.object()),
        }
        own.cluster_changed(("resource.k8s.io/DeviceClass", deed(change)));
    });
    claims.synced().await;
    slices.synced().await;
    classes.synced().await;
    tracing::info!(slices = slices.len(), claims = claims.len(), "scheduling pods that may get devices");
    let name = scheduler.to_owned();
    // Told of the pods that are there already, too.
    informers.of::<Pod>().on_change(move |change| {
        if needs_devices(change, &name) {
            on_pod(&shared, &name, change);
        }
    });
}

fn on_claim(shared: &Shared, change: &Change<ResourceClaim>) {
    let claim = change.object();
    match change {
        Change::Deleted(_) => shared.cluster().devices.remove_claim(&ObjectKey::of(claim.as_ref())),
        _ => shared.cluster().set_device_claim(claim),
    }
    // A finalizer lets no pod fit.
    let same = |old: &Arc<ResourceClaim>| {
        old.status == claim.status
            && old.metadata.uid == claim.metadata.uid
            && old.metadata.deletion_timestamp == claim.metadata.deletion_timestamp
    };
    if !change.previous().is_some_and(same) {
        shared.cluster_changed(("resource.k8s.io/ResourceClaim", deed(change)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Instant;

    fn claim(finalizers: &[&str], users: serde_json::Value) -> Arc<ResourceClaim> {
        let meta = json!({"namespace": "n", "name": "c", "uid": "c", "finalizers": finalizers});
        let claim = json!({"metadata": meta, "spec": {}, "status": {"reservedFor": users}});
        Arc::new(serde_json::from_value(claim).expect("a claim"))
    }

    fn pod(statuses: serde_json::Value) -> Arc<Pod> {
        let spec = json!({"schedulerName": "own", "containers": [],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]});
        let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec,
            "status": {"resourceClaimStatuses": statuses}});
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn only_what_may_let_a_pod_fit_gives_it_another_try() {
        let shared = Shared::default();
        let waiting = crate::model::PodInfo::new(&Pod::default()).expect("a pod to schedule");
        let waits_again = |change: Change<ResourceClaim>| {
            let now = Instant::now();
            shared.queue().remove(&waiting.key);
            shared.queue().add(Arc::new(waiting.clone()), now);
            let taken = shared.queue().pop(now).expect("its turn");
            shared.queue().failed(&taken.key, now);
            on_claim(&shared, &change);
            shared.queue().waiting().contains(&("unschedulable", 1))
        };
        let old = claim(&[], json!([]));
        assert!(!waits_again(Change::Added(Arc::clone(&old))));
        let kept = claim(&["resource.kubernetes.io/delete-protection"], json!([]));
        assert!(waits_again(Change::Updated { old: Arc::clone(&old), new: kept }));
        let used = claim(&[], json!([{"resource": "pods", "name": "q", "uid": "q"}]));
        assert!(!waits_again(Change::Updated { old: Arc::clone(&old), new: used }));
        assert!(!waits_again(Change::Deleted(old)));
    }

    #[test]
    fn pods_that_may_get_devices_wait_until_these_are_known() {
        let asks = |resource: &str| {
            let container = json!({"name": "c", "resources": {"requests": {resource: "1"}}});
            let spec = json!({"schedulerName": "own", "containers": [container]});
            let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec});
            needs_devices(&Change::Added(Arc::new(serde_json::from_value(pod).expect("a pod"))), "own")
        };
        let of_class = "deviceclass.resource.kubernetes.io/gpu";
        assert_eq!(["cpu", "example.com/gpu", of_class, "hugepages-2Mi"].map(asks), [false, true, true, false]);
    }

    #[test]
    fn a_pod_has_its_turn_once_its_claim_is_made() {
        let (shared, old) = (Shared::default(), pod(json!([])));
        assert!(needs_devices(&Change::Added(Arc::clone(&old)), "own"));
        assert!(!needs_devices(&Change::Added(Arc::clone(&old)), "other"));
        assert!(!needs_devices(&Change::Deleted(Arc::clone(&old)), "own"));
        on_pod(&shared, "own", &Change::Added(Arc::clone(&old)));
        assert!(shared.queue().pop(Instant::now()).is_none(), "nothing is told of it meanwhile");
        let new = pod(json!([{"name": "gpu", "resourceClaimName": "p-gpu-x"}]));
        on_pod(&shared, "own", &Change::Updated { old, new });
        let taken = shared.queue().pop(Instant::now()).expect("its turn");
        assert_eq!(taken.device_claims.len(), 1);
    }
}
