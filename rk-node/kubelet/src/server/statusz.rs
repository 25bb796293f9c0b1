//! `/statusz` (KEP-4827): since when this kubelet runs and which version it is.

use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use rk_zpages::{Answer, Statusz, folders};

use super::body::{Body, Refusal, text};
use super::{process, zpages};
use crate::KUBELET_VERSION;

/// What this server answers.
const PATHS: [&str; 19] = [
    "/attach",
    "/checkpoint",
    "/configz",
    "/containerLogs",
    "/exec",
    "/flagz",
    "/healthz",
    "/logs",
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/probes",
    "/metrics/resource",
    "/metrics/slis",
    "/pods",
    "/portForward",
    "/run",
    "/runningpods",
    "/stats",
    "/statusz",
];

/// Answers a request for it.
pub(super) fn statusz(headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let now = Timestamp::now();
    let began = process::began().and_then(|seconds| Timestamp::from_second(seconds as i64).ok()).unwrap_or(now);
    let paths = folders(PATHS);
    let page = Statusz { component: "kubelet", began, now, version: KUBELET_VERSION, paths: &paths };
    match zpages::accepted(headers, Statusz::KIND)? {
        Answer::Text => Ok(text(StatusCode::OK, page.text())),
        Answer::Object(version, format) => zpages::object("statusz", &page.object(version), version, format),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT, CONTENT_TYPE, WARNING};
    use http_body_util::BodyExt;

    use super::*;

    /// Content type, warning and body of the answer to who accepts this; none for who is refused.
    async fn asked(accept: &str) -> Option<(String, bool, String)> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
        let (parts, body) = statusz(&headers).ok()?.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        let kind = parts.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        Some((kind, parts.headers.contains_key(WARNING), String::from_utf8(body.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn the_page_tells_since_when_it_runs_and_which_version_in_the_form_that_is_accepted() {
        let (kind, warned, text) = asked("text/plain; charset=UTF-8; q=0.5, application/json").await.unwrap();
        assert_eq!((kind.as_str(), warned), ("text/plain; charset=utf-8", false));
        assert!(text.starts_with("\nkubelet statusz\nWarning: This endpoint is not meant"), "{text}");
        for line in ["Binary version: 1.36.0", "Emulation version: 1.36"] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
        assert!(text.ends_with("/runningpods /stats /statusz\n"), "{text}");
        let object =
            |format: &str, version: &str| format!("application/{format};v={version};g=config.k8s.io;as=Statusz");
        let (kind, warned, json) = asked(&object("json", "v1alpha1")).await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (kind.as_str(), warned, told["metadata"]["name"].as_str()),
            ("application/json;g=config.k8s.io;v=v1alpha1;as=Statusz", true, Some("kubelet"))
        );
        let (kind, warned, yaml) = asked(&object("yaml", "v1beta1")).await.unwrap();
        assert_eq!((kind.as_str(), warned), ("application/yaml;g=config.k8s.io;v=v1beta1;as=Statusz", false));
        assert!(yaml.lines().any(|line| line == "apiVersion: config.k8s.io/v1beta1"), "{yaml}");
        assert_eq!(asked("application/json").await, None);
        assert!(process::began().is_some_and(|began| began > 1e9));
    }
}
