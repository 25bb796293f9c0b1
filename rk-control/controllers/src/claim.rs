//! Adoption and release: which objects a controller's selector makes its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::Patch;
use rk_client::{
    Informer, LabelMatcher, Object, ObjectKey, Verbs, controller_of, controller_ref, is_conflict, is_not_found,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What to do about one candidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Ours, and it matches.
    Keep,
    /// Nobody's, and it matches.
    Adopt,
    /// Ours, but it matches no more.
    Release,
    /// Not our business.
    Ignore,
}

/// Decides about `candidate` for the controller `owner`.
pub(crate) fn claim(owner: &ObjectMeta, selector: &LabelMatcher, candidate: &ObjectMeta) -> Claim {
    let matches = selector.matches(candidate.labels.as_ref());
    let owner_ends = owner.deletion_timestamp.is_some();
    match controller_of(candidate) {
        Some(other) if Some(&other.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner_ends => Claim::Ignore,
        Some(_) => Claim::Release,
        None if owner_ends || !matches || candidate.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// Adopts and releases; answers what belongs to `owner` afterwards.
pub(crate) async fn claim_all<O: Object, K: Object>(
    client: &kube::Client,
    owner: &O,
    selector: &LabelMatcher,
    informer: &Informer<K>,
    candidates: Vec<Arc<K>>,
) -> kube::Result<Vec<Arc<K>>> {
    claim_held(client, owner, selector, informer, candidates, None).await
}

/// The same for a controller that holds what it owns by a finalizer: that comes and goes with the owner, in one patch
/// (`pkg/controller/controller_ref_manager.go`).
pub(crate) async fn claim_held<O: Object, K: Object>(
    client: &kube::Client,
    owner: &O,
    selector: &LabelMatcher,
    informer: &Informer<K>,
    candidates: Vec<Arc<K>>,
    finalizer: Option<&str>,
) -> kube::Result<Vec<Arc<K>>> {
    let mut owned = Vec::with_capacity(candidates.len());
    let mut confirmed = false;
    for candidate in candidates {
        match claim(owner.meta(), selector, candidate.meta()) {
            Claim::Keep => owned.push(candidate),
            Claim::Ignore => {}
            Claim::Adopt => {
                // The cache may show an owner that is gone; adopting for it would leak the object.
                if !confirmed && !is_alive(client, owner).await? {
                    return Ok(owned);
                }
                confirmed = true;
                let change = adoption(candidate.meta(), controller_ref(owner), finalizer);
                if let Some(adopted) = apply(informer, candidate.as_ref(), change).await? {
                    owned.push(Arc::new(adopted));
                }
            }
            Claim::Release => {
                let change = parting(candidate.meta(), owner.meta().uid.as_deref(), finalizer);
                apply(informer, candidate.as_ref(), change).await?;
            }
        }
    }
    Ok(owned)
}

/// Whether the API still has this very owner, and nobody deletes it.
async fn is_alive<O: Object>(client: &kube::Client, owner: &O) -> kube::Result<bool> {
    let live = client.get::<O>(&ObjectKey::of(owner)).await?;
    Ok(live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none())
}

/// The patch that makes `candidate` the owner's, and holds it.
fn adoption(candidate: &ObjectMeta, owner: OwnerReference, finalizer: Option<&str>) -> Value {
    let mut references = candidate.owner_references.clone().unwrap_or_default();
    references.push(owner);
    let mut finalizers = candidate.finalizers.clone().unwrap_or_default();
    if let Some(new) = finalizer.filter(|new| finalizers.iter().all(|f| f != new)) {
        finalizers.push(new.to_owned());
    }
    change(candidate, &references, finalizer.map(|_| finalizers))
}

/// The patch that lets `candidate` go.
fn parting(candidate: &ObjectMeta, owner: Option<&str>, finalizer: Option<&str>) -> Value {
    let mut references = candidate.owner_references.clone().unwrap_or_default();
    references.retain(|r| Some(r.uid.as_str()) != owner);
    let mut finalizers = candidate.finalizers.clone().unwrap_or_default();
    finalizers.retain(|f| Some(f.as_str()) != finalizer);
    change(candidate, &references, finalizer.map(|_| finalizers))
}

/// It holds for the object as it was seen only.
fn change(of: &ObjectMeta, owners: &[OwnerReference], finalizers: Option<Vec<String>>) -> Value {
    let mut metadata = json!({"ownerReferences": owners, "uid": of.uid, "resourceVersion": of.resource_version});
    if let (Some(metadata), Some(finalizers)) = (metadata.as_object_mut(), finalizers) {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
    json!({"metadata": metadata})
}

/// Merges a change into an object; `None` when it changed or went away meanwhile: the change will bring us back.
pub(crate) async fn apply<K: Object>(informer: &Informer<K>, object: &K, change: Value) -> kube::Result<Option<K>> {
    match informer.patch(&ObjectKey::of(object), &Patch::Merge(change)).await {
        Ok(changed) => Ok(Some(changed)),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_orphans_are_adopted_and_strays_released() {
        let meta = |uid: &str, label: &str, owner: Option<&str>, ends: bool| -> ObjectMeta {
            serde_json::from_value(json!({
                "uid": uid, "labels": {"app": label},
                "deletionTimestamp": ends.then_some("2026-01-01T00:00:00Z"),
                "ownerReferences": owner.map(|o| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": o, "controller": true}]))
            }))
            .expect("valid metadata")
        };
        let selector = LabelMatcher::everything().and("app", "In", &["web".to_owned()]).expect("valid");
        let cases = [
            (false, meta("p", "web", Some("me"), false), Claim::Keep),
            (false, meta("p", "web", Some("other"), false), Claim::Ignore),
            (false, meta("p", "db", Some("me"), false), Claim::Release),
            (true, meta("p", "db", Some("me"), false), Claim::Ignore),
            (false, meta("p", "web", None, false), Claim::Adopt),
            (true, meta("p", "web", None, false), Claim::Ignore),
            (false, meta("p", "web", None, true), Claim::Ignore),
            (false, meta("p", "db", None, false), Claim::Ignore),
        ];
        for (owner_ends, candidate, expected) in cases {
            assert_eq!(claim(&meta("me", "", None, owner_ends), &selector, &candidate), expected, "{candidate:?}");
        }
    }

    #[test]
    fn a_finalizer_comes_and_goes_with_the_owner_in_one_patch() {
        let reference = |uid: &str| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid});
        let meta: ObjectMeta = serde_json::from_value(json!({
            "uid": "p", "resourceVersion": "7", "finalizers": ["a", "held"], "ownerReferences": [reference("me")]
        }))
        .expect("valid metadata");
        let free: ObjectMeta =
            serde_json::from_value(json!({"uid": "p", "resourceVersion": "7", "finalizers": ["a"]})).expect("valid");
        let owner: OwnerReference = serde_json::from_value(reference("me")).expect("valid");
        let adopted = json!({"metadata": {
            "uid": "p", "resourceVersion": "7", "finalizers": ["a", "held"], "ownerReferences": [reference("me")]
        }});
        assert_eq!(adoption(&free, owner.clone(), Some("held")), adopted);
        let mut held = meta.clone();
        held.owner_references = None;
        assert_eq!(adoption(&held, owner.clone(), Some("held")), adopted);
        assert_eq!(adoption(&free, owner, None)["metadata"].get("finalizers"), None);
        let parted =
            json!({"metadata": {"uid": "p", "resourceVersion": "7", "finalizers": ["a"], "ownerReferences": []}});
        assert_eq!(parting(&meta, Some("me"), Some("held")), parted);
        assert_eq!(parting(&meta, Some("other"), None)["metadata"]["ownerReferences"], json!([reference("me")]));
    }
}
