//! Who may have policies read parameters: those who may read them for themselves (`pkg/registry/admissionregistration`).

use rk_api::meta;
use rk_api::resources::GroupVersionKind;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::Value;

use super::{Operation, Request};
use crate::authn::{MASTERS, User};
use crate::authz::Attributes;

const GROUP: &str = "admissionregistration.k8s.io";

/// A field, and what is wrong with it.
type Refusal = (&'static str, String);

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
    let refusal = match &*request.resource.plural {
        "validatingadmissionpolicies" | "mutatingadmissionpolicies" => policy(request, new).await?,
        plural @ ("validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings") => {
            binding(request, &plural.replace("policybindings", "policies"), new).await?
        }
        _ => None,
    };
    if let Some((field, why)) = refusal {
        errors.forbidden(&Path::new(field), why);
    }
    Ok(errors)
}

/// Who has a policy read parameters of a kind may read all of them.
async fn policy(request: &Request<'_>, new: &Value) -> Result<Option<Refusal>, Status> {
    let kind = meta::at(new, &["spec", "paramKind"]);
    if !kind.is_object() || !changes(request, new, &["paramKind"]) || reads(request, kind, "*", "*").await? {
        return Ok(None);
    }
    let text = |field: &str| meta::text(kind, &[field]);
    let why = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        shown(request.user),
        text("kind"),
        text("apiVersion")
    );
    Ok(Some(("spec.paramKind", why)))
}

/// Who gives parameters to a policy, one of `policies`, may read them.
async fn binding(request: &Request<'_>, policies: &str, new: &Value) -> Result<Option<Refusal>, Status> {
    let reference = meta::at(new, &["spec", "paramRef"]);
    if !reference.is_object() || !changes(request, new, &["paramRef", "policyName"]) {
        return Ok(None);
    }
    let (version, name) = (&*request.resource.gvk.version, meta::text(new, &["spec", "policyName"]));
    let policy = request.core.object(GROUP, version, policies, "", name).await?.unwrap_or_default();
    let text = |field: &str| meta::text(reference, &[field]);
    if reads(request, meta::at(&policy, &["spec", "paramKind"]), text("namespace"), text("name")).await? {
        return Ok(None);
    }
    let user = shown(request.user);
    let why = format!("user {user} does not have \"get\" permission on the object referenced by paramRef");
    Ok(Some(("spec.paramRef", why)))
}

/// Whether one of these fields of `spec` is another one than before.
fn changes(request: &Request<'_>, new: &Value, fields: &[&str]) -> bool {
    let differs = |old: &Value, field: &str| meta::at(old, &["spec", field]) != meta::at(new, &["spec", field]);
    request.old.is_none_or(|old| fields.iter().any(|field| differs(old, field)))
}

/// Whether the user may read parameters of a kind; where nothing is known of it, whether they may read anything.
async fn reads(request: &Request<'_>, kind: &Value, namespace: &str, name: &str) -> Result<bool, Status> {
    let gvk = GroupVersionKind::from_api_version(meta::text(kind, &["apiVersion"]), meta::text(kind, &["kind"]));
    let registry = request.core.registry();
    let row = gvk.as_ref().and_then(|gvk| registry.by_kind(gvk));
    let attributes = Attributes {
        verb: "get".to_owned(),
        group: gvk.as_ref().map_or("*", |gvk| &*gvk.group).to_owned(),
        version: gvk.as_ref().map_or("*", |gvk| &*gvk.version).to_owned(),
        resource: row.map_or("*", |row| &*row.plural).to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    request.allows(&attributes).await
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
