//! Whose reservations of a claim still hold, and what becomes of a claim that has none.

use super::claim::{is_done, is_pod, users};
use crate::discovery::has_finalizer;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus};
use rk_api::meta::DEVICES_FINALIZER;

/// What becomes of one reservation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It holds.
    Stays,
    /// Its pod uses nothing any more.
    Goes,
    /// Its pod is not the one that is known here; only the API knows which of them came later.
    AskApi,
}

/// Judges by the pod that is cached under the user's name.
pub(super) fn fate(user: &ResourceClaimConsumerReference, cached: Option<&Pod>) -> Fate {
    match cached {
        // Whoever reserved for another kind gives back himself.
        _ if !is_pod(user) => Fate::Stays,
        Some(pod) if pod.metadata.uid.as_ref() != Some(&user.uid) => Fate::AskApi,
        Some(pod) if is_done(pod) => Fate::Goes,
        Some(_) => Fate::Stays,
        None => Fate::AskApi,
    }
}

/// What is to be written, one after the other.
#[derive(Debug, PartialEq)]
pub(super) struct Release {
    /// The new status, if it changes.
    pub(super) status: Option<ResourceClaimStatus>,
    /// Whether the finalizer goes, after that.
    pub(super) unprotect: bool,
}

/// What to do about a claim of which these reservations hold.
///
/// The last user gives the devices back with its reservation. A claim that was allocated and that nobody has used yet keeps its
/// devices as long as nobody deletes it: who allocates may reserve later. What was not allocated under the finalizer is not ours.
pub(super) fn plan(claim: &ResourceClaim, kept: Vec<ResourceClaimConsumerReference>) -> Release {
    let fewer = kept.len() < users(claim).count();
    let leaves = fewer || claim.metadata.deletion_timestamp.is_some();
    let unprotect = kept.is_empty() && leaves && has_finalizer(&claim.metadata, DEVICES_FINALIZER);
    let mut status = claim.status.clone().unwrap_or_default();
    let deallocates = unprotect && status.allocation.is_some();
    if deallocates {
        status.allocation = None;
    }
    status.reserved_for = Some(kept).filter(|kept| !kept.is_empty());
    Release { status: (fewer || deallocates).then_some(status), unprotect }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn user(name: &str) -> Value {
        json!({"resource": "pods", "name": name, "uid": format!("{name}-uid")})
    }

    /// Users are names with spaces between them.
    fn claim(users: &str, allocated: bool, protected: bool, ends: bool) -> ResourceClaim {
        let users: Vec<Value> = users.split_whitespace().map(user).collect();
        let claim = json!({
            "metadata": {"name": "c", "finalizers": if protected { json!([DEVICES_FINALIZER]) } else { json!(["other"]) },
                "deletionTimestamp": ends.then_some("2026-01-01T00:00:00Z")},
            "spec": {},
            "status": {"allocation": allocated.then(|| json!({"devices": {}})), "reservedFor": users},
        });
        serde_json::from_value(claim).expect("a claim")
    }

    #[test]
    fn the_last_user_gives_the_devices_back() {
        // Users, allocated, protected, ends; who stays; what is written of users and allocation, and whether the finalizer goes.
        for (before, kept, wanted) in [
            (("a b", true, true, false), "a b", None),
            (("a b", true, true, false), "b", Some((1, true, false))),
            (("a", true, true, false), "", Some((0, false, true))),
            (("a", true, true, true), "", Some((0, false, true))),
            (("a", true, true, true), "a", None),
            // Allocated by somebody else, or reserved later.
            (("a", true, false, false), "", Some((0, true, false))),
            (("", true, true, false), "", None),
            (("", true, true, true), "", Some((0, false, true))),
            (("", true, false, true), "", None),
        ] {
            let (users, allocated, protected, ends) = before;
            let kept =
                kept.split_whitespace().map(|name| serde_json::from_value(user(name)).expect("a user")).collect();
            let release = plan(&claim(users, allocated, protected, ends), kept);
            let told = release.status.map(|status| {
                let users = status.reserved_for.map_or(0, |users| users.len());
                (users, status.allocation.is_some(), release.unprotect)
            });
            assert_eq!(told, wanted, "{before:?}");
        }
        // Nothing is left to be given back, and the claim may go.
        let release = plan(&claim("", false, true, true), Vec::new());
        assert_eq!(release, Release { status: None, unprotect: true });
        assert_eq!(plan(&claim("", false, true, false), Vec::new()), Release { status: None, unprotect: false });
    }

    #[test]
    fn a_reservation_holds_until_its_pod_is_known_to_be_done() {
        let pod = |uid: &str, phase: &str| -> Pod {
            let pod = json!({"metadata": {"name": "a", "uid": uid}, "spec": {"containers": [], "nodeName": "n"}, "status": {"phase": phase}});
            serde_json::from_value(pod).expect("a pod")
        };
        let pod_user: ResourceClaimConsumerReference = serde_json::from_value(user("a")).expect("a user");
        let other = ResourceClaimConsumerReference { api_group: Some("example.com".to_owned()), ..pod_user.clone() };
        for (user, cached, wanted) in [
            (&pod_user, Some(pod("a-uid", "Running")), Fate::Stays),
            (&pod_user, Some(pod("a-uid", "Failed")), Fate::Goes),
            (&pod_user, Some(pod("other", "Running")), Fate::AskApi),
            (&pod_user, None, Fate::AskApi),
            (&other, None, Fate::Stays),
        ] {
            assert_eq!(fate(user, cached.as_ref()), wanted, "{cached:?}");
        }
    }
}
