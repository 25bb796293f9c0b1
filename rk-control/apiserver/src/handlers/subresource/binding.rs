//! Binding a pod to a node: what the scheduler does, once per pod.

use http::Response;
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::status::{FieldErrors, Path, Reason, Status};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::write::precondition_failed;
use crate::http::Body;

/// POST of a Binding to `pods/<name>/binding`.
pub(super) async fn bind(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("", "v1", "Binding");
    let (options, binding) = super::decode(call, body, &gvk).await?;
    let name = call.path.name.clone();
    if meta::name(&binding) != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
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
    check_target(&binding)?;
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

/// A Binding is of a pod to a node. What it breaks is no answer of upstream's own: 500 without a reason.
fn check_target(binding: &Value) -> Result<(), Status> {
    let (mut errors, target) = (FieldErrors::new(), Path::new("target"));
    let kind = meta::text(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.unsupported_as_listed(&target.child("kind"), kind, &["Node", "<empty>"]);
    }
    if meta::text(binding, &["target", "name"]).is_empty() {
        errors.required(&target.child("name"), "");
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::new(Reason::Unknown, one.as_str())),
        many => Err(Status::new(Reason::Unknown, format!("[{}]", many.join(", ")))),
    }
}

/// What a Binding says that the pod must be.
fn check_preconditions(call: &Call, pod: &Value, name: &str, binding: &Value) -> Result<(), Status> {
    for (what, wanted, own) in [
        ("UID", meta::uid(binding), meta::uid(pod)),
        ("ResourceVersion", meta::resource_version(binding), meta::resource_version(pod)),
    ] {
        if !wanted.is_empty() && wanted != own {
            return Err(precondition_failed(call, name, what, (wanted, own)));
        }
    }
    Ok(())
}

fn set_node(call: &Call, pod: &mut Value, name: &str, binding: &Value) -> Result<(), Status> {
    check_preconditions(call, pod, name, binding)?;
    let node = meta::text(binding, &["target", "name"]);
    let conflict = |why: String| Err(Status::conflict_on(("", "pods/binding"), name, &why));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_to_a_node() {
        for (target, want) in [
            (json!({"name": "n"}), None),
            (json!({"kind": "Node", "name": "n"}), None),
            (
                json!({"kind": "Pod", "name": "n"}),
                Some("target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\""),
            ),
            (json!({}), Some("target.name: Required value")),
            (
                json!({"kind": "Pod"}),
                Some(
                    "[target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\", target.name: Required value]",
                ),
            ),
        ] {
            let refused = check_target(&json!({"target": target})).err();
            assert_eq!(refused.as_ref().map(|status| status.message.as_str()), want, "{target}");
            assert!(refused.is_none_or(|status| status.code == 500), "{target}");
        }
    }
}
