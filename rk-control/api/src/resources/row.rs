//! One row of the resource table and the names that identify it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::custom::CustomKind;
use crate::schema::Schema;

/// A string that is static for built-in rows and owned for rows added at run time.
pub type Str = Cow<'static, str>;

/// A verb that a resource may support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// POST of a new object.
    Create,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// PATCH.
    Patch,
    /// PUT.
    Update,
    /// GET of a collection with `watch=true`.
    Watch,
}

impl Verb {
    /// Every verb, in the order in which discovery lists them.
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// The verb as discovery and RBAC write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    /// The eight verbs of an ordinary stored resource.
    pub const ALL: Verbs = Verbs(0xff);
    /// No verb.
    pub const NONE: Verbs = Verbs(0);

    /// The set with these bits, bit `n` being the `n`-th of [`Verb::ALL`].
    pub const fn from_bits(bits: u8) -> Self {
        Verbs(bits)
    }

    /// The set plus one verb.
    pub const fn with(self, verb: Verb) -> Self {
        Verbs(self.0 | 1 << verb as u8)
    }

    /// Whether the verb is in the set.
    pub const fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }

    /// The verbs in discovery order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |v| self.contains(*v))
    }
}

/// Whether objects of a resource live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Objects have a namespace.
    Namespaced,
    /// Objects belong to the cluster.
    Cluster,
}

/// Group, version and kind of an object. The core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// Group, empty for the core group.
    pub group: Str,
    /// Version, such as `v1`.
    pub version: Str,
    /// Kind, such as `Pod`.
    pub kind: Str,
}

impl GroupVersionKind {
    /// From its parts.
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, kind: impl Into<Str>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// From the `apiVersion` and `kind` fields of an object. `None` when `apiVersion` has more than one slash or is empty.
    pub fn from_api_version(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        (!version.is_empty() && !version.contains('/'))
            .then(|| Self::new(group.to_owned(), version.to_owned(), kind.to_owned()))
    }

    /// The `apiVersion` field.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", api_version(&self.group, &self.version), self.kind)
    }
}

/// `version` for the core group, `group/version` otherwise.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A subresource of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Subresource {
    /// The path segment after the object's name: `status`, `scale`, …
    pub name: Str,
    /// What its bodies are.
    pub gvk: GroupVersionKind,
    /// What may be done with it.
    pub verbs: Verbs,
}

/// A resource: everything generic code needs in order to serve a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Group, version and kind of the objects in this version.
    pub gvk: GroupVersionKind,
    /// The path segment: `pods`.
    pub plural: Str,
    /// Lower-case singular: `pod`.
    pub singular: Str,
    /// Whether objects have a namespace.
    pub scope: Scope,
    /// Verbs on the resource itself.
    pub verbs: Verbs,
    /// Short names: `po`.
    pub short_names: Vec<Str>,
    /// Categories: `all`.
    pub categories: Vec<Str>,
    /// Subresources in alphabetical order.
    pub subresources: Vec<Subresource>,
    /// Group and version under which objects are stored; equal to this row's own unless a group has several versions or
    /// two groups share one kind (`events.k8s.io` and core events).
    pub hub: (Str, Str),
    /// The schema of the objects.
    pub schema: Schema,
    /// What a kind made by a CustomResourceDefinition has besides; `None` for built-in kinds.
    pub custom: Option<Arc<CustomKind>>,
}

impl Resource {
    /// The `apiVersion` of objects in this version.
    pub fn api_version(&self) -> String {
        self.gvk.api_version()
    }

    /// Whether requests can name it: every version of a custom kind is in the table, even when it is not served.
    pub fn is_served(&self) -> bool {
        self.verbs != Verbs::NONE
    }

    /// Whether both say the same of their objects: what a row of a custom kind says changes with its definition.
    pub fn has_form_of(&self, other: &Self) -> bool {
        match (&self.custom, &other.custom) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    /// The kind of a list of such objects.
    pub fn list_kind(&self) -> String {
        if let Some(custom) = &self.custom {
            return custom.list_kind.clone();
        }
        format!("{}List", self.gvk.kind)
    }

    /// `deployments.apps`, or just `pods` in the core group: how messages name a resource.
    pub fn group_resource(&self) -> String {
        if self.gvk.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.gvk.group) }
    }

    /// Whether objects live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether objects are stored in this very version.
    pub fn is_hub(&self) -> bool {
        self.hub.0 == self.gvk.group && self.hub.1 == self.gvk.version
    }

    /// Whether objects are kept at all; reviews and bindings are only answered.
    pub fn is_stored(&self) -> bool {
        self.custom.is_some() || self.verbs.contains(Verb::Update)
    }

    /// Whether the definition of the kind is on its way out, so that nothing new may come.
    pub fn is_closing(&self) -> bool {
        self.custom.is_some() && self.is_served() && !self.verbs.contains(Verb::Create)
    }

    /// The verbs as discovery lists them; kube-apiserver v1.36 tells `create` of custom kinds after `patch`.
    pub fn listed_verbs(&self) -> Vec<&'static str> {
        let mut verbs: Vec<Verb> = self.verbs.iter().collect();
        if self.custom.is_some() {
            verbs.sort_by_key(|verb| matches!(verb, Verb::Create | Verb::Update | Verb::Watch));
        }
        verbs.into_iter().map(Verb::as_str).collect()
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}
