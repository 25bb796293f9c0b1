//! The audit policy (`audit.k8s.io/v1`): an ordered list of rules, of which the first that matches a request decides. Pure.

mod read;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::authn::User;
use crate::http::{RequestInfo, ResourcePath, is_path};
pub use read::PolicyError;

/// The policy that is in force when none is given: everything that somebody does, without bodies.
const DEFAULT: &str = include_str!("default.yaml");

/// How much of a request is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked for what, and what became of it.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

impl Level {
    /// All, from least to most.
    pub const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A point on the way of a request at which an event may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// It came, and nothing was done yet.
    RequestReceived,
    /// The headers of the answer are there; of requests that last alone.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// Serving it failed in a way that nobody foresaw.
    Panic,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::RequestReceived => 1,
            Self::ResponseStarted => 2,
            Self::ResponseComplete => 4,
            Self::Panic => 8,
        }
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stages(u8);

impl Stages {
    fn of(stages: &[Stage]) -> Self {
        Self(stages.iter().fold(0, |all, stage| all | stage.bit()))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, stage: Stage) -> bool {
        self.0 & stage.bit() != 0
    }
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) level: Level,
    /// Stages that make no events.
    pub(super) omit: Stages,
    /// Whether bodies are written without their managed fields.
    pub(super) omit_managed: bool,
}

/// Which requests are told of, and how much.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    omit: Stages,
    omit_managed: bool,
}

/// One rule; empty lists match everything.
#[derive(Debug, Clone)]
struct Rule {
    decision: Decision,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    urls: Vec<String>,
}

/// Resources of one group; no resources are all of them.
#[derive(Debug, Clone)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == text)
}

impl Policy {
    /// Reads a policy, YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        read::policy(text)
    }

    /// The policy that is in force when none is given.
    ///
    /// # Errors
    /// None: a test reads it.
    pub fn standard() -> Result<Self, PolicyError> {
        Self::parse(DEFAULT)
    }

    /// How much of a request is logged; `user` is `None` when its credentials are not valid.
    pub(super) fn decide(&self, user: Option<&User>, info: &RequestInfo) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        let unmatched = Decision { level: Level::None, omit: self.omit, omit_managed: self.omit_managed };
        rule.map_or(unmatched, |rule| rule.decision)
    }
}

impl Rule {
    fn matches(&self, user: Option<&User>, info: &RequestInfo) -> bool {
        let of_user = self.users.is_empty() || user.is_some_and(|user| has(&self.users, &user.name));
        let member = |user: &User| user.groups.iter().any(|group| has(&self.groups, group));
        let of_group = self.groups.is_empty() || user.is_some_and(member);
        let of_verb = self.verbs.is_empty() || has(&self.verbs, &info.verb);
        if !(of_user && of_group && of_verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.resource.as_ref().is_some_and(|path| self.matches_resource(path));
        }
        self.urls.is_empty() || (info.resource.is_none() && self.urls.iter().any(|url| is_path(url, &info.path)))
    }

    fn matches_resource(&self, path: &ResourcePath) -> bool {
        // What has no namespace is in the one with the empty name.
        if !self.namespaces.is_empty() && !has(&self.namespaces, &path.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|own| own.matches(path))
    }
}

impl GroupResources {
    fn matches(&self, path: &ResourcePath) -> bool {
        if self.group != path.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.names.is_empty() || has(&self.names, &path.name);
        named && self.resources.iter().any(|own| matches_plural(own, path))
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/scale` and `*`.
fn matches_plural(own: &str, path: &ResourcePath) -> bool {
    if own == "*" {
        return true;
    }
    match own.split_once('/') {
        None => own == path.resource && path.subresource.is_empty(),
        Some((_, "")) => false,
        // As upstream has it, this is the resource itself as well.
        Some((plural, "*")) => plural == path.resource,
        Some(("*", sub)) => sub == path.subresource,
        Some((plural, sub)) => plural == path.resource && sub == path.subresource,
    }
}
