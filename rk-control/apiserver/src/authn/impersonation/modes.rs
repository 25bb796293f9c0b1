//! The modes of impersonation (KEP-5284). Each but the last needs two rights: to do so what is asked for (`impersonate-on:<mode>:<verb>`), and
//! to be who is wanted (`impersonate:<mode>`). The last one is the right of old to be somebody in all that they may do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rk_api::meta;
use rk_api::status::Status;

use super::Wanted;
use crate::authn::user::{
    ANONYMOUS, AUTHENTICATED, MASTERS, NODE_PREFIX, NODES, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User,
    service_account_groups,
};
use crate::authz::{Attributes, forbidden};
use crate::server::Core;

const GROUP: &str = "authentication.k8s.io";
/// So many checks of one sort are tried as one for all first; upstream's figure.
const MANY: usize = 4;
/// The habits of so many callers are remembered; upstream's figure.
const CALLERS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A service account is the node that its own pod runs on.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    /// Any service account.
    ServiceAccount,
    /// Anybody who is neither a node nor a service account.
    UserInfo,
    /// Anybody, in all that they may do.
    Unbounded,
}

/// In the order in which they are tried: the narrow ones first.
const ALL: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Unbounded];

impl Mode {
    /// The verb of the right to be somebody.
    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Unbounded => "impersonate",
        }
    }

    /// The verb of the right to do what is asked for as somebody else; `None` where no such right is needed.
    fn verb_on(self, verb: &str) -> Option<String> {
        let mode = self.verb().strip_prefix("impersonate:")?;
        Some(format!("impersonate-on:{mode}:{verb}"))
    }

    fn applies(self, wanted: &Wanted, caller: &User) -> bool {
        let named_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node(&wanted.name);
        match self {
            Self::AssociatedNode => {
                named_only && node.is_some() && node == caller.node_of_token() && account(&caller.name).is_some()
            }
            Self::ArbitraryNode => named_only && node.is_some(),
            Self::ServiceAccount => named_only && account(&wanted.name).is_some(),
            Self::UserInfo => node.is_none() && account(&wanted.name).is_none(),
            Self::Unbounded => true,
        }
    }
}

/// How callers became somebody else the last time: what they are likely to want again is tried first, and told of where they may not.
#[derive(Debug, Default)]
pub struct Habits(Mutex<HashMap<String, Mode>>);

impl Habits {
    fn of(&self, caller: &str) -> Option<Mode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(caller).copied()
    }

    fn note(&self, caller: &str, mode: Mode) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(caller) == Some(&mode) {
            return;
        }
        // Who is forgotten loses nothing but time.
        if known.len() >= CALLERS {
            known.clear();
        }
        known.insert(caller.to_owned(), mode);
    }

    /// The modes in the order in which they are tried for a caller.
    fn order(&self, caller: &str) -> impl Iterator<Item = Mode> {
        let habit = self.of(caller);
        habit.into_iter().chain(ALL.into_iter().filter(move |mode| Some(*mode) != habit))
    }
}

/// Who the caller becomes, and the verb of the mode that bounds it (empty for none).
///
/// # Errors
/// 403 of the first mode that was tried; roles cannot be read.
pub(super) async fn become_wanted(
    core: &Core,
    caller: &User,
    wanted: &Wanted,
    asked: &Attributes,
) -> Result<(User, &'static str), Status> {
    let mut refusal = None;
    let habits = core.authorizer.habits();
    for mode in habits.order(&caller.name).filter(|mode| mode.applies(wanted, caller)) {
        match judge(core, mode, caller, wanted, asked).await {
            Ok(()) => {
                habits.note(&caller.name, mode);
                let bound = if mode == Mode::Unbounded { "" } else { mode.verb() };
                return Ok((becoming(mode, wanted), bound));
            }
            Err(status) => refusal = refusal.or(Some(status)),
        }
    }
    Err(refusal.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

async fn judge(core: &Core, mode: Mode, caller: &User, wanted: &Wanted, asked: &Attributes) -> Result<(), Status> {
    if let Some(verb) = mode.verb_on(&asked.verb) {
        core.authorizer.check(core, caller, &Attributes { verb, ..asked.clone() }).await?;
    }
    core.authorizer.check(core, caller, &named(mode, wanted)).await?;
    if !wanted.uid.is_empty() {
        core.authorizer.check(core, caller, &attributes(mode, GROUP, "uids", &wanted.uid)).await?;
    }
    let group = |name: &str| attributes(mode, group_of(mode), "groups", name);
    if mode != Mode::Unbounded
        && let Some((name, why)) = refused_group(&wanted.groups)
    {
        return Err(forbidden(caller, &group(name), why));
    }
    all(core, caller, mode, group("*"), wanted.groups.iter().map(|name| group(name)).collect()).await?;
    let extra = |key: &str, value: &str| Attributes {
        subresource: key.to_owned(),
        ..attributes(mode, GROUP, "userextras", value)
    };
    if mode != Mode::Unbounded
        && let Some(why) = refused_extra(wanted)
    {
        return Err(forbidden(caller, &extra("", ""), &why));
    }
    let each = wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    all(core, caller, mode, extra("*", "*"), each.map(|(key, value)| extra(key, value)).collect()).await
}

/// Judges one thing after the other; of many, where the mode is of the new ones, whether everything of their sort is allowed at once.
async fn all(
    core: &Core,
    caller: &User,
    mode: Mode,
    everything: Attributes,
    each: Vec<Attributes>,
) -> Result<(), Status> {
    let at_once = mode != Mode::Unbounded && each.len() >= MANY;
    if at_once && core.authorizer.check(core, caller, &everything).await.is_ok() {
        return Ok(());
    }
    for attributes in &each {
        core.authorizer.check(core, caller, attributes).await?;
    }
    Ok(())
}

/// The right to have the name.
fn named(mode: Mode, wanted: &Wanted) -> Attributes {
    let group = group_of(mode);
    if let Some((namespace, name)) = account(&wanted.name) {
        let namespace = namespace.to_owned();
        return Attributes { namespace, ..attributes(mode, group, "serviceaccounts", name) };
    }
    match (mode, node(&wanted.name)) {
        (Mode::AssociatedNode, _) => attributes(mode, group, "nodes", "*"),
        (Mode::Unbounded, _) | (_, None) => attributes(mode, group, "users", &wanted.name),
        (_, Some(node)) => attributes(mode, group, "nodes", node),
    }
}

/// The group of users, groups and what else has a name.
fn group_of(mode: Mode) -> &'static str {
    if mode == Mode::Unbounded { "" } else { GROUP }
}

fn attributes(mode: Mode, group: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        verb: mode.verb().to_owned(),
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    }
}

/// A group that nobody can be in by a mode that bounds, and why.
fn refused_group(groups: &[String]) -> Option<(&'static str, &'static str)> {
    let has = |name: &str| groups.iter().any(|group| group == name);
    if has("") {
        return Some(("", "impersonating the empty string group is not allowed"));
    }
    has(MASTERS).then_some((MASTERS, "impersonating the system:masters group is not allowed"))
}

/// Why nobody can have these extras by a mode that bounds. A header has always a value.
fn refused_extra(wanted: &Wanted) -> Option<String> {
    wanted.extra.iter().find_map(|(key, values)| {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        if let Some(why) = meta::domain_prefixed_path(key).first() {
            let why = format!("extra.key: Invalid value: {key:?}: {why}");
            return Some(format!("impersonating an invalid key in extra is not allowed: {why}"));
        }
        if *key != key.to_lowercase() {
            return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
        }
        let empty = values.iter().any(String::is_empty);
        empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
    })
}

/// Who is wanted, complete.
fn becoming(mode: Mode, wanted: &Wanted) -> User {
    let Wanted { name, uid, groups, extra } = wanted;
    let groups = match account(name) {
        Some((namespace, _)) if groups.is_empty() => Vec::from(service_account_groups(namespace)),
        _ if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) => vec![NODES.to_owned()],
        _ => groups.clone(),
    };
    let mut user = User { name: name.clone(), uid: uid.clone(), groups, extra: extra.clone() };
    if name == ANONYMOUS {
        user.add_group(UNAUTHENTICATED);
    } else if !user.in_group(UNAUTHENTICATED) {
        user.add_group(AUTHENTICATED);
    }
    user
}

/// Namespace and name of the service account that a user name stands for.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    let valid = meta::dns1123_label(namespace).is_empty() && meta::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// The node that a user name stands for.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| meta::dns1123_subdomain(name).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::NODE_OF_TOKEN;

    fn wanted(name: &str, groups: &[&str]) -> Wanted {
        Wanted {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Wanted::default()
        }
    }

    fn applying(wanted: &Wanted, caller: &User) -> Vec<Mode> {
        ALL.into_iter().filter(|mode| mode.applies(wanted, caller)).collect()
    }

    #[test]
    fn the_mode_that_was_of_use_last_is_tried_first() {
        let habits = Habits::default();
        assert_eq!(habits.order("jane").collect::<Vec<_>>(), ALL);
        habits.note("jane", Mode::Unbounded);
        let rest = [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo];
        assert_eq!(habits.order("jane").collect::<Vec<_>>(), [&[Mode::Unbounded][..], &rest[..]].concat());
        assert_eq!(habits.order("john").collect::<Vec<_>>(), ALL);
        habits.note("jane", Mode::UserInfo);
        assert_eq!(habits.of("jane"), Some(Mode::UserInfo));
    }

    #[test]
    fn modes_apply_to_those_whom_they_are_for() {
        let mut agent = User::service_account("kube-system", "agent", "");
        agent.extra.insert(NODE_OF_TOKEN.to_owned(), vec!["n1".to_owned()]);
        let own = wanted("system:node:n1", &[]);
        assert_eq!(applying(&own, &agent), [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::Unbounded]);
        let (jane, other) = (User::new("jane", []), wanted("system:node:n2", &[]));
        assert_eq!(applying(&other, &agent), [Mode::ArbitraryNode, Mode::Unbounded]);
        assert_eq!(applying(&own, &jane), [Mode::ArbitraryNode, Mode::Unbounded]);
        assert_eq!(applying(&wanted("system:node:n1", &["system:nodes"]), &agent), [Mode::Unbounded]);
        let account = wanted("system:serviceaccount:a:b", &[]);
        assert_eq!(applying(&account, &jane), [Mode::ServiceAccount, Mode::Unbounded]);
        assert_eq!(applying(&wanted("system:serviceaccount:a:b", &["g"]), &jane), [Mode::Unbounded]);
        assert_eq!(applying(&wanted("john", &["g"]), &jane), [Mode::UserInfo, Mode::Unbounded]);
        assert_eq!(applying(&wanted("system:serviceaccount:a:b:c", &[]), &jane), [Mode::UserInfo, Mode::Unbounded]);
    }

    #[test]
    fn who_is_wanted_gets_the_groups_of_their_kind() {
        let groups = |mode, name: &str, groups: &[&str]| becoming(mode, &wanted(name, groups)).groups;
        assert_eq!(groups(Mode::ArbitraryNode, "system:node:n", &[]), ["system:nodes", "system:authenticated"]);
        assert_eq!(groups(Mode::Unbounded, "system:node:n", &[]), ["system:authenticated"]);
        let account = "system:serviceaccount:a:b";
        let own = ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"];
        assert_eq!(groups(Mode::ServiceAccount, account, &[]), own);
        assert_eq!(groups(Mode::Unbounded, account, &["g"]), ["g", "system:authenticated"]);
        assert_eq!(groups(Mode::UserInfo, "system:anonymous", &[]), ["system:unauthenticated"]);
        assert_eq!(groups(Mode::UserInfo, "jane", &["system:unauthenticated"]), ["system:unauthenticated"]);
    }

    #[test]
    fn rights_are_asked_for_in_the_words_of_the_mode() {
        let node = named(Mode::ArbitraryNode, &wanted("system:node:n", &[]));
        let words = (node.verb.as_str(), node.group.as_str(), node.resource.as_str(), node.name.as_str());
        assert_eq!(words, ("impersonate:arbitrary-node", GROUP, "nodes", "n"));
        assert_eq!(named(Mode::AssociatedNode, &wanted("system:node:n", &[])).name, "*");
        let old = named(Mode::Unbounded, &wanted("system:node:n", &[]));
        assert_eq!((old.verb.as_str(), old.group.as_str(), old.resource.as_str()), ("impersonate", "", "users"));
        assert_eq!(Mode::UserInfo.verb_on("list").as_deref(), Some("impersonate-on:user-info:list"));
        assert_eq!(Mode::Unbounded.verb_on("list"), None);
        assert!(refused_group(&["a".to_owned()]).is_none() && refused_group(&[MASTERS.to_owned()]).is_some());
        let mut extra = wanted("jane", &[]);
        extra.extra.insert("example.com/scope".to_owned(), vec!["x".to_owned()]);
        assert_eq!(refused_extra(&extra), None);
        extra.extra.insert("scope".to_owned(), vec!["x".to_owned()]);
        assert!(refused_extra(&extra).is_some_and(|why| why.contains("an invalid key in extra")));
    }
}
