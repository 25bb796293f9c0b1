//! RuntimeClass: a class brings its overhead and its place (KEP-688).

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::Request;

async fn class(request: &Request<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let name = meta::text(pod, &["spec", "runtimeClassName"]);
    if name.is_empty() {
        return Ok(None);
    }
    let found = request.core.object("node.k8s.io", "v1", "runtimeclasses", "", name).await?;
    found.map(Some).ok_or_else(|| request.forbid(&format!("pod rejected: RuntimeClass {name:?} not found")))
}

pub(super) async fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is("", "pods") || !request.creates() {
        return Ok(());
    }
    let Some(class) = class(request, pod).await? else { return Ok(()) };
    let overhead = meta::at(&class, &["overhead", "podFixed"]);
    if overhead.is_object() {
        let own = meta::at(pod, &["spec", "overhead"]);
        if own.is_object() && own != overhead {
            return Err(request.forbid("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
        }
        pod["spec"]["overhead"] = overhead.clone();
    }
    for (key, value) in meta::at(&class, &["scheduling", "nodeSelector"]).as_object().into_iter().flatten() {
        let own = meta::at(pod, &["spec", "nodeSelector", key]);
        if !own.is_null() && own != value {
            return Err(request.forbid(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] and pod.spec.nodeSelector[{key}] differ"
            )));
        }
        pod["spec"]["nodeSelector"][key.as_str()] = value.clone();
    }
    if let Some(more) = meta::at(&class, &["scheduling", "tolerations"]).as_array() {
        let mut own = meta::at(pod, &["spec", "tolerations"]).as_array().cloned().unwrap_or_default();
        for toleration in more {
            if !own.contains(toleration) {
                own.push(toleration.clone());
            }
        }
        pod["spec"]["tolerations"] = json!(own);
    }
    Ok(())
}

pub(super) async fn validate(request: &Request<'_>, pod: Option<&Value>) -> Result<(), Status> {
    let Some(pod) = pod.filter(|_| request.is("", "pods") && request.creates()) else { return Ok(()) };
    let overhead = meta::at(pod, &["spec", "overhead"]);
    if class(request, pod).await?.is_none() && overhead.is_object() {
        return Err(
            request.forbid("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        );
    }
    Ok(())
}
