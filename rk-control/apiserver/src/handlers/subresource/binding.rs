//! Binding a pod to a node: what the scheduler does, once per pod.

use http::Response;
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::super::call::Call;
use crate::http::Body;

/// POST of a Binding to `pods/<name>/binding`.
pub(super) async fn bind(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("", "v1", "Binding");
    let (options, binding) = super::decode(call, body, &gvk).await?;
    let name = call.path.name.clone();
    let given = meta::name(&binding);
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    assign(call, &name, &binding, options.dry_run).await
}

/// Assigns a pod as a Binding says.
pub(super) async fn assign(
    call: &mut Call,
    name: &str,
    binding: &Value,
    dry_run: bool,
) -> Result<Response<Body>, Status> {
    let binding = super::admit(call, (name, None), "binding", binding, dry_run).await?;
    let kind = meta::text(&binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        return Err(super::super::options::invalid("target.kind", kind, "must be Node"));
    }
    if meta::text(&binding, &["target", "name"]).is_empty() {
        return Err(super::super::options::invalid("target.name", "", "a node name is required"));
    }
    let call = &*call;
    let assign = |pod: &mut Value| set_node(call, pod, name, &binding);
    if dry_run {
        let Some((mut pod, _)) = call.core.storage.read(&call.hub, &call.path.namespace, name).await? else {
            return Err(Status::not_found(&call.resource, name));
        };
        assign(&mut pod)?;
    } else {
        super::amend(call, &call.path.namespace, name, assign).await?;
    }
    super::success(call)
}

fn set_node(call: &Call, pod: &mut Value, name: &str, binding: &Value) -> Result<(), Status> {
    let (node, uid) = (meta::text(binding, &["target", "name"]), meta::uid(binding));
    let conflict = |why: String| Err(Status::conflict(&call.resource, name, &why));
    if !uid.is_empty() && uid != meta::uid(pod) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(pod)
        ));
    }
    if meta::is_deleting(pod) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let present = meta::text(pod, &["spec", "nodeName"]);
    if !present.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {present:?}"));
    }
    if meta::at(pod, &["spec", "schedulingGates"]).as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = json!(node);
    for field in ["annotations", "labels"] {
        for (key, value) in meta::at(binding, &["metadata", field]).as_object().into_iter().flatten() {
            pod["metadata"][field][key.as_str()] = value.clone();
        }
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let mut conditions = meta::at(pod, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition.get("type").and_then(Value::as_str) != Some("PodScheduled"));
    conditions.push(condition);
    pod["status"]["conditions"] = json!(conditions);
    // Where room was made for it is of no more interest (KEP-5278).
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    Ok(())
}
