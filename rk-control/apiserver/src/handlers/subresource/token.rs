//! TokenRequest: a token for a service account.

use http::{Response, StatusCode};
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::render;
use crate::admission::{self, Operation};
use crate::authn::Bound;
use crate::http::Body;

/// Shortest lifetime that may be asked for, in seconds.
const MINIMUM: i64 = 600;
/// Longest lifetime that may be asked for, in seconds.
const MAXIMUM: i64 = 1 << 32;

pub(super) async fn request(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let (write, mut request) = super::decode(call, body, &gvk).await?;
    let (namespace, name) = (call.path.namespace.clone(), call.path.name.clone());
    check_name(&request, &name)?;
    let account =
        call.core.object("", "v1", "serviceaccounts", &namespace, &name).await?.ok_or_else(|| call.not_found())?;
    let seconds = meta::at(&request, &["spec", "expirationSeconds"]).as_i64();
    check_lifetime(seconds)?;
    let core = std::sync::Arc::clone(&call.core);
    let (user, hub) = (call.user.clone(), std::sync::Arc::clone(&call.hub));
    let requested = std::sync::Arc::clone(&call.resource);
    let attributes = admission::Request {
        core: &core,
        user: &user,
        resource: &hub,
        requested: &requested,
        subresource: "token",
        namespace: &namespace,
        name: &name,
        operation: Operation::Create,
        old: None,
        dry_run: write.dry_run,
    };
    let _held = admission::validate(&attributes, Some(&request), &mut call.warnings).await?;
    let audiences: Vec<String> = meta::at(&request, &["spec", "audiences"])
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let bound = bound(call, &request).await?;
    let (token, expiry) = call
        .core
        .tokens
        .issue((&namespace, &name, meta::uid(&account)), &bound, &audiences, seconds)
        .map_err(Status::internal)?;
    let expiry = jiff::Timestamp::from_second(expiry).unwrap_or_default();
    if audiences.is_empty() {
        request["spec"]["audiences"] = json!([call.core.tokens.issuer()]);
    }
    if seconds.is_none() {
        request["spec"]["expirationSeconds"] = json!(3600);
    }
    request["metadata"]["name"] = json!(name);
    request["metadata"]["namespace"] = json!(namespace);
    let now = jiff::Timestamp::now();
    request["metadata"]["creationTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    request["status"] =
        json!({"token": token, "expirationTimestamp": expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    render::object(call, StatusCode::CREATED, &request)
}

/// Who names an account in the request names the path's.
fn check_name(request: &Value, name: &str) -> Result<(), Status> {
    let given = meta::name(request);
    let mut errors = FieldErrors::new();
    if !given.is_empty() && given != name {
        let why = "must match the service account name if specified";
        errors.invalid(&Path::new("metadata").child("name"), given, why);
    }
    judged(name, &errors)
}

fn check_lifetime(seconds: Option<i64>) -> Result<(), Status> {
    let why = match seconds {
        Some(seconds) if seconds < MINIMUM => "may not specify a duration less than 10 minutes",
        Some(seconds) if seconds > MAXIMUM => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let mut errors = FieldErrors::new();
    errors.invalid(&Path::new("spec").child("expirationSeconds"), seconds, why);
    judged("", &errors)
}

fn judged(name: &str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, &errors.0))
}

/// The object that the token is to die with, which must exist under the UID that was named.
async fn bound(call: &Call, request: &Value) -> Result<Bound, Status> {
    let reference = meta::at(request, &["spec", "boundObjectRef"]);
    if reference.is_null() {
        return Ok(Bound::default());
    }
    let field = |name: &str| meta::text(reference, &[name]).to_owned();
    let (kind, name, wanted) = (field("kind"), field("name"), field("uid"));
    let api_version = field("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version.as_str()));
    let (plural, namespace) = match (group, kind.as_str()) {
        ("", "Pod") => ("pods", call.path.namespace.as_str()),
        ("", "Secret") => ("secrets", call.path.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        (group, kind) => {
            let of = format!("{group}/{version}, Kind={kind}");
            return Err(Status::bad_request(format!("cannot bind token to object of type {of}")));
        }
    };
    let resource = call.core.resource("", "v1", plural)?;
    let object = call
        .core
        .object("", "v1", plural, namespace, &name)
        .await?
        .ok_or_else(|| Status::not_found(&resource, &name))?;
    let uid = meta::uid(&object).to_owned();
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict_on(("", kind.as_str()), &name, &why));
    }
    let mut bound = Bound { kind, name, uid, node: None };
    if plural == "pods" {
        let own = meta::text(&object, &["spec", "serviceAccountName"]);
        if own != call.path.name {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                call.path.name
            )));
        }
        let node = meta::text(&object, &["spec", "nodeName"]).to_owned();
        if !node.is_empty() {
            let found = call.core.object("", "v1", "nodes", "", &node).await?;
            bound.node = Some((node, found.as_ref().map(meta::uid).unwrap_or_default().to_owned()));
        }
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_about_the_path_s_account_and_neither_short_nor_endless() {
        let named = |name: &str| check_name(&json!({"metadata": {"name": name}}), "a").map_err(|status| status.message);
        assert_eq!((named(""), named("a")), (Ok(()), Ok(())));
        let head = "TokenRequest.authentication.k8s.io";
        let why = "metadata.name: Invalid value: \"b\": must match the service account name if specified";
        assert_eq!(named("b"), Err(format!("{head} \"a\" is invalid: {why}")));
        for (seconds, why) in [
            (None, None),
            (Some(600), None),
            (Some(MAXIMUM), None),
            (Some(599), Some("599: may not specify a duration less than 10 minutes")),
            (Some(MAXIMUM + 1), Some("4294967297: may not specify a duration larger than 2^32 seconds")),
        ] {
            let refused = check_lifetime(seconds).err().map(|status| status.message);
            let want = why.map(|why| format!("{head} \"\" is invalid: spec.expirationSeconds: Invalid value: {why}"));
            assert_eq!(refused, want);
        }
    }
}
