//! Everything that is not a resource: discovery, version, health, metrics, OpenAPI, token issuer documents.

mod added;
mod aggregated;
mod documents;
mod merged;
mod openapi;
mod pod_resources;
mod remote;
mod version;
mod zpages;

pub use merged::part as openapi_part;
pub use openapi::OpenApi;
pub(crate) use version::labels as build_labels;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use rk_api::resources::Registry;
use rk_api::status::Status;
use serde_json::{Value, json};

use crate::aggregation;
use crate::authn::User;
use crate::http::{
    Accept, Body, Query, RequestInfo, accepts_gzip, bytes_response, json_response, maybe_gzip, plain_response,
    text_response, wants_pretty,
};
use crate::server::Core;

/// The version that clients see.
pub const GIT_VERSION: &str = "v1.36.0";
/// The media type of figures in Prometheus' text form.
const FIGURES: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
/// What a client hears that does not take the one form which a document has.
const NO_JSON: &str = "406: Not Acceptable\n\nAvailable representations: application/json";

/// Rendered aggregated discovery documents; made on first use, dropped when the resource table changes.
#[derive(Default)]
pub struct Discovery {
    rendered: Mutex<Vec<(DocumentKey, Arc<aggregated::Document>)>>,
    /// OpenAPI documents.
    pub openapi: OpenApi,
}

/// Whether it is the core group's, and in which version.
type DocumentKey = (bool, aggregated::Version);

impl Discovery {
    /// Forgets what was rendered.
    pub fn invalidate(&self) {
        self.rendered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn document(&self, core: &Core, core_group: bool, version: aggregated::Version) -> Arc<aggregated::Document> {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (core_group, version);
        if let Some((_, document)) = rendered.iter().find(|(own, _)| *own == key) {
            return Arc::clone(document);
        }
        let document = Arc::new(aggregated::render(&core.registry(), &core.aggregated, core_group, version));
        rendered.push((key, Arc::clone(&document)));
        document
    }
}

/// Serves a path that is no resource.
///
/// # Errors
/// 404, 405, 406, and what forwarding to an aggregated API fails with.
pub async fn serve(
    core: &Arc<Core>,
    user: &User,
    info: &RequestInfo,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let path = info.path.trim_end_matches('/');
    if let Some(remote) = core.aggregated.documented(path) {
        return aggregation::forward(core, &remote, user, request).await;
    }
    // What begins with two slashes is authorized as if it were a path of the API, and is none.
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if *request.method() != Method::GET && is_only_got(&core.registry(), &parts) {
        return Err(Status::foreign(405, ("", ""), ""));
    }
    let headers = request.headers();
    let gzip = accepts_gzip(headers);
    let json = |value: &Value| Ok(json_response(StatusCode::OK, value, wants_pretty(headers, query)));
    // What upstream indents, whoever asks.
    let indented = |value: &Value| Ok(json_response(StatusCode::OK, value, true));
    let negotiated = |value: &Value| -> Result<Response<Body>, Status> {
        let accept = Accept::negotiate_plain(headers, query)?;
        let (media_type, body) = documents::encode(value, accept.format, accept.pretty);
        Ok(bytes_response(StatusCode::OK, media_type, body))
    };
    let known = |group: &str, document: Option<Value>| match document {
        Some(document) => negotiated(&document),
        None => unserved(&core.registry(), group),
    };
    match parts.as_slice() {
        ["api"] | ["apis"] => {
            let core_group = parts == ["api"];
            if let Some(version) = aggregated::wanted(headers) {
                let document = core.discovery.document(core, core_group, version);
                return Ok(tagged(version.media_type(), &document.body, &document.etag, headers, gzip));
            }
            if core_group {
                return negotiated(&documents::api_versions(&core.config.server_url()));
            }
            let registry = core.registry();
            let mut groups = documents::groups(&registry);
            core.aggregated.extend_groups(&registry, &mut groups);
            negotiated(&groups)
        }
        ["api", version] => known("", documents::resources(&core.registry(), "", version)),
        ["apis", group] => {
            let own = documents::group(&core.registry(), group);
            known(group, core.aggregated.extend_group(group, own))
        }
        ["apis", group, version] => known(group, documents::resources(&core.registry(), group, version)),
        ["version"] if !accepts_json(headers) => Err(Status::foreign(406, ("", ""), NO_JSON)),
        ["version"] => indented(&version::document()),
        ["healthz" | "livez" | "readyz", ..] => Ok(core.health.serve(core, path, query).await.unwrap_or_else(no_page)),
        ["metrics"] => Ok(metrics(core).await),
        ["metrics", "slis"] => {
            let mut text = String::new();
            core.health.render(&mut text);
            Ok(figures(text))
        }
        ["metrics", "resources"] => Ok(figures(pod_resources::page(core).await?)),
        ["debug", "api_priority_and_fairness", page] => {
            Ok(core.flows.dump(page).map_or_else(no_page, |text| text_response(StatusCode::OK, text)))
        }
        ["statusz"] => zpages::statusz(core, headers, query),
        ["flagz"] => zpages::flagz(core, headers, query),
        ["openapi", "v3"] => {
            let mut index = core.discovery.openapi.index();
            core.aggregated.extend_openapi(&mut index);
            Ok(json_response(StatusCode::OK, &index, false))
        }
        ["openapi", rest @ ..] => core.discovery.openapi.serve(rest, headers, query),
        [".well-known", "openid-configuration"] => json(&openid_configuration(core)),
        ["openid", "v1", "jwks"] => {
            Ok(bytes_response(StatusCode::OK, "application/jwk-set+json", core.tokens.jwks().to_string().into()))
        }
        [""] => indented(&documents::paths(&core.registry())),
        _ => Ok(no_page()),
    }
}

/// Metrics of the whole server, in Prometheus' text form.
async fn metrics(core: &Core) -> Response<Body> {
    let size = core.storage.store().size().await.ok();
    let mut text = core.metrics.render(&core.storage.counts(), core.storage.timings(), size);
    core.storage.render(&mut text);
    core.health.render(&mut text);
    core.flows.render(&mut text);
    if let Some(audit) = &core.audit {
        audit.render(&mut text);
    }
    figures(text)
}

/// Figures, in the type by which collectors know how to read them.
fn figures(text: String) -> Response<Body> {
    bytes_response(StatusCode::OK, FIGURES, text.into())
}

/// Whether a path answers GET alone, and not even HEAD, as kube-apiserver v1.36 has it for documents of what is built in; every other
/// path answers any method.
fn is_only_got(registry: &Registry, parts: &[&str]) -> bool {
    match parts {
        ["api"] | ["api", _] | ["version"] | [".well-known", "openid-configuration"] | ["openid", "v1", "jwks"] => true,
        ["apis", group, _] => has_built_in(registry, group),
        _ => false,
    }
}

/// Whether a client takes JSON, by the rules of the few documents that come in nothing else.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*").split(',');
    types.any(|clause| matches!(clause.split(';').next().map(str::trim), Some("" | "*/*" | "application/json")))
}

/// Whether a group has kinds that are built in.
fn has_built_in(registry: &Registry, group: &str) -> bool {
    registry.iter().any(|own| own.gvk.group == group && own.custom.is_none())
}

/// No Status: that is how clients tell a missing path from a missing object.
pub(crate) fn no_page() -> Response<Body> {
    plain_response(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The answer for a version or a resource that is not served: of a group that the server has itself a Status, whatever the version.
pub(crate) fn unserved(registry: &Registry, group: &str) -> Result<Response<Body>, Status> {
    if has_built_in(registry, group) { Err(Status::unknown_path()) } else { Ok(no_page()) }
}

/// An answer with an ETag; 304 when the client has it already.
fn tagged(media_type: &'static str, body: &Bytes, etag: &str, headers: &HeaderMap, gzip: bool) -> Response<Body> {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|own| own == etag);
    let mut response = if known {
        bytes_response(StatusCode::NOT_MODIFIED, media_type, Bytes::new())
    } else {
        maybe_gzip(StatusCode::OK, media_type, body.clone(), gzip)
    };
    if let Ok(value) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn openid_configuration(core: &Core) -> Value {
    json!({
        "issuer": core.tokens.issuer(),
        "jwks_uri": format!("{}/openid/v1/jwks", core.config.server_url()),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": core.tokens.algorithms(),
    })
}
