//! Builders of `Status` objects.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

use super::field::{FieldError, quote};
use super::reason::Reason;
use crate::resources::Resource;

/// One cause inside the details of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Machine-readable: `FieldValueRequired`, `FieldManagerConflict`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field, as a path.
    pub field: String,
}

/// What a failure was about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// Group of the resource.
    pub group: String,
    /// Resource (plural) or kind, as upstream does in each case.
    pub kind: String,
    /// UID of the object.
    pub uid: String,
    /// Causes.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 for no advice.
    pub retry_after_seconds: u32,
}

/// A failure (or the success of a deletion) as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it was about.
    pub details: Option<Box<Details>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// What is wrong when `what` (`UID`, `ResourceVersion`) of an object is not the one that a write means, in the words of upstream's store. The
/// object's own is empty where there is none.
#[must_use]
pub fn precondition_missed(what: &str, wanted: &str, own: &str) -> String {
    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {own}")
}

impl Status {
    /// A failure with the code that belongs to its reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Status { code: reason.code(), reason, message: message.into(), details: None }
    }

    /// Adds details.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Advises the client to try again after so many seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    fn about(resource: &Resource, name: &str) -> Details {
        Details {
            name: name.into(),
            group: resource.gvk.group.to_string(),
            kind: resource.plural.to_string(),
            ..Default::default()
        }
    }

    /// 404: no object of that name.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{} {} not found", resource.group_resource(), quote(name)))
            .with_details(Self::about(resource, name))
    }

    /// 404 for a path that no resource serves.
    pub fn unknown_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource").with_details(Details::default())
    }

    /// 409: an object of that name exists.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(Reason::AlreadyExists, format!("{} {} already exists", resource.group_resource(), quote(name)))
            .with_details(Self::about(resource, name))
    }

    /// 409: an object of that name exists, and one that has a base for generated names was to be made, under such a name or its own.
    pub fn no_unique_name(resource: &Resource, name: &str) -> Self {
        let mut status = Self::already_exists(resource, name);
        status.message.push_str(", the server was not able to generate a unique name for the object");
        status.retry_after(1)
    }

    /// 409 with upstream's frame around a reason in words.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            Reason::Conflict,
            format!("Operation cannot be fulfilled on {} {}: {why}", resource.group_resource(), quote(name)),
        )
        .with_details(Self::about(resource, name))
    }

    /// 409: the object changed since it was read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with one cause per broken rule. `kind` is a kind, not a resource, as upstream has it here.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        let mut said: HashSet<String> = HashSet::with_capacity(errors.len());
        for text in errors.iter().map(ToString::to_string) {
            // Each sentence once; the causes below keep every error.
            if said.insert(text.clone()) {
                texts.push(text);
            }
        }
        let all = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.kind.as_str().into(), message: e.body(), field: e.path.to_string() })
            .collect();
        Self::new(Reason::Invalid, format!("{qualified} {} is invalid: {all}", quote(name))).with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Default::default()
        })
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 401.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(Reason::Unauthorized, if message.is_empty() { "Unauthorized" } else { message })
    }

    /// 403 by admission or authorization, framed as upstream does for an object.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let what = resource.group_resource();
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} {} is forbidden: {why}", quote(name))
        };
        Self::new(Reason::Forbidden, message).with_details(Self::about(resource, name))
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let (user, path) = (quote(user), quote(path));
        Self::new(Reason::Forbidden, format!("forbidden: User {user} cannot {verb} path {path}"))
            .with_details(Details::default())
    }

    /// 405. What is built in is refused by upstream's router, which names nothing; the handler of custom kinds names what it was asked.
    pub fn method_not_allowed(resource: &Resource, verb: &str) -> Self {
        if resource.custom.is_none() {
            return Self::foreign(405, ("", ""), "");
        }
        Self::new(
            Reason::MethodNotAllowed,
            format!("{verb} is not supported on resources of kind {:?}", resource.group_resource()),
        )
        .with_details(Details {
            group: resource.gvk.group.to_string(),
            kind: resource.plural.to_string(),
            ..Default::default()
        })
    }

    /// 410: the resource version is older than what is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 410 for a watch or list from a compacted revision.
    pub fn too_old_resource_version(wanted: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {wanted} ({oldest})"))
    }

    /// 504: the server has not seen the wanted resource version yet.
    pub fn too_large_resource_version(wanted: u64, current: u64, retry_seconds: u32) -> Self {
        let mut status =
            Self::new(Reason::Timeout, format!("Timeout: Too large resource version: {wanted}, current: {current}"));
        status.details = Some(Box::new(Details {
            causes: vec![Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            }],
            retry_after_seconds: retry_seconds,
            ..Default::default()
        }));
        status
    }

    /// 413.
    pub fn request_entity_too_large(message: &str) -> Self {
        Self::new(Reason::RequestEntityTooLarge, format!("Request entity too large: {message}"))
    }

    /// 415; `accepted` are the types that would do.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            Reason::UnsupportedMediaType,
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 406; `offered` are the types that could be had.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        Self::new(Reason::NotAcceptable, format!("only the following media types are accepted: {}", offered.join(", ")))
    }

    /// 429 as the eviction subresource answers when a disruption budget forbids it.
    pub fn disruption_budget(message: &str, cause: &str) -> Self {
        Self::new(Reason::TooManyRequests, message).with_details(Details {
            causes: vec![Cause { reason: "DisruptionBudget".into(), message: cause.into(), field: String::new() }],
            ..Default::default()
        })
    }

    /// 504.
    pub fn timeout(message: &str, retry_seconds: u32) -> Self {
        Self::new(Reason::Timeout, format!("Timeout: {message}"))
            .with_details(Details { retry_after_seconds: retry_seconds, ..Default::default() })
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}")).with_details(Details {
            causes: vec![Cause { reason: String::new(), message, field: String::new() }],
            ..Default::default()
        })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message)
    }

    /// The answer to a deletion that removed the object at once.
    pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
        let mut details = json!({"name": name, "kind": &*resource.plural});
        if !resource.gvk.group.is_empty() {
            details["group"] = json!(&*resource.gvk.group);
        }
        if !uid.is_empty() {
            details["uid"] = json!(uid);
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }

    /// The object that goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "code": self.code,
        });
        if self.reason != Reason::Unknown {
            out["reason"] = json!(self.reason.as_str());
        }
        if let Some(details) = &self.details {
            out["details"] = details.to_value();
        }
        out
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = crate::Object::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                out.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            out.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(out)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = crate::Object::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                out.insert(key.into(), json!(text));
            }
        }
        Value::Object(out)
    }
}
