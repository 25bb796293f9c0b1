//! The verbs, one file each, for every resource alike. What is special to a kind is in `rk_api::strategy`, in the admission chain
//! and in [`subresource`].

mod call;
mod component_status;
mod create;
mod delete;
mod delete_collection;
mod get;
mod list;
mod list_body;
mod options;
mod ownership;
mod patch;
mod remove;
mod render;
mod selection;
mod subresource;
mod update;
mod watch;
mod watch_encode;
mod watch_piece;
mod watch_plan;
mod write;

use std::sync::Arc;

use http::{Method, Request, Response};
use rk_api::meta::path_segment;
use rk_api::resources::Verb;
use rk_api::status::{Status, quote};

use crate::audit;
use crate::authn::User;
use crate::discovery;
use crate::http::{Body, Query, ResourcePath};
use crate::server::Core;

pub use call::Call;

/// What a request asks for, and who asks.
pub struct Asked {
    /// Who asks.
    pub user: User,
    /// What is named.
    pub path: ResourcePath,
    /// The verb.
    pub verb: String,
    /// Query parameters.
    pub query: Query,
}

/// Serves a request for a resource; the texts that its answer, or its refusal, is to warn with are left in `warnings`.
///
/// # Errors
/// Whatever the verb fails with.
pub async fn dispatch(
    core: Arc<Core>,
    asked: Asked,
    mut request: Request<Body>,
    warnings: &mut Vec<String>,
) -> Result<Response<Body>, Status> {
    let Asked { user, path, verb, query } = asked;
    let registry = core.registry();
    let Some(resource) = registry.get(&path.group, &path.version, &path.resource).cloned() else {
        return discovery::unserved(&registry, &path.group);
    };
    let hub = registry.hub(&resource).cloned().ok_or_else(Status::unknown_path)?;
    if !resource.namespaced() && !path.namespace.is_empty() && path.resource != "namespaces" {
        return Err(Status::unknown_path());
    }
    let method = request.method().clone();
    // What lies behind a proxy has verbs of its own, and the handler of custom kinds reads a HEAD as a GET.
    if method == Method::HEAD && path.subresource != "proxy" && resource.custom.is_none() {
        return Err(Status::method_not_allowed(&resource, "head"));
    }
    let known =
        matches!(method, Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    // A path of old, which means a watch by itself, is there for GET alone.
    let is_misread = verb == "watch" && !matches!(method, Method::GET | Method::HEAD);
    if (!known || is_misread) && path.subresource != "proxy" {
        return Err(Status::method_not_allowed(&resource, ""));
    }
    let deprecated = deprecation(&path).map(str::to_owned);
    let deprecated = deprecated.or_else(|| resource.custom.as_ref()?.deprecation.clone());
    if deprecated.is_some() && (path.subresource.is_empty() || resource.subresource(&path.subresource).is_some()) {
        core.metrics.deprecated(&path);
        audit::annotate("k8s.io/deprecated", || "true".to_owned());
    }
    let headers = if path.subresource.is_empty() {
        std::mem::take(request.headers_mut())
    } else {
        // Streams and proxies pass the request on with them.
        request.headers().clone()
    };
    let mut call = Call::new(core, user, path, verb, query, headers, resource, hub);
    call.warnings.extend(deprecated);
    let outcome = if call.path.subresource.is_empty() {
        verb_on_resource(&mut call, request).await
    } else {
        subresource::serve(&mut call, &method, request).await
    };
    // Who is refused is warned as well.
    warnings.extend(call.warnings);
    outcome
}

/// The warning of a resource that upstream declared deprecated.
fn deprecation(path: &ResourcePath) -> Option<&'static str> {
    match (path.group.as_str(), path.resource.as_str()) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// Refuses a verb on all namespaces, in the words of who routes it: that of custom kinds knows no such path, that of the kinds that are
/// built in knows it for lists.
fn nowhere(call: &Call, wanted: Verb) -> Result<Response<Body>, Status> {
    match &call.resource.custom {
        Some(_) => discovery::unserved(&call.core.registry(), &call.path.group),
        None if call.path.name.is_empty() => Err(Status::method_not_allowed(&call.resource, wanted.as_str())),
        None => Err(Status::unknown_path()),
    }
}

async fn verb_on_resource(call: &mut Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let verb = call.verb.clone();
    let wanted = match verb.as_str() {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        _ => Verb::DeleteCollection,
    };
    // Kinds that are closing list fewer verbs than they have.
    if !call.resource.is_closing() && !call.resource.verbs.contains(wanted) {
        return Err(Status::method_not_allowed(&call.resource, wanted.as_str()));
    }
    // All namespaces together are read and nothing else: what would change them all has no path.
    let across = call.resource.namespaced() && call.path.namespace.is_empty();
    if across && !matches!(wanted, Verb::List | Verb::Watch) {
        return nowhere(call, wanted);
    }
    // Objects are made in their collection and changed in their own place.
    let misplaced = match wanted {
        Verb::Create => !call.path.name.is_empty(),
        Verb::Update | Verb::Patch => call.path.name.is_empty(),
        _ => false,
    };
    if misplaced && call.resource.custom.is_some() && wanted != Verb::Create {
        return Err(Status::bad_request("name must be provided"));
    }
    if misplaced {
        return Err(Status::method_not_allowed(&call.resource, wanted.as_str()));
    }
    let odd = path_segment(&call.path.name);
    if !odd.is_empty() {
        let (name, why) = (quote(&call.path.name), odd.join(";"));
        return Err(Status::bad_request(format!("Name parameter invalid: {name}: {why}")));
    }
    if !matches!(wanted, Verb::Get | Verb::List | Verb::Watch) {
        call.check_answer()?;
    }
    match wanted {
        Verb::Get if call.resource.gvk.kind == "ComponentStatus" => component_status::get(call).await,
        Verb::List if call.resource.gvk.kind == "ComponentStatus" => component_status::list(call).await,
        Verb::Get => get::get(call).await,
        Verb::List => list::list(call).await,
        Verb::Watch => watch::watch(call, request).await,
        Verb::Create if !call.resource.is_stored() => subresource::review(call, request.into_body()).await,
        Verb::Create => create::create(call, request.into_body()).await,
        Verb::Update => update::update(call, request.into_body()).await,
        Verb::Patch => patch::patch(call, request.into_body()).await,
        Verb::Delete => delete::delete(call, request.into_body()).await,
        Verb::DeleteCollection => delete_collection::delete_collection(call, request.into_body()).await,
    }
}
