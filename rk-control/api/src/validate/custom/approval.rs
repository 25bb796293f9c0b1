//! APIs in groups of Kubernetes' own: how far they were approved, as their definitions say in an annotation.

use serde_json::Value;

use super::super::get::text;
use crate::meta::at;
use crate::status::{FieldErrors, Path};

/// Says who approved of an API in a group of Kubernetes' own.
const APPROVED: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// How far an API in a group of Kubernetes' own was approved.
#[derive(PartialEq)]
enum Approval {
    Missing,
    Unapproved,
    Approved,
    Invalid,
}

fn said(definition: &Value) -> &str {
    text(at(definition, &["metadata", "annotations"]), APPROVED)
}

fn of(definition: &Value) -> Approval {
    let said = said(definition);
    let is_url = said.split_once("://").is_some_and(|(scheme, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !host.is_empty()
    });
    match said {
        "" => Approval::Missing,
        said if said.starts_with("unapproved") => Approval::Unapproved,
        _ if is_url => Approval::Approved,
        _ => Approval::Invalid,
    }
}

fn is_protected(definition: &Value) -> bool {
    let group = text(at(definition, &["spec"]), "group");
    let below = |domain: &str| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    below("k8s.io") || below("kubernetes.io")
}

/// Why a definition is refused that nobody approved.
fn refusal(state: &Approval) -> Option<String> {
    let must = format!("protected groups must have approval annotation {APPROVED:?}");
    match state {
        Approval::Missing => Some(format!("{must}, {SEE}")),
        Approval::Invalid => Some(format!("{must} with either a URL or a reason starting with \"unapproved\", {SEE}")),
        Approval::Unapproved | Approval::Approved => None,
    }
}

/// Groups of Kubernetes' own need a word of approval.
pub(super) fn check(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let state = of(new);
    if !is_protected(new) || old.is_some_and(|old| of(old) == state) {
        return;
    }
    let Some(why) = refusal(&state) else { return };
    let path = Path::new("metadata");
    let path = path.child("annotations");
    let path = path.key(APPROVED);
    if state == Approval::Missing {
        errors.required(&path, &why);
    } else {
        errors.invalid(&path, said(new), why);
    }
}

/// What the condition `KubernetesAPIApprovalPolicyConformant` of a definition says: whether it holds, its reason and its message; `None`
/// for groups that anybody may have.
#[must_use]
pub fn approval_of(definition: &Value) -> Option<(bool, &'static str, String)> {
    if !is_protected(definition) {
        return None;
    }
    let (said, state) = (said(definition), of(definition));
    let refused = refusal(&state).unwrap_or_default();
    Some(match state {
        Approval::Approved => (true, "ApprovedAnnotation", format!("approved in {said}")),
        Approval::Unapproved => (false, "UnapprovedAnnotation", format!("not approved: {said:?}")),
        Approval::Missing => (false, "MissingAnnotation", refused),
        Approval::Invalid => (false, "InvalidAnnotation", refused),
    })
}
