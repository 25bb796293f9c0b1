//! The options of writes: query parameters and `DeleteOptions` bodies.

use bytes::Bytes;
use http::HeaderMap;
use rk_api::decode::FieldValidation;
use rk_api::status::{FieldErrors, Path, Status};
use rk_api::validate::field_manager;
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

/// Refuses a field manager that is too long or unprintable; `options` is the kind of the options that it came with.
pub(super) fn check_manager(options: &str, manager: &str) -> Result<(), Status> {
    judged(options, &manager_errors(manager))
}

fn manager_errors(manager: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    field_manager(manager, &Path::new("fieldManager"), &mut errors);
    errors
}

/// Refuses options of a kind that break rules.
pub(super) fn judged(options: &str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", options, "", &errors.0)) }
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
        let dry: Vec<&str> = query.all("dryRun").collect();
        judge_dry(&mut errors, &dry);
        let text = query.text("fieldValidation");
        let validation = FieldValidation::parse(text);
        if validation.is_none() {
            let known = ["", "Ignore", "Strict", "Warn"];
            errors.unsupported_as_listed(&Path::new("fieldValidation"), text, &known);
        }
        judged(options, &errors)?;
        Ok(Self { dry_run: !dry.is_empty(), validation: validation.unwrap_or_default() })
    }
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

    fn parse(text: &str) -> Option<Self> {
        [Self::Foreground, Self::Background, Self::Orphan].into_iter().find(|own| own.name() == text)
    }
}

/// Refuses an unknown policy, and any beside `orphanDependents`, which says the same in older words.
fn judge_policy(errors: &mut FieldErrors, policy: Option<&str>, orphan: Option<bool>) {
    let (Some(policy), path) = (policy, Path::new("propagationPolicy")) else { return };
    if orphan.is_some() {
        errors.invalid(&path, policy, "orphanDependents and deletionPropagation cannot be both set");
    }
    if Propagation::parse(policy).is_none() {
        errors.unsupported_as_listed(&path, policy, &["Foreground", "Background", "Orphan", "nil"]);
    }
}

/// Refuses dry runs of other kinds than the one that there is.
fn judge_dry(errors: &mut FieldErrors, given: &[&str]) {
    if given.iter().any(|value| *value != "All") {
        errors.unsupported_as_listed(&Path::new("dryRun"), json!(given), &["All"]);
    }
}

/// The options of a deletion that a query tells, as a body would.
fn asked_in(query: &Query) -> Result<Value, Status> {
    let precondition = |name: &str| {
        let text = query.text(name);
        (!text.is_empty()).then(|| (name.to_owned(), json!(text)))
    };
    let preconditions: Map<String, Value> = ["uid", "resourceVersion"].into_iter().filter_map(precondition).collect();
    let told = [
        (
            "gracePeriodSeconds",
            query.number("gracePeriodSeconds").map_err(Status::bad_request)?.map(|grace| json!(grace)),
        ),
        ("orphanDependents", query.get("orphanDependents").map(|_| json!(query.flag("orphanDependents")))),
        ("propagationPolicy", query.get("propagationPolicy").map(|policy| json!(policy))),
        ("dryRun", Some(json!(query.all("dryRun").collect::<Vec<_>>()))),
        ("preconditions", Some(Value::Object(preconditions))),
    ];
    Ok(told.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect())
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
    /// Reads them from the body, or from the query where there is no body: who sends one is not heard in the query.
    pub(super) fn parse(headers: &HeaderMap, query: &Query, body: &Bytes) -> Result<Self, Status> {
        if body.is_empty() {
            return Self::read(&asked_in(query)?);
        }
        let asked = codec::decode_delete_options(headers, body)?;
        audit::request_object(&asked, |_| {});
        Self::read(&asked)
    }

    fn read(asked: &Value) -> Result<Self, Status> {
        let policy = asked.get("propagationPolicy").and_then(Value::as_str);
        let orphan = asked.get("orphanDependents").and_then(Value::as_bool);
        let dry: Vec<&str> =
            asked.get("dryRun").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut errors = FieldErrors::new();
        judge_policy(&mut errors, policy, orphan);
        judge_dry(&mut errors, &dry);
        judged("DeleteOptions", &errors)?;
        let precondition = |name: &str| {
            let text = rk_api::meta::text(asked, &["preconditions", name]);
            (!text.is_empty()).then(|| text.to_owned())
        };
        let mut options = Self {
            dry_run: !dry.is_empty(),
            // Upstream treats a negative period as one second.
            grace: asked
                .get("gracePeriodSeconds")
                .and_then(Value::as_i64)
                .map(|grace| if grace < 0 { 1 } else { grace }),
            propagation: policy.and_then(Propagation::parse),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            ..Self::default()
        };
        if let Some(orphan) = orphan {
            options.set_orphan(orphan);
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
        let told = delete("propagationPolicy=&dryRun=All&dryRun=x").unwrap_err().message;
        assert_eq!(
            told,
            "DeleteOptions.meta.k8s.io \"\" is invalid: [propagationPolicy: Unsupported value: \"\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\", dryRun: Unsupported value: [\"All\",\"x\"]: supported values: \"All\"]"
        );
        assert!(delete("gracePeriodSeconds=").unwrap_err().message.starts_with("strconv.ParseInt: parsing \"\""));
    }

    #[test]
    fn the_query_speaks_of_a_deletion_only_without_a_body() {
        let query = Query::parse("dryRun=All&gracePeriodSeconds=-3&resourceVersion=7&uid=u&orphanDependents=FALSE");
        let read =
            |body: &'static str| DeleteOptions::parse(&HeaderMap::new(), &query, &Bytes::from_static(body.as_bytes()));
        let options = read("").unwrap();
        assert_eq!((options.dry_run, options.grace, options.cascading), (true, Some(1), true));
        assert_eq!((options.uid.as_deref(), options.resource_version.as_deref()), (Some("u"), Some("7")));
        for body in ["{}", "null", "{\"preconditions\":{\"uid\":\"\"}}"] {
            let options = read(body).unwrap();
            assert_eq!((options.dry_run, options.grace, options.propagation), (false, None, None), "{body}");
            assert_eq!((options.uid, options.resource_version), (None, None), "{body}");
        }
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
