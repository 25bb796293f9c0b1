//! Who may do what: `system:masters` before all, then nodes by what concerns them, then RBAC.

mod node;
pub mod policy;
mod rbac;
mod review;
mod rules;

use std::time::Instant;

use rk_api::status::{Details, Reason, Status, quote};

use crate::audit;
use crate::authn::{Habits, MASTERS, User};
use crate::http::RequestInfo;
use crate::metrics::Decider;
use crate::server::Core;

pub(crate) use node::referenced;
pub use rbac::Rbac;
pub use review::{self_rules_review, subject_access_review};
pub use rules::{Rule, quoted};

/// What somebody wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The verb.
    pub verb: String,
    /// Group of the resource.
    pub group: String,
    /// Version of the resource.
    pub version: String,
    /// Plural.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Namespace, empty for the cluster.
    pub namespace: String,
    /// Object, empty for any.
    pub name: String,
    /// Set for paths that are no resources; the resource fields are then empty.
    pub path: Option<String>,
    /// The node to which a list's field selector keeps it, empty for none.
    pub node: String,
}

impl Attributes {
    /// From a request.
    #[must_use]
    pub fn of_request(info: &RequestInfo) -> Self {
        match &info.resource {
            None => Self { verb: info.verb.clone(), path: Some(info.path.clone()), ..Self::default() },
            Some(path) => Self {
                verb: info.verb.clone(),
                group: path.group.clone(),
                version: path.version.clone(),
                resource: path.resource.clone(),
                subresource: path.subresource.clone(),
                // A namespace is a cluster-scoped object, yet judged inside itself, as upstream does.
                namespace: path.namespace.clone(),
                name: path.name.clone(),
                path: None,
                node: info.node.clone(),
            },
        }
    }

    /// `resource` or `resource/subresource`, as roles write it.
    #[must_use]
    pub fn combined(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The authorizers, in order.
#[derive(Default)]
pub struct Authorizer {
    rbac: Rbac,
    habits: Habits,
}

impl Authorizer {
    /// The role rules as they are bound now.
    #[must_use]
    pub fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    /// How callers became somebody else the last time.
    #[must_use]
    pub fn habits(&self) -> &Habits {
        &self.habits
    }

    /// Judges a request.
    ///
    /// # Errors
    /// 403 in upstream's words; roles cannot be read.
    pub async fn authorize(&self, core: &Core, user: &User, info: &RequestInfo) -> Result<(), Status> {
        // Probes must answer while the policy is still loading, and they are public by default policy anyway.
        if info.resource.is_none() && core.health.is_probe(&info.path) {
            audit::judged(Some(true), "");
            return Ok(());
        }
        let attributes = Attributes::of_request(info);
        let started = Instant::now();
        let verdict = self.allowed(core, user, &attributes).await;
        let allowed = verdict.as_ref().ok().map(Verdict::allows);
        core.metrics.access.authorized(allowed, started.elapsed());
        audit::judged(allowed, verdict.as_ref().map_or("", Verdict::why));
        verdict?.require(user, &attributes)
    }

    /// Judges one thing that somebody wants to do.
    ///
    /// # Errors
    /// 403 in upstream's words; roles cannot be read.
    pub async fn check(&self, core: &Core, user: &User, attributes: &Attributes) -> Result<(), Status> {
        self.allowed(core, user, attributes).await?.require(user, attributes)
    }

    /// Whether somebody may do something, and why.
    ///
    /// # Errors
    /// Roles cannot be read.
    pub async fn allowed(&self, core: &Core, user: &User, attributes: &Attributes) -> Result<Verdict, Status> {
        if user.in_group(MASTERS) {
            return Ok(Verdict::Allowed(String::new()));
        }
        let mut why = String::new();
        if let Some(node) = user.node_name() {
            match node::judge(core, node, attributes).await? {
                Verdict::NoOpinion(reason) => why = reason,
                allowed => {
                    core.metrics.access.decided(Decider::Node);
                    return Ok(allowed);
                }
            }
        }
        match self.rbac.judge(core, user, attributes).await? {
            Verdict::NoOpinion(lost) => {
                if !why.is_empty() && !lost.is_empty() {
                    why.push('\n');
                }
                Ok(Verdict::NoOpinion(why + &lost))
            }
            allowed => {
                core.metrics.access.decided(Decider::Rbac);
                Ok(allowed)
            }
        }
    }
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, by this.
    Allowed(String),
    /// Not allowed by this authorizer, with an explanation if it has one.
    NoOpinion(String),
}

impl Verdict {
    /// Whether it is a yes.
    #[must_use]
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    fn why(&self) -> &str {
        match self {
            Self::Allowed(why) | Self::NoOpinion(why) => why,
        }
    }

    fn require(self, user: &User, attributes: &Attributes) -> Result<(), Status> {
        match self {
            Self::Allowed(_) => Ok(()),
            Self::NoOpinion(why) => Err(forbidden(user, attributes, &why)),
        }
    }
}

/// 403 in upstream's words.
#[must_use]
pub fn forbidden(user: &User, attributes: &Attributes, why: &str) -> Status {
    if let Some(path) = &attributes.path {
        let mut status = Status::forbidden_path(&user.name, &attributes.verb, path);
        if !why.is_empty() {
            status.message.push_str(": ");
            status.message.push_str(why);
        }
        return status;
    }
    let Attributes { verb, group, namespace, name, .. } = attributes;
    let qualified =
        if group.is_empty() { attributes.resource.clone() } else { format!("{}.{group}", attributes.resource) };
    let subject = if name.is_empty() { qualified } else { format!("{qualified} {}", quote(name)) };
    let place = if namespace.is_empty() {
        " at the cluster scope".to_owned()
    } else {
        format!(" in the namespace {}", quote(namespace))
    };
    let mut message = format!(
        "{subject} is forbidden: User {} cannot {verb} resource {} in API group {}{place}",
        quote(&user.name),
        quote(&attributes.combined()),
        quote(group)
    );
    if !why.is_empty() {
        message.push_str(": ");
        message.push_str(why);
    }
    Status::new(Reason::Forbidden, message).with_details(Details {
        name: name.clone(),
        group: group.clone(),
        kind: attributes.resource.clone(),
        ..Details::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_worded_as_upstream_words_it() {
        let user = User::new("jane", []);
        let attributes = Attributes {
            verb: "list".into(),
            group: "apps".into(),
            resource: "deployments".into(),
            namespace: "default".into(),
            ..Attributes::default()
        };
        assert_eq!(
            forbidden(&user, &attributes, "").message,
            r#"deployments.apps is forbidden: User "jane" cannot list resource "deployments" in API group "apps" in the namespace "default""#
        );
        let one =
            Attributes { verb: "get".into(), resource: "nodes".into(), name: "n".into(), ..Attributes::default() };
        assert_eq!(
            forbidden(&user, &one, "").message,
            r#"nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope"#
        );
    }
}
