//! Logs of a container, streamed from its kubelet.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use rk_api::meta;
use rk_api::status::{Reason, Status};
use serde_json::Value;

use super::forward::forward;
use super::log_options;
use super::websocket::Wish;
use crate::handlers::Call;
use crate::http::{Body, read_body, text_response};

/// Parameters that the kubelet understands.
const PASSED_ON: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

pub(super) async fn serve(call: &Call, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    log_options::check(&call.query, &call.path.name)?;
    let pod = call.present().await?;
    let container = container_of(&pod, call.query.text("container"))?;
    let node = meta::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // Not on a node yet: nothing was said.
        return Ok(text_response(StatusCode::OK, Bytes::new()));
    }
    let mut query = String::new();
    for name in PASSED_ON {
        if let Some(value) = call.query.get(name) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            query.push_str(&encode(value));
        }
    }
    let wish = Wish::take(&mut request)?;
    let (sender, address) = call.core.kubelets.connect(&call.core, node).await?;
    let target = format!("/containerLogs/{}/{}/{container}{query}", call.path.namespace, call.path.name);
    let (mut parts, _) = request.into_parts();
    parts.method = http::Method::GET;
    parts.headers.remove(http::header::ACCEPT_ENCODING);
    let answer = forward(sender, address, &target, Request::from_parts(parts, empty())).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    Ok(match wish {
        Some(wish) => wish.carry(answer),
        None => answer,
    })
}

/// A refusal of the kubelet, which is plain text, as a Status.
async fn refusal(answer: Response<Body>) -> Status {
    let code = answer.status();
    let bytes = match read_body(answer.into_body()).await {
        Ok(bytes) => bytes,
        Err(status) => return status,
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::new(Reason::NotFound, text),
        StatusCode::INTERNAL_SERVER_ERROR => Status::internal(text),
        other => {
            let mut status = Status::new(Reason::Unknown, text);
            status.code = other.as_u16();
            status
        }
    }
}

fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Percent-encodes a query value.
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    meta::at(pod, &["spec", list])
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| meta::text(container, &["name"]).to_owned())
        .collect()
}

/// The container that is meant: the one that was named, or the only one.
///
/// # Errors
/// 400 in upstream's words.
pub(super) fn container_of(pod: &Value, wanted: &str) -> Result<String, Status> {
    let (containers, init, ephemeral) =
        (names(pod, "containers"), names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    let name = meta::name(pod);
    if !wanted.is_empty() {
        let known = containers.iter().chain(&init).chain(&ephemeral).any(|own| own == wanted);
        return if known {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    if let [only] = containers.as_slice() {
        return Ok(only.clone());
    }
    let mut why =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", containers.join(" "));
    if !init.is_empty() {
        why.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        why.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(Status::bad_request(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_kubelet_s_refusal_keeps_its_words() {
        let said = "container \"c\" in pod \"p\" is waiting to start: PodInitializing";
        for (code, reason, message) in [
            (StatusCode::BAD_REQUEST, Reason::BadRequest, said.to_owned()),
            (StatusCode::INTERNAL_SERVER_ERROR, Reason::InternalError, format!("Internal error occurred: {said}")),
            (StatusCode::BAD_GATEWAY, Reason::Unknown, said.to_owned()),
        ] {
            let status = refusal(text_response(code, Bytes::from(format!("{said}\n")))).await;
            assert_eq!((status.code, status.reason, status.message), (code.as_u16(), reason, message));
        }
    }

    #[test]
    fn the_only_container_needs_no_name() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container_of(&one, "").unwrap(), "a");
        assert_eq!(container_of(&one, "i").unwrap(), "i");
        assert_eq!(container_of(&one, "x").unwrap_err().message, "container x is not valid for pod p");
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(
            container_of(&two, "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
    }
}
