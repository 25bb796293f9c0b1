//! Admission of connections: webhooks may refuse exec, attach, port-forward and the proxy verbs.

use rk_api::status::Status;
use serde_json::{Map, Value, json};

use crate::admission::{self, Operation};
use crate::handlers::Call;

/// Asks whether the connection may be made.
pub(super) async fn admit(call: &mut Call) -> Result<(), Status> {
    let Some(options) = options(call) else { return Ok(()) };
    let request = admission::Request {
        core: &call.core,
        user: &call.user,
        resource: &call.resource,
        requested: &call.resource,
        subresource: &call.path.subresource,
        namespace: &call.path.namespace,
        name: &call.path.name,
        base: "",
        operation: Operation::Connect,
        old: None,
        dry_run: false,
        options: Map::new(),
    };
    // What webhooks made of the options is not what the kubelet is asked: that is the query.
    admission::connect(&request, options, &mut call.warnings).await.map(|_| ())
}

/// What is asked for, as the object that upstream makes of the query; `None` for what is no connection.
fn options(call: &Call) -> Option<Value> {
    let plural = &*call.resource.plural;
    let flag = |name: &str| call.query.flag(name);
    let streams = |kind: &str| {
        json!({
            "kind": kind, "apiVersion": "v1", "stdin": flag("stdin"), "stdout": flag("stdout"), "stderr": flag("stderr"),
            "tty": flag("tty"), "container": call.query.text("container"),
        })
    };
    Some(match (plural, call.path.subresource.as_str()) {
        (_, "log") => return None,
        ("pods", "attach") => streams("PodAttachOptions"),
        ("pods", "exec") => {
            let mut options = streams("PodExecOptions");
            options["command"] = call.query.all("command").collect();
            options
        }
        ("pods", "portforward") => {
            let ports = call.query.all("ports").filter_map(|port| port.parse::<u16>().ok()).map(Value::from);
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": ports.collect::<Vec<_>>()})
        }
        _ => {
            let kind = match plural {
                "pods" => "PodProxyOptions",
                "services" => "ServiceProxyOptions",
                _ => "NodeProxyOptions",
            };
            json!({"kind": kind, "apiVersion": "v1", "path": call.path.rest})
        }
    })
}
