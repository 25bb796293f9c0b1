//! ServiceAccount: every pod has one, and its token as a projected volume.

use std::sync::Arc;

use rand::RngExt;
use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Lifetime that upstream asks for; the odd seven seconds mark tokens that were injected.
const EXPIRATION_SECONDS: i64 = 3607;
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Static pods have no access to the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) async fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is("", "pods") || !request.creates() {
        return Ok(());
    }
    if is_mirror(pod) {
        return validate(request, Some(pod)).await;
    }
    if meta::text(pod, &["spec", "serviceAccountName"]).is_empty() {
        pod["spec"]["serviceAccountName"] = json!(DEFAULT);
    }
    let name = meta::text(pod, &["spec", "serviceAccountName"]).to_owned();
    // The deprecated twin field always says the same.
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account(request, &name).await?;
    if wants_token(&account, pod) && !mounted_everywhere(pod) {
        mount_token(pod);
    }
    let own_secrets = meta::at(pod, &["spec", "imagePullSecrets"]).as_array().is_some_and(|list| !list.is_empty());
    if let Some(secrets) = account
        .get("imagePullSecrets")
        .filter(|list| !own_secrets && list.as_array().is_some_and(|list| !list.is_empty()))
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

pub(super) async fn validate(request: &Request<'_>, pod: Option<&Value>) -> Result<(), Status> {
    let Some(pod) = pod.filter(|_| request.is("", "pods") && request.creates()) else { return Ok(()) };
    if !is_mirror(pod) {
        account(request, meta::text(pod, &["spec", "serviceAccountName"])).await?;
        return Ok(());
    }
    refused_mirror(pod).map_or(Ok(()), |why| Err(request.forbid(why)))
}

/// Why a mirror pod is refused, if it is: it may refer to no other object, whoever creates it.
fn refused_mirror(pod: &Value) -> Option<&'static str> {
    if !meta::text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    if crate::authz::referenced(pod) == Some("secrets") {
        return Some("a mirror pod may not reference secrets");
    }
    let volumes = meta::at(pod, &["spec", "volumes"]).as_array().into_iter().flatten();
    let mut sources =
        volumes.flat_map(|volume| meta::at(volume, &["projected", "sources"]).as_array().into_iter().flatten());
    let has_token = sources.any(|source| !meta::at(source, &["serviceAccountToken"]).is_null());
    has_token.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

fn is_mirror(pod: &Value) -> bool {
    !meta::at(pod, &["metadata", "annotations", MIRROR]).is_null()
}

async fn account(request: &Request<'_>, name: &str) -> Result<Arc<Value>, Status> {
    match request.core.consult("", "v1", "serviceaccounts", request.namespace, name).await? {
        Some(account) => Ok(account),
        None => {
            let key = format!("{}/{name}", request.namespace);
            Err(request.forbid(&format!("error looking up service account {key}: serviceaccount {name:?} not found")))
        }
    }
}

/// The pod's word counts before the account's; without any, yes.
fn wants_token(account: &Value, pod: &Value) -> bool {
    let of_pod = meta::at(pod, &["spec", "automountServiceAccountToken"]).as_bool();
    let of_account = account.get("automountServiceAccountToken").and_then(Value::as_bool);
    of_pod.or(of_account).unwrap_or(true)
}

fn mounts_path(container: &Value) -> bool {
    let mounts = container.get("volumeMounts").and_then(Value::as_array);
    mounts.into_iter().flatten().any(|mount| meta::text(mount, &["mountPath"]) == MOUNT_PATH)
}

fn mounted_everywhere(pod: &Value) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|list| meta::at(pod, &["spec", list]).as_array().into_iter().flatten())
        .all(mounts_path)
}

fn mount_token(pod: &mut Value) {
    let existing = meta::at(pod, &["spec", "volumes"])
        .as_array()
        .into_iter()
        .flatten()
        .map(|volume| meta::text(volume, &["name"]))
        .find(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let fresh = existing.is_none();
    let volume = existing.unwrap_or_else(|| format!("kube-api-access-{}", suffix()));
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers.iter_mut().filter(|container| !mounts_path(container)) {
            let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
            push(container, "volumeMounts", mount);
        }
    }
    if fresh {
        push(&mut pod["spec"], "volumes", token_volume(&volume));
    }
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
        },
    })
}

fn suffix() -> String {
    let mut random = rand::rng();
    (0..5).map(|_| SUFFIX.get(random.random_range(0..SUFFIX.len())).copied().map_or('x', char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_without_its_own_mount_gets_the_token() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut pod);
        let volume = pod["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
        assert!(volume.starts_with("kube-api-access-") && volume.len() == 21);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], json!(volume));
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_mirror_reaches_nothing() {
        let volumes = |source: Value| json!({"volumes": [{"name": "v", "projected": {"sources": [source]}}]});
        for (spec, why) in [
            (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), None),
            (json!({"serviceAccountName": "s"}), Some("a mirror pod may not reference service accounts")),
            (json!({"imagePullSecrets": [{"name": "s"}]}), Some("a mirror pod may not reference secrets")),
            (volumes(json!({"secret": {"name": "s"}})), Some("a mirror pod may not reference secrets")),
            (
                volumes(json!({"serviceAccountToken": {"path": "t"}})),
                Some("a mirror pod may not use ServiceAccountToken volume projections"),
            ),
        ] {
            assert_eq!(refused_mirror(&json!({"spec": spec})), why, "{spec}");
        }
    }

    #[test]
    fn the_pods_word_counts_before_the_accounts() {
        let (yes, no) = (json!({"automountServiceAccountToken": true}), json!({"automountServiceAccountToken": false}));
        assert!(!wants_token(&no, &json!({"spec": {}})));
        assert!(wants_token(&no, &json!({"spec": yes})));
        assert!(!wants_token(&yes, &json!({"spec": no})));
        assert!(wants_token(&json!({}), &json!({"spec": {}})));
    }
}
