//! NamespaceLifecycle: nothing new in namespaces that are missing or on their way out; some namespaces stay.

use rk_api::status::{Cause, Status};

use super::{Operation, Request};

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) async fn admit(request: &Request<'_>) -> Result<(), Status> {
    if request.is("", "namespaces") {
        if request.operation == Operation::Delete && IMMORTAL.contains(&request.name) {
            return Err(request.forbid("this namespace may not be deleted"));
        }
        return Ok(());
    }
    if request.operation != Operation::Create || request.namespace.is_empty() || !request.resource.is_stored() {
        return Ok(());
    }
    let namespaces = request.core.resource("", "v1", "namespaces")?;
    let Some(namespace) = request.core.consult("", "v1", "namespaces", "", request.namespace).await? else {
        return Err(Status::not_found(&namespaces, request.namespace));
    };
    let terminating =
        rk_api::meta::text(&namespace, &["status", "phase"]) == "Terminating" || rk_api::meta::is_deleting(&namespace);
    if !terminating {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {} because it is being terminated", request.namespace);
    let mut status = request.forbid(&why);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {} is being terminated", request.namespace),
            field: "metadata.namespace".to_owned(),
        });
    }
    Err(status)
}
