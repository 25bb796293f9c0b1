//! The options of writes: query parameters and `DeleteOptions` bodies.

use bytes::Bytes;
use http::HeaderMap;
use rk_api::decode::FieldValidation;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::patch::is_apply;
use crate::audit;
use crate::codec;
use crate::http::Query;

/// Options shared by create, update and patch.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
}

/// Longest field manager, in bytes; upstream's limit.
const MANAGER_LIMIT: usize = 128;
/// Most wrong characters reported for one field manager: each report quotes all of it.
const TOLD: usize = 4;

/// Refuses a field manager that is too long or unprintable; `options` is the kind of the options that it came with.
pub(super) fn check_manager(options: &str, manager: &str) -> Result<(), Status> {
    judged(options, &manager_errors(manager))
}

fn manager_errors(manager: &str) -> FieldErrors {
    let (mut errors, path) = (FieldErrors::new(), Path::new("fieldManager"));
    if manager.len() > MANAGER_LIMIT {
        errors.too_long(&path, MANAGER_LIMIT);
    }
    for (at, letter) in manager.char_indices().filter(|(_, letter)| !is_printable(*letter)).take(TOLD) {
        errors.invalid(&path, manager, format!("invalid character U+{:04X} (at position {at})", u32::from(letter)));
    }
    errors
}

/// Refuses options of a kind that break rules.
pub(super) fn judged(options: &str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", options, "", &errors.0)) }
}

/// No control character, and of the spaces the plain one alone.
fn is_printable(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

impl WriteOptions {
    pub(super) fn parse(call: &Call) -> Result<Self, Status> {
        Self::read(call.write_options(), &call.query, is_apply(call))
    }

    /// Reads options of a kind; `is_apply` tells whether a patch is one of server-side apply.
    fn read(options: &str, query: &Query, is_apply: bool) -> Result<Self, Status> {
        let (mut errors, manager) = (FieldErrors::new(), query.text("fieldManager"));
        let is_patch = options == "PatchOptions";
        if is_patch && is_apply && manager.is_empty() {
            errors.required(&Path::new("fieldManager"), "is required for apply patch");
        }
        // Only server-side apply takes fields over.
        if is_patch && !is_apply && query.get("force").is_some() {
            errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        }
        errors.extend(manager_errors(manager));
        let dry_run = query.dry_run();
        if let Err(given) = &dry_run {
            errors.unsupported_as_listed(&Path::new("dryRun"), json!(given), &["All"]);
        }
        let text = query.text("fieldValidation");
        let validation = FieldValidation::parse(text);
        if validation.is_none() {
            let known = ["", "Ignore", "Strict", "Warn"];
            errors.unsupported_as_listed(&Path::new("fieldValidation"), json!(text), &known);
        }
        judged(options, &errors)?;
        Ok(Self { dry_run: dry_run.unwrap_or_default(), validation: validation.unwrap_or_default() })
    }
}

/// Refuses a dry run of another kind than the one that there is.
fn not_dry(given: &[String]) -> Status {
    unsupported("DeleteOptions", ("dryRun", json!(given)), &["All"])
}

fn unsupported(options: &str, (field, value): (&str, Value), supported: &[&str]) -> Status {
    let mut errors = FieldErrors::new();
    errors.unsupported_as_listed(&Path::new(field), value, supported);
    Status::invalid("meta.k8s.io", options, "", &errors.0)
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl Propagation {
    const fn name(self) -> &'static str {
        match self {
            Self::Orphan => "Orphan",
            Self::Background => "Background",
            Self::Foreground => "Foreground",
        }
    }

    fn parse(text: &str) -> Result<Option<Self>, Status> {
        match text {
            "" => Ok(None),
            "Orphan" => Ok(Some(Self::Orphan)),
            "Background" => Ok(Some(Self::Background)),
            "Foreground" => Ok(Some(Self::Foreground)),
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                Err(unsupported("DeleteOptions", ("propagationPolicy", json!(other)), &known))
            }
        }
    }
}

/// Refuses a policy beside `orphanDependents`, which says the same in older words.
fn only_one(policy: &str) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    if !policy.is_empty() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.invalid(&Path::new("propagationPolicy"), policy, why);
    }
    judged("DeleteOptions", &errors)
}

/// `DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteOptions {
    pub dry_run: bool,
    pub grace: Option<i64>,
    pub propagation: Option<Propagation>,
    /// `orphanDependents`, where the policy was told by that.
    orphan: Option<bool>,
    /// Whether the caller asked for cascading in so many words; decides 202 over 200.
    pub cascading: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    pub(super) fn parse(headers: &HeaderMap, query: &Query, body: &Bytes) -> Result<Self, Status> {
        let mut options = Self {
            dry_run: query.dry_run().map_err(|given| not_dry(&given))?,
            grace: query.number("gracePeriodSeconds").map_err(Status::bad_request)?,
            propagation: Propagation::parse(query.text("propagationPolicy"))?,
            ..Self::default()
        };
        if query.get("orphanDependents").is_some() {
            only_one(query.text("propagationPolicy"))?;
            options.set_orphan(query.flag("orphanDependents"));
        }
        if !body.is_empty() {
            let value = codec::decode_delete_options(headers, body)?;
            audit::request_object(&value);
            options.merge(&value)?;
        }
        if options.grace.is_some_and(|grace| grace < 0) {
            // Upstream treats a negative period as one second.
            options.grace = Some(1);
        }
        Ok(options)
    }

    /// What webhooks hear of them besides dry run; `grace` is how long the object is given, in seconds.
    pub(super) fn told(&self, grace: Option<i64>) -> Map<String, Value> {
        let mut preconditions = Map::new();
        for (field, own) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            preconditions.extend(own.as_ref().map(|own| (field.to_owned(), json!(own))));
        }
        let policy = match (self.orphan, self.propagation) {
            (Some(orphan), _) => Some(("orphanDependents", json!(orphan))),
            (None, Some(policy)) => Some(("propagationPolicy", json!(policy.name()))),
            (None, None) => None,
        };
        let fields = [
            grace.map(|grace| ("gracePeriodSeconds", json!(grace))),
            policy,
            (!preconditions.is_empty()).then_some(("preconditions", Value::Object(preconditions))),
        ];
        fields.into_iter().flatten().map(|(field, value)| (field.to_owned(), value)).collect()
    }

    fn merge(&mut self, body: &Value) -> Result<(), Status> {
        if let Some(grace) = body.get("gracePeriodSeconds").and_then(Value::as_i64) {
            self.grace = Some(grace);
        }
        let orphan = body.get("orphanDependents").and_then(Value::as_bool);
        let policy = Propagation::parse(rk_api::meta::text(body, &["propagationPolicy"]))?;
        if let Some(orphan) = orphan {
            only_one(rk_api::meta::text(body, &["propagationPolicy"]))?;
            self.set_orphan(orphan);
        }
        self.propagation = policy.or(self.propagation);
        for value in body.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
            match value.as_str() {
                Some("All") => self.dry_run = true,
                other => return Err(not_dry(&[other.unwrap_or_default().to_owned()])),
            }
        }
        let precondition = |name: &str| {
            let text = rk_api::meta::text(body, &["preconditions", name]);
            (!text.is_empty()).then(|| text.to_owned())
        };
        self.uid = precondition("uid");
        self.resource_version = precondition("resourceVersion");
        Ok(())
    }

    fn set_orphan(&mut self, orphan: bool) {
        self.orphan = Some(orphan);
        self.propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        self.cascading = !orphan;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_refused_by_their_kind_and_field() {
        let read = |query: &str| WriteOptions::read("PatchOptions", &Query::parse(query), false).unwrap_err();
        let status = read("fieldValidation=Loose");
        assert_eq!(
            status.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Loose\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
        );
        assert_eq!(status.details.unwrap().causes[0].field, "fieldValidation");
        assert!(
            read("dryRun=Some").message.starts_with("PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported")
        );
        let all = read("dryRun=All&dryRun=X&force=true&fieldValidation=z").message;
        assert_eq!(
            all,
            "PatchOptions.meta.k8s.io \"\" is invalid: [force: Forbidden: may not be specified for non-apply patch, dryRun: Unsupported value: \
             [\"All\",\"X\"]: supported values: \"All\", fieldValidation: Unsupported value: \"z\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]"
        );
        let apply = WriteOptions::read("PatchOptions", &Query::parse("force=true"), true).unwrap_err();
        assert_eq!(apply.details.unwrap().causes[0].message, "Required value: is required for apply patch");
        let delete = |query: &str| DeleteOptions::parse(&HeaderMap::new(), &Query::parse(query), &Bytes::new());
        for (query, why) in [
            (
                "propagationPolicy=Never",
                "Unsupported value: \"Never\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
            ),
            (
                "propagationPolicy=Orphan&orphanDependents=true",
                "Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
            ),
        ] {
            let told = delete(query).unwrap_err().message;
            assert_eq!(told, format!("DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: {why}"));
        }
        assert!(delete("propagationPolicy=Orphan").is_ok());
    }

    #[test]
    fn webhooks_hear_of_a_deletion_as_it_was_asked_for() {
        let told = |query: &str, body: &Value, grace| {
            let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
            let options = DeleteOptions::parse(&HeaderMap::new(), &Query::parse(query), &body).unwrap();
            Value::Object(options.told(grace))
        };
        assert_eq!(told("dryRun=All", &Value::Null, None), json!({}));
        let want = json!({"gracePeriodSeconds": 30, "propagationPolicy": "Foreground"});
        assert_eq!(told("propagationPolicy=Foreground", &Value::Null, Some(30)), want);
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": true, "preconditions": {"uid": "u"}});
        assert_eq!(told("", &body, None), json!({"orphanDependents": true, "preconditions": {"uid": "u"}}));
    }

    #[test]
    fn managers_are_short_and_printable() {
        for good in ["kubectl", "a manager with spaces", "ä", &"m".repeat(128)] {
            assert_eq!(check_manager("CreateOptions", good), Ok(()), "{good}");
        }
        let told = |manager: &str| check_manager("PatchOptions", manager).unwrap_err().message;
        let about = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: ";
        assert_eq!(told(&"m".repeat(129)), format!("{about}Too long: may not be more than 128 bytes"));
        assert!(told("be\u{7}ll").ends_with("invalid character U+0007 (at position 2)"), "{}", told("be\u{7}ll"));
        assert!(check_manager("PatchOptions", &"\n".repeat(100)).is_err_and(|status| status.message.len() < 4096));
    }
}
