//! Adoption and release: which objects a controller's selector makes its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::Patch;
use rk_client::{
    Informer, LabelMatcher, Object, ObjectKey, Verbs, controller_of, controller_ref, is_conflict, is_not_found,
};
use serde_json::json;
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
    let mut owned = Vec::with_capacity(candidates.len());
    let mut confirmed = false;
    for candidate in candidates {
        match claim(owner.meta(), selector, candidate.meta()) {
            Claim::Keep => owned.push(candidate),
            Claim::Ignore => {}
            Claim::Adopt => {
                // The cache may show an owner that is gone; adopting for it would leak the object.
                if !confirmed {
                    let live = client.get::<O>(&ObjectKey::of(owner)).await?;
                    if live.meta().uid != owner.meta().uid || live.meta().deletion_timestamp.is_some() {
                        return Ok(owned);
                    }
                    confirmed = true;
                }
                let mut references = candidate.meta().owner_references.clone().unwrap_or_default();
                references.push(controller_ref(owner));
                if let Some(adopted) = set_owners(informer, candidate.as_ref(), &references).await? {
                    owned.push(Arc::new(adopted));
                }
            }
            Claim::Release => {
                let mut references = candidate.meta().owner_references.clone().unwrap_or_default();
                references.retain(|r| Some(&r.uid) != owner.meta().uid.as_ref());
                set_owners(informer, candidate.as_ref(), &references).await?;
            }
        }
    }
    Ok(owned)
}

/// `None` when the object changed or went away meanwhile: the change will bring us back.
async fn set_owners<K: Object>(
    informer: &Informer<K>,
    object: &K,
    owners: &[OwnerReference],
) -> kube::Result<Option<K>> {
    let meta = object.meta();
    let patch =
        json!({"metadata": {"ownerReferences": owners, "uid": meta.uid, "resourceVersion": meta.resource_version}});
    match informer.patch(&ObjectKey::of(object), &Patch::Merge(patch)).await {
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
}
