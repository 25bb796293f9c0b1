//! Who may have policies read parameters: those who may read them for themselves (`pkg/registry/admissionregistration`).

use rk_api::meta;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::Value;

use super::{Operation, Request};
use crate::authn::{MASTERS, User};
use crate::authz::{Attributes, Verdict};

const GROUP: &str = "admissionregistration.k8s.io";

/// What is wrong with the parameters of a policy or a binding that is otherwise in order.
///
/// # Errors
/// The policy of a binding, or roles, cannot be read.
pub(crate) async fn check(request: &Request<'_>, new: &Value) -> Result<FieldErrors, Status> {
    let mut errors = FieldErrors::new();
    let writes = matches!(request.operation, Operation::Create | Operation::Update) && request.subresource.is_empty();
    if !writes || request.resource.gvk.group != GROUP || request.user.in_group(MASTERS) {
        return Ok(errors);
    }
    let is_new = |fields: &[&str]| {
        let of = |object: &Value, field: &str| meta::at(object, &["spec", field]).clone();
        request.old.is_none_or(|old| fields.iter().any(|field| of(old, field) != of(new, field)))
    };
    let user = shown(request.user);
    match &*request.resource.plural {
        "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
            let kind = meta::at(new, &["spec", "paramKind"]);
            if kind.is_object() && is_new(&["paramKind"]) && !reads(request, kind, "*", "*").await? {
                let text = |field: &str| meta::text(kind, &[field]);
                let what = format!("(kind={}, apiVersion={})", text("kind"), text("apiVersion"));
                let why = format!(
                    "user {user} must have \"get\" permission on all objects of the referenced paramKind {what}"
                );
                errors.forbidden(&Path::new("spec.paramKind"), why);
            }
        }
        plural @ ("validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings") => {
            let reference = meta::at(new, &["spec", "paramRef"]);
            if reference.is_object() && is_new(&["paramRef", "policyName"]) {
                let policies = plural.replace("policybindings", "policies");
                let version = request.resource.gvk.version.to_string();
                let policy = meta::text(new, &["spec", "policyName"]);
                let policy = request.core.object(GROUP, &version, &policies, "", policy).await?.unwrap_or_default();
                let kind = meta::at(&policy, &["spec", "paramKind"]);
                let text = |field: &str| meta::text(reference, &[field]);
                if !reads(request, kind, text("namespace"), text("name")).await? {
                    let why =
                        format!("user {user} does not have \"get\" permission on the object referenced by paramRef");
                    errors.forbidden(&Path::new("spec.paramRef"), why);
                }
            }
        }
        _ => {}
    }
    Ok(errors)
}

/// Whether the user may read parameters of a kind; where nothing is known of it, whether they may read anything.
async fn reads(request: &Request<'_>, kind: &Value, namespace: &str, name: &str) -> Result<bool, Status> {
    let (api_version, kind) = (meta::text(kind, &["apiVersion"]), meta::text(kind, &["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (group, version) = if api_version.is_empty() { ("*", "*") } else { (group, version) };
    let registry = request.core.registry();
    let row = registry.iter().find(|row| row.api_version() == api_version && row.gvk.kind == kind);
    let attributes = Attributes {
        verb: "get".to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        resource: row.map_or("*", |row| &*row.plural).to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let verdict = request.core.authorizer.allowed(request.core, request.user, &attributes).await?;
    Ok(matches!(verdict, Verdict::Allowed(_)))
}

/// A user in the notation of upstream's language.
fn shown(user: &User) -> String {
    let extra: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown_in_the_notation_of_upstream() {
        let mut user = User::new("jane", ["devs".to_owned()]);
        assert_eq!(shown(&user), "&{jane  [devs system:authenticated] map[]}");
        user.extra.insert("a/b".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        assert_eq!(shown(&user), "&{jane  [devs system:authenticated] map[a/b:[x y]]}");
    }
}
