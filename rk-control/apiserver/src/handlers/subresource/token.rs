//! TokenRequest: a token for a service account.

use http::{Response, StatusCode};
use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::render;
use crate::admission::{self, Operation};
use crate::authn::{Bound, MAXIMUM_SECONDS, MINIMUM_SECONDS};
use crate::http::Body;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// Lifetime of a token when nobody asked for one, in seconds.
const DEFAULT: i64 = 3600;

pub(super) async fn request(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = GroupVersionKind::new(GROUP, "v1", KIND);
    let (write, mut request) = super::decode(call, body, &gvk).await?;
    let (namespace, name) = (call.path.namespace.clone(), call.path.name.clone());
    check_place(&request, &namespace, &name)?;
    let account =
        call.core.object("", "v1", "serviceaccounts", &namespace, &name).await?.ok_or_else(|| call.not_found())?;
    check_uid(&request, &account)?;
    complete(&mut request, &account);
    check_life(&request)?;
    let attributes = admission::Request {
        core: &call.core,
        user: &call.user,
        resource: &call.hub,
        requested: &call.resource,
        subresource: "token",
        namespace: &namespace,
        name: &name,
        base: "",
        operation: Operation::Create,
        old: None,
        dry_run: write.dry_run,
        options: call.told_options(),
    };
    let _held = admission::validate(&attributes, Some(&request), &mut call.warnings).await?;
    // After admission, which judges what was asked for: a node asks for no audience where its pod names none.
    if meta::at(&request, &["spec", "audiences"]).as_array().is_none_or(Vec::is_empty) {
        meta::set(&mut request, &["spec", "audiences"], json!([call.core.tokens.issuer()]));
    }
    let audiences: Vec<String> = meta::at(&request, &["spec", "audiences"])
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let seconds = meta::at(&request, &["spec", "expirationSeconds"]).as_i64();
    let bound = bound(call, &request).await?;
    let (token, expiry) = call
        .core
        .tokens
        .issue((&namespace, &name, meta::uid(&account)), &bound, &audiences, seconds)
        .map_err(Status::internal)?;
    let expiry = jiff::Timestamp::from_second(expiry).unwrap_or_default();
    request["status"] = json!({"token": token, "expirationTimestamp": meta::format_time(expiry)});
    render::object(call, StatusCode::CREATED, &request)
}

/// A request that says whom it is for says the one that the path names.
fn check_place(request: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    for (field, own) in [("name", name), ("namespace", namespace)] {
        let said = meta::text(request, &["metadata", field]);
        if errors.is_empty() && !said.is_empty() && said != own {
            let why = format!("must match the service account {field} if specified");
            errors.invalid(&Path::new("metadata").child(field), said, why);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, KIND, name, &errors.0)) }
}

/// A request that says for which account it is, of several that had the name, says the one that is there.
fn check_uid(request: &Value, account: &Value) -> Result<(), Status> {
    let (said, own) = (meta::uid(request), meta::uid(account));
    if said.is_empty() || said == own {
        return Ok(());
    }
    let why = format!("the UID in the token request ({said}) does not match the UID of the service account ({own})");
    Err(Status::conflict_on((GROUP, KIND), meta::name(account), &why))
}

/// What the author left out.
fn complete(request: &mut Value, account: &Value) {
    if meta::at(request, &["spec", "expirationSeconds"]).is_null() {
        meta::set(request, &["spec", "expirationSeconds"], DEFAULT);
    }
    for key in ["name", "namespace", "uid"] {
        meta::set(request, &["metadata", key], meta::text(account, &["metadata", key]));
    }
    meta::set(request, &["metadata", "creationTimestamp"], meta::format_time(jiff::Timestamp::now()));
}

fn check_life(request: &Value) -> Result<(), Status> {
    let seconds = meta::at(request, &["spec", "expirationSeconds"]).as_i64().unwrap_or_default();
    let (mut errors, path) = (FieldErrors::new(), Path::new("spec.expirationSeconds"));
    if seconds < MINIMUM_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MAXIMUM_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, KIND, "", &errors.0)) }
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
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
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
        let named =
            |name: &str| check_place(&json!({"metadata": {"name": name}}), "n", "a").map_err(|status| status.message);
        assert_eq!((named(""), named("a")), (Ok(()), Ok(())));
        let head = "TokenRequest.authentication.k8s.io";
        let why = "metadata.name: Invalid value: \"b\": must match the service account name if specified";
        assert_eq!(named("b"), Err(format!("{head} \"a\" is invalid: {why}")));
        for (seconds, why) in [
            (MINIMUM_SECONDS, None),
            (MAXIMUM_SECONDS, None),
            (599, Some("599: may not specify a duration less than 10 minutes")),
            (MAXIMUM_SECONDS + 1, Some("4294967297: may not specify a duration larger than 2^32 seconds")),
        ] {
            let refused =
                check_life(&json!({"spec": {"expirationSeconds": seconds}})).err().map(|status| status.message);
            let want = why.map(|why| format!("{head} \"\" is invalid: spec.expirationSeconds: Invalid value: {why}"));
            assert_eq!(refused, want);
        }
    }
}
