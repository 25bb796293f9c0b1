//! Tokens that a kubelet asks for: for pods on its node alone, and for whom these pods speak to.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::super::Request;
use crate::authz::Attributes;

/// What somebody may be allowed who asks for tokens for others; the resource is the audience.
const VERB: &str = "request-serviceaccounts-token-audience";

pub(super) async fn judge(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    let reference = object.map_or(&Value::Null, |object| meta::at(object, &["spec", "boundObjectRef"]));
    let field = |name: &str| meta::text(reference, &[name]);
    if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
        return Err(request.forbid("node requested token not bound to a pod"));
    }
    let (name, uid) = (field("name"), field("uid"));
    if uid.is_empty() {
        return Err(request.forbid("node requested token with a pod binding without a uid"));
    }
    let Some(pod) = request.core.object("", "v1", "pods", request.namespace, name).await? else {
        let resource = request.core.resource("", "v1", "pods")?;
        return Err(Status::not_found(&resource, name));
    };
    if meta::uid(&pod) != uid {
        return Err(request.forbid(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        )));
    }
    if meta::text(&pod, &["spec", "nodeName"]) != node {
        return Err(request.forbid("node requested token bound to a pod scheduled on a different node"));
    }
    let audiences = object.map_or(&Value::Null, |object| meta::at(object, &["spec", "audiences"]));
    match audiences.as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => audience(request, &pod, "").await,
        [one] => audience(request, &pod, one.as_str().unwrap_or_default()).await,
        _ => Err(request.forbid("node may only request 0 or 1 audiences")),
    }
}

/// Whether the pod speaks to the audience, or the node was given leave to ask for it (KEP-4412).
async fn audience(request: &Request<'_>, pod: &Value, audience: &str) -> Result<(), Status> {
    if projects(pod, audience) || drivers_ask(request, pod, audience).await? {
        return Ok(());
    }
    let attributes = Attributes {
        verb: VERB.to_owned(),
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        namespace: request.namespace.to_owned(),
        name: request.name.to_owned(),
        ..Attributes::default()
    };
    if request.allows(&attributes).await? {
        return Ok(());
    }
    Err(request.forbid(&format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        request.user.name
    )))
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    meta::at(pod, &["spec", "volumes"]).as_array().into_iter().flatten()
}

/// Whether a volume of the pod holds a token for the audience. None means the API itself, as in the request.
fn projects(pod: &Value, audience: &str) -> bool {
    let sources =
        |volume| meta::at(volume, &["projected", "sources"]).as_array().into_iter().flatten().filter_map(token_of);
    volumes(pod).flat_map(sources).any(|token| meta::text(token, &["audience"]) == audience)
}

fn token_of(source: &Value) -> Option<&Value> {
    source.get("serviceAccountToken").filter(|token| !token.is_null())
}

/// Whether a CSI driver of one of the pod's volumes asks for tokens for the audience.
async fn drivers_ask(request: &Request<'_>, pod: &Value, audience: &str) -> Result<bool, Status> {
    for volume in volumes(pod) {
        let Some(driver) = driver_of(request, pod, volume).await? else { continue };
        let driver = request.core.object("storage.k8s.io", "v1", "csidrivers", "", &driver).await?;
        if driver.is_some_and(|driver| asks(&driver, audience)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn asks(driver: &Value, audience: &str) -> bool {
    let mut requests = meta::at(driver, &["spec", "tokenRequests"]).as_array().into_iter().flatten();
    requests.any(|request| meta::text(request, &["audience"]) == audience)
}

/// The CSI driver of a volume: its own, or that of the volume to which its claim is bound.
async fn driver_of(request: &Request<'_>, pod: &Value, volume: &Value) -> Result<Option<String>, Status> {
    let inline = meta::text(volume, &["csi", "driver"]);
    if !inline.is_empty() {
        return Ok(Some(inline.to_owned()));
    }
    let Some(claim) = claim_of(pod, volume) else { return Ok(None) };
    let claim = request.core.object("", "v1", "persistentvolumeclaims", request.namespace, &claim).await?;
    let bound = claim.as_ref().map(|claim| meta::text(claim, &["spec", "volumeName"])).unwrap_or_default();
    if bound.is_empty() {
        return Ok(None);
    }
    let volume = request.core.object("", "v1", "persistentvolumes", "", bound).await?;
    let driver = volume.as_ref().map(|volume| meta::text(volume, &["spec", "csi", "driver"])).unwrap_or_default();
    Ok((!driver.is_empty()).then(|| driver.to_owned()))
}

/// The name of a volume's claim: the one that it names, or the one made for it.
fn claim_of(pod: &Value, volume: &Value) -> Option<String> {
    if !meta::at(volume, &["ephemeral", "volumeClaimTemplate"]).is_null() {
        return Some(format!("{}-{}", meta::name(pod), meta::text(volume, &["name"])));
    }
    let named = meta::text(volume, &["persistentVolumeClaim", "claimName"]);
    (!named.is_empty()).then(|| named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_speaks_to_those_that_its_volumes_and_drivers_name() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [
            {"name": "a", "projected": {"sources": [{"configMap": {"name": "c"}}, {"serviceAccountToken": {"path": "t", "audience": "vault"}}]}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        ]}});
        assert!(projects(&pod, "vault") && !projects(&pod, "other") && !projects(&pod, ""));
        let plain = json!({"spec": {"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}});
        assert!(projects(&plain, "") && !projects(&plain, "vault") && !projects(&json!({}), ""));
        let claims: Vec<Option<String>> = volumes(&pod).map(|volume| claim_of(&pod, volume)).collect();
        assert_eq!(claims, [None, Some("data".to_owned()), Some("p-c".to_owned())]);
        let driver = json!({"spec": {"tokenRequests": [{"audience": "cloud"}]}});
        assert!(asks(&driver, "cloud") && !asks(&driver, "") && !asks(&json!({"spec": {}}), "cloud"));
    }
}
