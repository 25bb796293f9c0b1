//! exec, attach and port-forward: an upgraded connection to the kubelet.

use http::{Request, Response};
use rk_api::meta;
use rk_api::status::Status;

use super::forward::{forward, is_upgrade};
use super::logs::{container_of, encode};
use crate::authz::Attributes;
use crate::handlers::Call;
use crate::http::Body;

pub(super) async fn serve(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let pod = call.present().await?;
    let verb = call.path.subresource.as_str();
    if *request.method() == http::Method::GET {
        // WebSockets open with GET, yet what follows is as powerful as POST and needs the same right.
        let attributes = Attributes {
            verb: "create".to_owned(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            subresource: verb.to_owned(),
            namespace: call.path.namespace.clone(),
            name: call.path.name.clone(),
            ..Attributes::default()
        };
        call.core.authorizer.check(&call.core, &call.user, &attributes).await?;
    }
    let (namespace, name) = (&call.path.namespace, &call.path.name);
    let target = if verb == "portforward" {
        format!("/portForward/{namespace}/{name}{}", port_query(call))
    } else {
        let container = container_of(&pod, call.query.text("container"))?;
        format!("/{verb}/{namespace}/{name}/{container}{}", stream_query(call)?)
    };
    let node = meta::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    // Only where the stream would go to is known is it asked whether it is one.
    if !is_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let (sender, address) = call.core.kubelets.connect(&call.core, node).await?;
    tracing::debug!(node, pod = %name, verb, "stream");
    forward(sender, address, &target, request).await
}

/// The kubelet's names of the standard streams.
fn stream_query(call: &Call) -> Result<String, Status> {
    let mut out = Vec::new();
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if call.query.flag(ours) {
            out.push(format!("{theirs}=1"));
        }
    }
    if out.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let commands: Vec<String> = call.query.all("command").map(|word| format!("command={}", encode(word))).collect();
    if call.path.subresource == "exec" && commands.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    out.extend(commands);
    Ok(format!("?{}", out.join("&")))
}

fn port_query(call: &Call) -> String {
    let ports: Vec<String> =
        call.query.all("ports").chain(call.query.all("port")).map(|port| format!("port={}", encode(port))).collect();
    if ports.is_empty() { String::new() } else { format!("?{}", ports.join("&")) }
}
