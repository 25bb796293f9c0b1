//! AdmissionReview: the question to a webhook, and its answer. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::decode::base64_error;
use rk_api::meta;
use rk_api::patch::{unfit, unfit_field};
use rk_api::resources::{GroupVersionKind, Resource};
use rk_api::status::{Cause, Details, Reason, Status};
use serde_json::{Map, Value, json};

use super::super::matching::operation;
use super::super::{Operation, Request};
use crate::callout::ADMISSION;

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// Why not.
    pub(super) status: Value,
    /// A JSON patch.
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
    /// What the webhook wants to have in the audit log.
    pub(super) annotations: Vec<(String, String)>,
}

/// The question. `object` and `old` are in the version of `row`, or of a kind of their own.
pub(super) fn question(
    request: &Request<'_>,
    row: &Resource,
    version: &str,
    uid: &str,
    (object, old): (Option<&Value>, Option<&Value>),
) -> Value {
    let mut body = attributes(request, row, object.or(old));
    for (key, value) in [("uid", json!(uid)), ("object", json!(object)), ("oldObject", json!(old))] {
        body[key] = value;
    }
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": body})
}

/// What an AdmissionReview says about a change besides the objects.
pub(in super::super) fn attributes(request: &Request<'_>, row: &Resource, object: Option<&Value>) -> Value {
    let kind = kind_of(row, object);
    let requested = if request.subresource.is_empty() { request.requested.gvk.clone() } else { kind.clone() };
    let resource =
        |row: &Resource| json!({"group": &*row.gvk.group, "version": &*row.gvk.version, "resource": &*row.plural});
    let mut body = json!({
        "kind": kind_value(&kind),
        "resource": resource(row),
        "requestKind": kind_value(&requested),
        "requestResource": resource(request.requested),
        "operation": operation(request.operation),
        "userInfo": user(request),
        "dryRun": request.dry_run,
        "options": options(request.operation, request.dry_run, &request.options),
    });
    for (key, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", namespace(request)),
    ] {
        if !text.is_empty() {
            body[key] = json!(text);
        }
    }
    body
}

/// A Namespace counts as inside itself.
fn namespace<'a>(request: &Request<'a>) -> &'a str {
    if request.is_sub("", "namespaces", request.subresource) { request.name } else { request.namespace }
}

/// The kind of what is sent: subresources such as `binding` have their own.
fn kind_of(row: &Resource, object: Option<&Value>) -> GroupVersionKind {
    let own = object.map(|object| (meta::text(object, &["apiVersion"]), meta::text(object, &["kind"])));
    let Some((version, kind)) = own.filter(|(version, kind)| !version.is_empty() && !kind.is_empty()) else {
        return row.gvk.clone();
    };
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    GroupVersionKind::new(group.to_owned(), version.to_owned(), kind.to_owned())
}

fn kind_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind})
}

fn user(request: &Request<'_>) -> Value {
    let user = request.user;
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// The options of a change, `given` being what they say besides dry run; connections have none.
fn options(operation: Operation, dry_run: bool, given: &Map<String, Value>) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    for (field, value) in given {
        options[field] = value.clone();
    }
    options
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(super) fn answer(review: &Value, version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let got = (meta::text(review, &["apiVersion"]), meta::text(review, &["kind"]));
    if let Some(why) = ADMISSION.undecodable(got, version).or_else(|| misfit(review)) {
        return Err(format!("failed to call webhook: {why}"));
    }
    let response = meta::at(review, &["response"]);
    if !response.is_object() {
        return Err(invalid("webhook response was absent"));
    }
    let own = meta::text(response, &["uid"]);
    if version == "v1" && own != uid {
        return Err(invalid(format!("expected response.uid={uid:?}, got {own:?}")));
    }
    if let Some(why) = ADMISSION.unexpected(got, version) {
        return Err(invalid(why));
    }
    if version == "v1" {
        patch_and_type(response, mutating).map_err(invalid)?;
    }
    let allowed = meta::at(response, &["allowed"]) == &Value::Bool(true);
    let patch = match meta::text(response, &["patch"]) {
        "" => None,
        _ if !mutating || !allowed => None,
        text => Some(patch(text, meta::text(response, &["patchType"]), version)?),
    };
    let warnings = meta::at(response, &["warnings"]).as_array().into_iter().flatten();
    let annotations = meta::at(response, &["auditAnnotations"]).as_object().into_iter().flatten();
    let annotation = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Ok(Answer {
        allowed,
        status: meta::at(response, &["status"]).clone(),
        patch,
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
        annotations: annotations.filter_map(annotation).collect(),
    })
}

/// What a field of an answer may be: where it is (`*` for all that is in one), the test, and its name and type to upstream's decoder.
type Field = (&'static str, fn(&Value) -> bool, &'static str, &'static str);

const FIELDS: [Field; 10] = [
    ("/response", Value::is_object, "AdmissionReview.response", "v1.AdmissionResponse"),
    ("/response/uid", Value::is_string, "AdmissionResponse.response.uid", "types.UID"),
    ("/response/allowed", Value::is_boolean, "AdmissionResponse.response.allowed", "bool"),
    ("/response/status", Value::is_object, "AdmissionResponse.response.status", "v1.Status"),
    ("/response/status/code", Value::is_i64, "Status.response.status.code", "int32"),
    ("/response/status/message", Value::is_string, "Status.response.status.message", "string"),
    ("/response/warnings", Value::is_array, "AdmissionResponse.response.warnings", "[]string"),
    ("/response/warnings/*", Value::is_string, "AdmissionResponse.response.warnings", "string"),
    (
        "/response/auditAnnotations",
        Value::is_object,
        "AdmissionResponse.response.auditAnnotations",
        "map[string]string",
    ),
    ("/response/auditAnnotations/*", Value::is_string, "AdmissionResponse.response.auditAnnotations", "string"),
];

/// What is said of the first field of an answer that is of another type than it may be; null is none.
fn misfit(review: &Value) -> Option<String> {
    FIELDS.iter().find_map(|(path, fits, field, wanted)| {
        let wrong = values(review, path).into_iter().find(|&value| !value.is_null() && !fits(value))?;
        Some(unfit_field(wrong, field, wanted))
    })
}

/// What is at a place of [`FIELDS`].
fn values<'a>(review: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(outer) = path.strip_suffix("/*") else { return review.pointer(path).into_iter().collect() };
    match review.pointer(outer) {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Object(members)) => members.values().collect(),
        _ => Vec::new(),
    }
}

fn invalid(why: impl std::fmt::Display) -> String {
    format!("received invalid webhook response: {why}")
}

/// A patch and its type come together, and only from who may change.
fn patch_and_type(response: &Value, mutating: bool) -> Result<(), &'static str> {
    let patch = !meta::text(response, &["patch"]).is_empty();
    let kind = meta::at(response, &["patchType"]).as_str();
    match (mutating, patch, kind) {
        (false, true, _) => Err("validating webhook may not return response.patch"),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType"),
        (true, true, None) => Err("webhook returned response.patch but not response.patchType"),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch"),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\""),
        _ => Ok(()),
    }
}

fn patch(text: &str, kind: &str, version: &str) -> Result<Value, String> {
    let illegal = |error| format!("failed to call webhook: {}", base64_error(text, &error));
    let bytes = STANDARD.decode(text).map_err(illegal)?;
    let undecodable = |why: &dyn std::fmt::Display| format!("received undecodable patch in webhook response: {why}");
    let patch: Value = serde_json::from_slice(&bytes).map_err(|error| undecodable(&error))?;
    match &patch {
        Value::Null => Ok(Value::Array(Vec::new())),
        Value::Array(operations) if operations.is_empty() => Ok(patch),
        // Other types than the one that there is are looked at once there is something to do.
        Value::Array(_) if version == "v1" && kind != "JSONPatch" => Err(format!("unsupported patch type {kind:?}")),
        Value::Array(_) => Ok(patch),
        other => Err(undecodable(&unfit(other, "jsonpatch.Patch"))),
    }
}

/// A refusal as the client sees it.
pub(super) fn denied(hook: &str, status: &Value) -> Status {
    let (message, reason) = (meta::text(status, &["message"]), meta::text(status, &["reason"]));
    let by = format!("admission webhook {hook:?} denied the request");
    let message = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let mut out = Status::new(Reason::parse(reason), message);
    // Nothing below 400 goes with a refusal.
    let code = meta::at(status, &["code"]).as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    out.code = code.clamp(400, 999);
    let details = meta::at(status, &["details"]);
    if details.is_object() {
        let text = |value: &Value, field: &str| meta::text(value, &[field]).to_owned();
        let causes = meta::at(details, &["causes"]).as_array().into_iter().flatten().map(|cause| Cause {
            reason: text(cause, "reason"),
            message: text(cause, "message"),
            field: text(cause, "field"),
        });
        let retry = meta::at(details, &["retryAfterSeconds"]).as_u64().unwrap_or(0);
        out = out.with_details(Details {
            name: text(details, "name"),
            group: text(details, "group"),
            kind: text(details, "kind"),
            uid: text(details, "uid"),
            causes: causes.collect(),
            retry_after_seconds: u32::try_from(retry).unwrap_or(u32::MAX),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn options_are_those_of_what_is_done() {
        let given = Map::from_iter([("fieldManager".to_owned(), json!("kubectl"))]);
        let want = json!({"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "kubectl"});
        assert_eq!(options(Operation::Update, true, &given), want);
        let want = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        assert_eq!(options(Operation::Delete, false, &Map::new()), want);
        assert_eq!(options(Operation::Connect, false, &given), Value::Null);
    }

    #[test]
    fn an_answer_must_be_of_the_question() {
        let wrong = |review: &Value, why: &str| {
            let said = answer(review, "v1", "u", true).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        wrong(&json!({"kind": "AdmissionReview"}), "received invalid webhook response: webhook response was absent");
        wrong(
            &json!({"kind": "AdmissionReview", "response": {"uid": "u"}}),
            "Kind=AdmissionReview, got /, Kind=AdmissionReview",
        );
        wrong(&review(json!({"uid": "u", "patchType": "JSONPatch"})), "response.patchType but not response.patch");
        wrong(
            &review(json!({"uid": "u", "allowed": true, "patch": "e30=", "patchType": "JSONPatch"})),
            "cannot unmarshal object into Go",
        );
        wrong(
            &review(json!({"uid": "u", "allowed": true, "patch": "W3t9XQ==", "patchType": "Merge"})),
            "unsupported patch type",
        );
        wrong(&review(Value::Null), "absent");
        for (response, why) in [
            (json!("x"), "string into Go struct field AdmissionReview.response of type v1.AdmissionResponse"),
            (json!({"allowed": "yes"}), "string into Go struct field AdmissionResponse.response.allowed of type bool"),
            (json!({"status": {"code": "403"}}), "Go struct field Status.response.status.code of type int32"),
            (
                json!({"warnings": [1]}),
                "number into Go struct field AdmissionResponse.response.warnings of type string",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "!!!", "patchType": "JSONPatch"}),
                "failed to call webhook: illegal base64 data at input byte 0",
            ),
        ] {
            wrong(&review(response), why);
        }
        for (version, kind, why) in [
            ("a/b/c", "AdmissionReview", "failed to call webhook: unexpected GroupVersion string: a/b/c"),
            ("admission.k8s.io/v1", "Review", "no kind \"Review\" is registered for version \"admission.k8s.io/v1\""),
            (
                "admission.k8s.io/v1beta1",
                "AdmissionReview",
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            ),
        ] {
            wrong(&json!({"apiVersion": version, "kind": kind, "response": {"uid": "u"}}), why);
        }
        wrong(&review(json!({"uid": "other"})), "expected response.uid");
        wrong(&review(json!({"uid": "u", "patch": "W10="})), "patchType");
        let good =
            review(json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch", "warnings": ["w"],
            "auditAnnotations": {"k": "v"}}));
        let read = answer(&good, "v1", "u", true).unwrap();
        assert_eq!(read.annotations, [("k".to_owned(), "v".to_owned())]);
        assert_eq!((read.allowed, read.patch, read.warnings.len()), (true, Some(json!([])), 1));
        assert!(answer(&good, "v1", "u", false).is_err(), "who validates must not change");
    }

    #[test]
    fn a_refusal_tells_by_whom_and_why() {
        let status = denied("a.b.c", &json!({"message": "no", "code": 403, "reason": "Forbidden"}));
        assert_eq!((status.code, status.reason), (403, Reason::Forbidden));
        assert_eq!(status.message, "admission webhook \"a.b.c\" denied the request: no");
        assert_eq!(denied("h", &Value::Null).message, "admission webhook \"h\" denied the request without explanation");
        assert_eq!(denied("h", &json!({"code": 200})).code, 400);
    }
}
