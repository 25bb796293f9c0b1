//! Logs of a container, streamed from its kubelet.

use std::net::SocketAddr;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::dial::{Unreached, connect};
use super::websocket::Wish;
use super::{kubelet, log_options};
use crate::deadline::{MOST, within};
use crate::handlers::Call;
use crate::http::{Body, BoxError, Query, read_body};

/// Parameters that the kubelet understands, in the order of their names; the second part tells whether it is a mere yes.
const PASSED_ON: &[(&str, bool)] = &[
    ("follow", true),
    ("limitBytes", false),
    ("previous", true),
    ("sinceSeconds", false),
    ("sinceTime", false),
    ("stream", false),
    ("tailLines", false),
    ("timestamps", true),
];

pub(super) async fn serve(call: &Call, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    log_options::check(&call.query, &call.path.name)?;
    let pod = call.present().await?;
    let container = container_of(&pod, call.query.text("container"))?;
    let node = meta::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // Not on a node yet: nothing was said.
        let mut nothing = Response::new(empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let wish = Wish::take(&mut request)?;
    let address = kubelet::address(&call.core, node).await?;
    let (namespace, name) = (&call.path.namespace, &call.path.name);
    let target = format!("/containerLogs/{namespace}/{name}/{container}{}", passed_on(&call.query));
    let answer = ask(call, address, &target).await?;
    if !(200..=206).contains(&answer.status().as_u16()) {
        return Err(refusal(answer, name).await);
    }
    let mut said = Response::new(answer.into_body());
    said.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(match wish {
        Some(wish) => wish.carry(said),
        None => said,
    })
}

/// The query that the kubelet gets.
fn passed_on(query: &Query) -> String {
    let mut out = String::new();
    for (name, is_yes) in PASSED_ON {
        let value = if *is_yes {
            query.flag(name).then_some("true")
        } else {
            query.get(name).filter(|value| !value.is_empty())
        };
        let Some(value) = value else {
            continue;
        };
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// Asks a kubelet in the server's own name, with nothing of the client's headers.
async fn ask(call: &Call, address: SocketAddr, target: &str) -> Result<Response<Body>, Status> {
    let url = format!("https://{address}{target}");
    let tls = call.core.kubelets.tls();
    let mut sender = connect(address, Some(tls)).await.map_err(|unreached| unreached.by_get(&url))?;
    let request = Request::get(target).header(HOST, address.to_string()).body(empty()).map_err(Status::internal)?;
    let answer = sender.send_request(request).await.map_err(|error| Unreached::broken(&error).by_get(&url))?;
    Ok(answer.map(|body| body.map_err(|error| -> BoxError { error.into() }).boxed_unsync()))
}

/// A refusal of the kubelet, which is plain text, as a Status.
async fn refusal(answer: Response<Body>, pod: &str) -> Status {
    let code = answer.status();
    let bytes = match within(Some(MOST), read_body(answer.into_body())).await {
        Ok(bytes) => bytes,
        Err(status) => return status,
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::INTERNAL_SERVER_ERROR => Status::internal(text),
        other => Status::foreign(other.as_u16(), ("pods/log", pod), &text),
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
    let all = [init, containers, ephemeral].concat().join(" ");
    Err(Status::bad_request(format!("a container name must be specified for pod {name}, choose one of: [{all}]")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rk_api::status::Reason;
    use serde_json::json;

    use crate::http::text_response;

    #[test]
    fn the_kubelet_gets_what_it_understands_by_name() {
        for (query, want) in [
            ("", ""),
            ("container=c&follow=false&tailLines=", ""),
            (
                "timestamps=true&tailLines=3&sinceTime=2026-01-01T00:00:00Z&follow=1&pretty=true",
                "?follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=3&timestamps=true",
            ),
        ] {
            assert_eq!(passed_on(&Query::parse(query)), want, "{query}");
        }
    }

    #[tokio::test]
    async fn a_kubelet_s_refusal_is_told_as_upstream_tells_it() {
        let said = "container \"c\" in pod \"p\" is waiting to start: PodInitializing";
        for (code, reason, message) in [
            (StatusCode::BAD_REQUEST, Reason::BadRequest, said.to_owned()),
            (StatusCode::INTERNAL_SERVER_ERROR, Reason::InternalError, format!("Internal error occurred: {said}")),
            (
                StatusCode::NOT_FOUND,
                Reason::NotFound,
                "the server could not find the requested resource ( pods/log p)".to_owned(),
            ),
            (
                StatusCode::BAD_GATEWAY,
                Reason::InternalError,
                format!("an error on the server ({said:?}) has prevented the request from succeeding ( pods/log p)"),
            ),
        ] {
            let status = refusal(text_response(code, Bytes::from(format!("{said}\n"))), "p").await;
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
        let many = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}]}});
        assert!(container_of(&many, "").unwrap_err().message.ends_with("choose one of: [i a b e]"));
    }
}
