//! Failures about what upstream does not name by its resource: by its kind, or together with a subresource.

use super::{Details, FieldErrors, Path, Reason, Status, quote};
use crate::resources::Resource;

/// `pods/binding`, `Deployment.apps`: what it is, and its group.
fn qualified((group, what): (&str, &str)) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}

fn details((group, what): (&str, &str), name: &str) -> Details {
    Details { name: name.into(), group: group.into(), kind: what.into(), ..Details::default() }
}

impl Status {
    /// 409 about `(group, what)`.
    #[must_use]
    pub fn conflict_on(what: (&str, &str), name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {}: {why}", qualified(what), quote(name));
        Self::new(Reason::Conflict, message).with_details(details(what, name))
    }

    /// 403 about `(group, what)`.
    #[must_use]
    pub fn forbidden_on(what: (&str, &str), name: &str, why: &str) -> Self {
        let message = format!("{} {} is forbidden: {why}", qualified(what), quote(name));
        Self::new(Reason::Forbidden, message).with_details(details(what, name))
    }

    /// 422: a kind whose changes must name the version that they mean was named none.
    #[must_use]
    pub fn unversioned(resource: &Resource, name: &str) -> Self {
        let mut errors = FieldErrors::new();
        // Upstream names the resource in the place of the kind.
        errors.invalid(&Path::new("metadata.resourceVersion"), 0, "must be specified for an update");
        Self::invalid(&resource.gvk.group, &resource.plural, name, &errors.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_resource_of_its_own_is_named_with_its_group() {
        let conflict = Status::conflict_on(("", "pods/binding"), "p", "why");
        assert_eq!(conflict.message, "Operation cannot be fulfilled on pods/binding \"p\": why");
        let conflict = Status::conflict_on(("apps", "Deployment"), "d", "why");
        assert_eq!(conflict.message, "Operation cannot be fulfilled on Deployment.apps \"d\": why");
        assert_eq!(
            conflict.to_value()["details"],
            serde_json::json!({"name": "d", "group": "apps", "kind": "Deployment"})
        );
        let forbidden = Status::forbidden_on(("policy", "poddisruptionbudget"), "b", "why");
        assert_eq!(
            (forbidden.code, forbidden.message.as_str()),
            (403, "poddisruptionbudget.policy \"b\" is forbidden: why")
        );
    }
}
