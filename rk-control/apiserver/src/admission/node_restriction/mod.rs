//! NodeRestriction: a kubelet writes its own node, its own pods, and nothing about others.

mod claim;
mod node;
mod pod;
mod token;

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, certificates};

/// Signers of the certificates that nodes have.
const NODE_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    validate(request, Some(object)).await
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    // Connections are no writes; the authorizer lets no node connect to anything.
    if !request.user.in_group(crate::authn::NODES) || request.operation == Operation::Connect {
        return Ok(());
    }
    let Some(node) = request.user.node_name().filter(|node| !node.is_empty()) else {
        return Err(request.forbid(&format!("could not determine node from user {:?}", request.user.name)));
    };
    match (&*request.resource.gvk.group, &*request.resource.plural, request.subresource) {
        ("", "pods", part) => pod::judge(request, node, part, object).await,
        ("", "nodes", _) => node::judge(request, node, object),
        ("", "persistentvolumeclaims", part) => claim::judge(request, node, part, object),
        ("", "serviceaccounts", "token") => token::judge(request, node, object).await,
        ("coordination.k8s.io", "leases", _) if request.namespace != "kube-node-lease" => {
            Err(request.forbid("can only access leases in the \"kube-node-lease\" system namespace"))
        }
        ("coordination.k8s.io", "leases", _) if request.name != node => {
            Err(request.forbid("can only access node lease with the same name as the requesting node"))
        }
        ("storage.k8s.io", "csinodes", _) if request.name != node => {
            Err(request.forbid("can only access CSINode with the same name as the requesting node"))
        }
        ("resource.k8s.io", "resourceslices", _) => slice(request, node, object),
        ("certificates.k8s.io", "certificatesigningrequests", "") if request.creates() => {
            signing_request(request, node, object.unwrap_or(&Value::Null))
        }
        _ => Ok(()),
    }
}

/// Slices that exist are judged by the authorizer; what is new, and each of many that are deleted at once, only here.
fn slice(request: &Request<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    let (slice, verb) = match request.operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (request.old, "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if slice.is_some_and(|slice| meta::text(slice, &["spec", "nodeName"]) == node) {
        return Ok(());
    }
    Err(request.forbid(&format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")))
}

/// A node asks for certificates in its own name alone.
fn signing_request(request: &Request<'_>, node: &str, object: &Value) -> Result<(), Status> {
    if !NODE_SIGNERS.contains(&meta::text(object, &["spec", "signerName"])) {
        return Ok(());
    }
    let name = certificates::common_name(meta::text(object, &["spec", "request"]));
    let name = name.map_err(|why| request.forbid(&format!("unable to parse csr: {why}")))?;
    if name == format!("system:node:{node}") {
        return Ok(());
    }
    Err(request.forbid(&format!("can only create a node CSR with CN=system:node:{node}")))
}
