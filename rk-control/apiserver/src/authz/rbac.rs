//! Role-based access control: roles and bindings turned into an index by subject, rebuilt when one of them changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Verdict};
use crate::authn::{SERVICE_ACCOUNT_PREFIX, User};
use crate::server::Core;
use crate::storage::ResourceCache;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A set of rules that a subject holds.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Where it holds; empty for the whole cluster.
    pub namespace: String,
    /// For explanations: which binding grants which role.
    pub why: Arc<str>,
    /// The rules; none where the role is not there.
    pub rules: Arc<[Rule]>,
    /// What is told of a role that is not there.
    pub lost: Option<Arc<str>>,
}

#[derive(Default)]
struct Index {
    /// Revisions of the four resources that this was made from.
    made_from: [u64; 4],
    by_subject: HashMap<Subject, Vec<Grant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// The index.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Arc<Index>>,
}

impl Rbac {
    pub(super) async fn judge(&self, core: &Core, user: &User, attributes: &Attributes) -> Result<Verdict, Status> {
        let index = self.index(core).await?;
        if let Some(allowed) = index.judge(user, attributes) {
            return Ok(allowed);
        }
        // A refusal is worth a second look: a role that was bound a moment ago may not have reached the cache yet.
        core.storage.settled().await?;
        let again = self.index(core).await?;
        let second = if again.made_from == index.made_from { None } else { again.judge(user, attributes) };
        Ok(second.unwrap_or_else(|| Verdict::NoOpinion(again.lost(user, attributes))))
    }

    /// Every rule that a user holds in a namespace, those on paths included that a binding in it does not make good.
    ///
    /// # Errors
    /// Roles cannot be read.
    pub async fn rules_of(&self, core: &Core, user: &User, namespace: &str) -> Result<Vec<Rule>, Status> {
        // What was bound a moment ago counts: no second look follows.
        core.storage.settled().await?;
        let index = self.index(core).await?;
        let mut rules: Vec<Rule> = Vec::new();
        for grant in index.grants(user).filter(|grant| grant.namespace.is_empty() || grant.namespace == namespace) {
            rules.extend(grant.rules.iter().cloned());
        }
        Ok(rules)
    }

    async fn index(&self, core: &Core) -> Result<Arc<Index>, Status> {
        let mut caches = Vec::with_capacity(4);
        for plural in ["clusterroles", "clusterrolebindings", "roles", "rolebindings"] {
            caches.push(core.cache(GROUP, "v1", plural).await?);
        }
        let [cluster_roles, cluster_bindings, roles, bindings] = &caches[..] else { return Ok(Arc::default()) };
        let now = [cluster_roles.revision(), cluster_bindings.revision(), roles.revision(), bindings.revision()];
        let current = Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner));
        if current.made_from == now {
            return Ok(current);
        }
        let built = Arc::new(build(now, cluster_roles, cluster_bindings, roles, bindings));
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&built);
        Ok(built)
    }
}

impl Index {
    fn judge(&self, user: &User, attributes: &Attributes) -> Option<Verdict> {
        let mut here = self.grants_for(user, attributes);
        let grant = here.find(|grant| grant.rules.iter().any(|rule| rule.covers(attributes)))?;
        Some(Verdict::Allowed(format!("RBAC: allowed by {}", grant.why)))
    }

    /// What a refusal tells of roles that the user is bound to and that are not there; empty for none.
    fn lost(&self, user: &User, attributes: &Attributes) -> String {
        let mut lost: Vec<&str> = self.grants_for(user, attributes).filter_map(|grant| grant.lost.as_deref()).collect();
        let mut told = HashSet::new();
        lost.retain(|role| told.insert(*role));
        match lost.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        }
    }

    /// What the user is bound to where something is asked for.
    fn grants_for<'a>(&'a self, user: &'a User, attributes: &'a Attributes) -> impl Iterator<Item = &'a Grant> {
        self.grants(user).filter(move |grant| {
            grant.namespace.is_empty() || (grant.namespace == attributes.namespace && attributes.path.is_none())
        })
    }

    fn grants<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let own = self.by_subject.get(&Subject::User(user.name.clone()));
        let groups = user.groups.iter().filter_map(|group| self.by_subject.get(&Subject::Group(group.clone())));
        own.into_iter().chain(groups).flatten()
    }
}

fn objects(cache: &ResourceCache) -> Vec<Value> {
    cache.snapshot("", 0, |_| true).objects.iter().map(|object| object.value()).collect()
}

fn build(
    made_from: [u64; 4],
    cluster_roles: &ResourceCache,
    cluster_bindings: &ResourceCache,
    roles: &ResourceCache,
    bindings: &ResourceCache,
) -> Index {
    let cluster: Vec<Value> = objects(cluster_roles);
    let by_name: HashMap<(String, String), Arc<[Rule]>> = cluster
        .iter()
        .map(|role| ((String::new(), rk_api::meta::name(role).to_owned()), cluster_rules(role, &cluster)))
        .chain(objects(roles).iter().map(|role| {
            ((rk_api::meta::namespace(role).to_owned(), rk_api::meta::name(role).to_owned()), own_rules(role).into())
        }))
        .collect();
    let mut by_subject: HashMap<Subject, Vec<Grant>> = HashMap::new();
    for binding in objects(cluster_bindings).iter().chain(&objects(bindings)) {
        let namespace = rk_api::meta::namespace(binding);
        let kind = rk_api::meta::text(binding, &["roleRef", "kind"]);
        let role = rk_api::meta::text(binding, &["roleRef", "name"]);
        let within = if kind == "ClusterRole" { "" } else { namespace };
        let rules = by_name.get(&(within.to_owned(), role.to_owned()));
        let told = || Arc::<str>::from(format!("{}.{GROUP} {role:?} not found", kind.to_lowercase()));
        let lost = rules.is_none().then(told);
        for subject in binding.get("subjects").and_then(Value::as_array).into_iter().flatten() {
            let Some((key, shown)) = subject_of(subject, namespace) else { continue };
            let grant = Grant {
                namespace: namespace.to_owned(),
                why: explain(binding, kind, role, &shown).into(),
                rules: rules.cloned().unwrap_or_default(),
                lost: lost.clone(),
            };
            by_subject.entry(key).or_default().push(grant);
        }
    }
    Index { made_from, by_subject }
}

fn explain(binding: &Value, role_kind: &str, role: &str, subject: &str) -> String {
    let (name, namespace) = (rk_api::meta::name(binding), rk_api::meta::namespace(binding));
    let (kind, shown) = if namespace.is_empty() {
        ("ClusterRoleBinding", name.to_owned())
    } else {
        ("RoleBinding", format!("{name}/{namespace}"))
    };
    format!("{kind} {shown:?} of {role_kind} {role:?} to {subject}")
}

fn subject_of(subject: &Value, namespace: &str) -> Option<(Subject, String)> {
    let text = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    match text("kind") {
        "User" => Some((Subject::User(name.to_owned()), format!("User {name:?}"))),
        "Group" => Some((Subject::Group(name.to_owned()), format!("Group {name:?}"))),
        "ServiceAccount" => {
            let namespace = if text("namespace").is_empty() { namespace } else { text("namespace") };
            let user = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}");
            Some((Subject::User(user), format!("ServiceAccount \"{name}/{namespace}\"")))
        }
        _ => None,
    }
}

fn own_rules(role: &Value) -> Vec<Rule> {
    role.get("rules").and_then(Value::as_array).into_iter().flatten().map(Rule::parse).collect()
}

/// A cluster role's rules; an aggregating one has those of every role that its selectors match.
fn cluster_rules(role: &Value, all: &[Value]) -> Arc<[Rule]> {
    let selectors: Vec<LabelSelector> = rk_api::meta::at(role, &["aggregationRule", "clusterRoleSelectors"])
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|selector| LabelSelector::from_object(selector).ok())
        .collect();
    if selectors.is_empty() {
        return own_rules(role).into();
    }
    let mut rules = Vec::new();
    for part in all {
        let itself = rk_api::meta::name(part) == rk_api::meta::name(role);
        if !itself && selectors.iter().any(|selector| selector.matches(rk_api::meta::labels(part))) {
            // One level is enough: the parts of parts carry the outer label themselves, or are aggregated into `rules`.
            rules.extend(own_rules(part));
        }
    }
    rules.into()
}
