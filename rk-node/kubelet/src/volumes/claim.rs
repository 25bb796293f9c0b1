//! From a pod's claim to the persistent volume behind it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Api, Client};

use crate::api_error;
use crate::pod::spec;

/// The claim that a volume means: the one it names, or the one made for it (generic ephemeral volumes).
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", spec::name(pod), volume.name)),
        (None, None) => None,
    }
}

/// Whether the claim may be used by this pod now. One that is being deleted waits for the pod that has its volume, `held`.
fn usable(pod: &Pod, volume: &Volume, claim: &PersistentVolumeClaim, held: bool) -> Result<String, String> {
    if volume.ephemeral.is_some() {
        let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
        if !owners.iter().any(|o| o.controller == Some(true) && o.uid == spec::uid(pod)) {
            return Err("PVC was not created for the pod (the pod is not its owner)".into());
        }
    }
    if claim.metadata.deletion_timestamp.is_some() && !held {
        return Err("PVC is being deleted".into());
    }
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    match claim.spec.as_ref().and_then(|s| s.volume_name.clone()).filter(|n| bound && !n.is_empty()) {
        Some(name) => Ok(name),
        None => Err("PVC is not bound".into()),
    }
}

/// Whether the volume belongs to the claim.
fn belongs(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<(), String> {
    let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    match reference.and_then(|r| r.uid.as_deref()) {
        Some(uid) if Some(uid) == claim.metadata.uid.as_deref() => Ok(()),
        _ => Err(format!("PV {} is not bound to the PVC", volume.metadata.name.as_deref().unwrap_or_default())),
    }
}

/// A pod's claim and the persistent volume that is bound to it. `held`: the pod has the volume already.
pub async fn bound(
    client: &Client,
    pod: &Pod,
    volume: &Volume,
    claim: &str,
    held: bool,
) -> Result<(PersistentVolumeClaim, PersistentVolume), String> {
    let namespace = spec::namespace(pod);
    let failed = |what: String| format!("error processing PVC {namespace}/{claim}: {what}");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let found = claims
        .get(claim)
        .await
        .map_err(|e| failed(format!("failed to fetch PVC from API server: {}", api_error::text(&e))))?;
    let name = usable(pod, volume, &found, held).map_err(failed)?;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let persistent = volumes
        .get(&name)
        .await
        .map_err(|e| failed(format!("failed to fetch PV {name} from API server: {}", api_error::text(&e))))?;
    belongs(&found, &persistent).map_err(failed)?;
    Ok((found, persistent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_a_bound_claim_of_the_pods_own_is_usable() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": []}})).unwrap();
        let named: Volume =
            serde_json::from_value(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})).unwrap();
        let made: Volume = serde_json::from_value(json!({"name": "v", "ephemeral": {}})).unwrap();
        assert_eq!(claim_of(&pod, &named).as_deref(), Some("c"));
        assert_eq!(claim_of(&pod, &made).as_deref(), Some("p-v"));
        let owner =
            |uid: &str| json!([{"controller": true, "uid": uid, "name": "p", "kind": "Pod", "apiVersion": "v1"}]);
        let claim = |metadata: Value, phase: &str| -> PersistentVolumeClaim {
            serde_json::from_value(
                json!({"metadata": metadata, "spec": {"volumeName": "pv"}, "status": {"phase": phase}}),
            )
            .unwrap()
        };
        for (volume, claim, want) in [
            (&named, claim(json!({}), "Bound"), Ok("pv")),
            (&named, claim(json!({}), "Pending"), Err("not bound")),
            (&named, claim(json!({"deletionTimestamp": "2024-01-01T00:00:00Z"}), "Bound"), Err("being deleted")),
            (&made, claim(json!({"ownerReferences": owner("u")}), "Bound"), Ok("pv")),
            (&made, claim(json!({"ownerReferences": owner("other")}), "Bound"), Err("not its owner")),
        ] {
            match (usable(&pod, volume, &claim, false), want) {
                (Ok(name), Ok(wanted)) => assert_eq!(name, wanted),
                (Err(error), Err(word)) => assert!(error.contains(word), "{error}"),
                (got, want) => panic!("{got:?} instead of {want:?}"),
            }
        }
        let leaving = claim(json!({"deletionTimestamp": "2024-01-01T00:00:00Z"}), "Bound");
        assert_eq!(usable(&pod, &named, &leaving, true).as_deref(), Ok("pv"), "it waits for its pod");
    }
}
