//! Who a request comes from.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Group of every request that was authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of every request that was not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group that may do everything, before any role is read.
pub const MASTERS: &str = "system:masters";
/// Group of kubelets; user names are `system:node:<name>`.
pub const NODES: &str = "system:nodes";
/// Prefix of a kubelet's user name.
pub const NODE_PREFIX: &str = "system:node:";
/// Prefix of a service account's user name, followed by `<namespace>:<name>`.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Name of the user of requests without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Says in `extra` on which node the token of a service account is used.
pub const NODE_OF_TOKEN: &str = "authentication.kubernetes.io/node-name";

/// The groups of the service accounts of a namespace.
pub(crate) fn service_account_groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// A user as authorization, admission and audit see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Name, unique in the cluster.
    pub name: String,
    /// Identifier that survives a reuse of the name; may be empty.
    pub uid: String,
    /// Groups, in the order in which they were found.
    pub groups: Vec<String>,
    /// Further facts by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with these groups plus `system:authenticated`.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut user = Self { name: name.into(), groups: groups.into_iter().collect(), ..Self::default() };
        user.add_group(AUTHENTICATED);
        user
    }

    /// The user of a request without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// A component of the control plane that runs in this process, known by its user name (`system:kube-scheduler`).
    #[must_use]
    pub fn component(name: &str) -> Self {
        Self::new(name, [])
    }

    /// The server itself.
    #[must_use]
    pub fn apiserver() -> Self {
        Self::new("system:apiserver", [MASTERS.to_owned()])
    }

    /// The user of a service account.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = service_account_groups(namespace);
        Self { uid: uid.to_owned(), ..Self::new(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), groups) }
    }

    /// Adds a group once.
    pub fn add_group(&mut self, group: &str) {
        if !self.in_group(group) {
            self.groups.push(group.to_owned());
        }
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node's name when this user is a kubelet.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.in_group(NODES).then(|| self.name.strip_prefix(NODE_PREFIX))?
    }

    /// The node on which the token that this user came with is used, if it says so of one.
    #[must_use]
    pub fn node_of_token(&self) -> Option<&str> {
        match self.extra.get(NODE_OF_TOKEN)?.as_slice() {
            [node] => Some(node.as_str()),
            _ => None,
        }
    }

    /// The `UserInfo` of TokenReview and SelfSubjectReview.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}
