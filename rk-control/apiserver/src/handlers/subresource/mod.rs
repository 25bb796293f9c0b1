//! Subresources: parts of an object, verbs in disguise (binding, eviction, token, reviews), and streams to kubelets.

mod binding;
mod eviction;
mod part;
mod review;
mod scale;
mod token;

use http::{Method, Request, Response, StatusCode};
use rk_api::resources::{GroupVersionKind, Verb};
use rk_api::schema::Schema;
use rk_api::status::Status;
use rk_store::{Expect, StoreError};
use serde_json::{Value, json};

use super::call::Call;
use super::options::WriteOptions;
use super::render;
use super::write::fix_namespace;
use crate::admission::{self, Operation};
use crate::audit;
use crate::codec;
use crate::http::Body;

pub(super) use review::review;

/// Serves a request for a subresource.
pub(super) async fn serve(call: &mut Call, method: &Method, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(sub) = call.resource.subresource(&call.path.subresource).cloned() else {
        // The handler of custom kinds looks for the object's part, upstream's router for the path.
        return Err(if call.resource.custom.is_some() { call.not_found() } else { Status::unknown_path() });
    };
    let verb = match call.verb.as_str() {
        // Methods that are no verb come through to proxies alone.
        "get" | "watch" | "" => Verb::Get,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        _ => return Err(Status::method_not_allowed(&call.resource, &call.verb)),
    };
    if !sub.verbs.contains(verb) {
        return Err(Status::method_not_allowed(&call.resource, verb.as_str()));
    }
    if call.resource.namespaced() && call.path.namespace.is_empty() {
        return Err(Status::unknown_path());
    }
    // What lies behind a proxy answers by itself.
    if matches!(
        (&*call.resource.plural, &*sub.name),
        ("pods", "log" | "exec" | "attach" | "portforward") | (_, "proxy")
    ) {
        return crate::proxy::serve(call, method, request).await;
    }
    if verb != Verb::Get {
        call.check_answer()?;
    }
    match (&*call.resource.plural, &*sub.name) {
        (_, "scale") => scale::serve(call, verb, request.into_body()).await,
        ("pods", "binding") => binding::bind(call, request.into_body()).await,
        ("pods", "eviction") => eviction::evict(call, request.into_body()).await,
        ("serviceaccounts", "token") => token::request(call, request.into_body()).await,
        _ => part::serve(call, verb, request.into_body()).await,
    }
}

/// Decodes the body of a subresource with a kind of its own; it speaks of the path's namespace.
async fn decode(call: &mut Call, body: Body, gvk: &GroupVersionKind) -> Result<(WriteOptions, Value), Status> {
    let options = WriteOptions::parse(call)?;
    let body = call.read(body).await?;
    let mut warnings = Vec::new();
    let schema = Schema::of_kind(gvk).unwrap_or(Schema::ANY);
    let mut object = codec::decode_object(&call.headers, &body, gvk, &schema, options.validation, &mut warnings)?;
    audit::request_object(&object, |object| rk_api::defaults::apply(gvk, object));
    call.warnings.extend(warnings);
    fix_namespace(call, &mut object)?;
    Ok((options, object))
}

/// Lets webhooks judge a verb in disguise by the object that was sent with it, and returns that as they left it. What is `old` is what
/// the verb is about.
async fn admit(
    call: &mut Call,
    (name, old): (&str, Option<&Value>),
    subresource: &str,
    object: &Value,
    dry_run: bool,
) -> Result<Value, Status> {
    let mut request = admission::Request {
        core: &call.core,
        user: &call.user,
        resource: &call.hub,
        requested: &call.resource,
        subresource,
        namespace: &call.path.namespace,
        name,
        base: "",
        operation: Operation::Create,
        old,
        dry_run,
        options: call.told_options(),
    };
    admission::confine(&request, object).await?;
    // Webhooks hear of the object that was sent alone.
    request.old = None;
    admission::connect(&request, object.clone(), &mut call.warnings).await
}

/// The answer of a verb in disguise.
fn success(call: &Call) -> Result<Response<Body>, Status> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    render::object(call, StatusCode::CREATED, &status)
}

/// Changes a stored object under compare-and-swap, outside of the ordinary way: for changes that the server itself makes.
async fn amend(
    call: &Call,
    namespace: &str,
    name: &str,
    amend: impl Fn(&mut Value) -> Result<(), Status>,
) -> Result<Value, Status> {
    loop {
        let Some((mut object, revision)) = call.core.storage.read(&call.hub, namespace, name).await? else {
            return Err(Status::not_found(&call.resource, name));
        };
        amend(&mut object)?;
        match call.core.storage.put(&call.hub, object, Expect::At(revision)).await {
            Ok(stored) => return Ok(stored),
            Err(StoreError::Conflict { current: Some(_), .. }) => {}
            Err(StoreError::Conflict { current: None, .. }) => return Err(Status::not_found(&call.resource, name)),
            Err(error) => return Err(crate::storage::store_status(&error)),
        }
    }
}
