//! Kinds that are answered and never stored.

use http::{Response, StatusCode};
use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::super::call::Call;
use super::super::render;
use super::binding;
use crate::authn::{self_subject_review, token_review};
use crate::authz::{self_rules_review, subject_access_review};
use crate::http::{Body, Shape, Subject};

/// POST of a review, or of a Binding to the collection of old.
pub(in super::super) async fn review(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let gvk = call.resource.gvk.clone();
    if call.accept(Subject::Object)?.shape != Shape::Object {
        // What is not stored has no metadata to make rows of.
        return Err(Status::not_acceptable(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ]));
    }
    let (options, object) = super::decode(call, body, &gvk).await?;
    let core = std::sync::Arc::clone(&call.core);
    let answer: Value = match &*gvk.kind {
        "TokenReview" => token_review(&core, object).await?,
        "SelfSubjectReview" => self_subject_review(&call.user, object),
        "SelfSubjectRulesReview" => self_rules_review(&core, &call.user, object).await?,
        kind @ ("SubjectAccessReview" | "SelfSubjectAccessReview" | "LocalSubjectAccessReview") => {
            subject_access_review(&core, &call.user, kind, &call.path.namespace, object).await?
        }
        "Binding" => {
            let name = meta::name(&object).to_owned();
            let pods = core.resource("", "v1", "pods")?;
            call.resource = std::sync::Arc::clone(&pods);
            call.hub = pods;
            return binding::assign(call, &name, &object, options.dry_run).await;
        }
        _ => return Err(Status::method_not_allowed(&call.resource, "create")),
    };
    render::object(call, StatusCode::CREATED, &answer)
}
