//! The table with its indexes.

use std::collections::HashMap;
use std::sync::Arc;

use super::builtin;
use super::row::{GroupVersionKind, Resource, Str};

/// One served group and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupVersion {
    /// Group, empty for the core group.
    pub group: Str,
    /// Version.
    pub version: Str,
}

/// All resources that are served now. Cloning is cheap enough to publish a changed copy (rows are shared).
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Groups and versions in discovery order; within a group the preferred version comes first.
    order: Vec<GroupVersion>,
    /// Rows in discovery order.
    rows: Vec<Arc<Resource>>,
    /// Rows by plural: nearly always one.
    by_plural: HashMap<Str, Vec<Arc<Resource>>>,
    by_kind: HashMap<GroupVersionKind, Arc<Resource>>,
}

impl Registry {
    /// The resources that a v1.36 server serves by default.
    pub fn builtin() -> Self {
        let mut registry = Registry::default();
        for row in builtin::rows() {
            registry.insert(row);
        }
        registry
    }

    /// Adds a row, or replaces the row with the same group, version and plural.
    pub fn insert(&mut self, row: Resource) {
        self.remove(&row.gvk.group, &row.gvk.version, &row.plural);
        if !row.is_served() {
            self.by_plural.entry(row.plural.clone()).or_default().push(Arc::new(row));
            return;
        }
        let gv = GroupVersion { group: row.gvk.group.clone(), version: row.gvk.version.clone() };
        if !self.order.contains(&gv) {
            let after_group = self.order.iter().rposition(|o| o.group == gv.group).map_or(self.order.len(), |i| i + 1);
            self.order.insert(after_group, gv);
        }
        let row = Arc::new(row);
        self.by_plural.entry(row.plural.clone()).or_default().push(row.clone());
        self.by_kind.insert(row.gvk.clone(), row.clone());
        self.rows.push(row);
    }

    /// Removes a row; a group version without rows is no longer served.
    pub fn remove(&mut self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let same_plural = self.by_plural.get_mut(plural)?;
        let at = same_plural.iter().position(|r| r.gvk.group == group && r.gvk.version == version)?;
        let row = same_plural.swap_remove(at);
        if self.by_kind.get(&row.gvk).is_some_and(|own| Arc::ptr_eq(own, &row)) {
            self.by_kind.remove(&row.gvk);
        }
        self.rows.retain(|r| !Arc::ptr_eq(r, &row));
        if self.resources(group, version).next().is_none() {
            self.order.retain(|o| o.group != group || o.version != version);
        }
        Some(row)
    }

    /// The resource at `/apis/{group}/{version}/{plural}` (core: `/api/{version}/{plural}`).
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.known(group, version, plural).filter(|resource| resource.is_served())
    }

    /// As [`Registry::get`], of a version that need not be served: objects of custom kinds are kept, and spoken of, in such.
    pub fn known(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_plural.get(plural)?.iter().find(|r| r.gvk.group == group && r.gvk.version == version)
    }

    /// The resource of a kind.
    pub fn by_kind(&self, gvk: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.by_kind.get(gvk)
    }

    /// The row under which objects of `resource` are stored.
    pub fn hub(&self, resource: &Resource) -> Option<&Arc<Resource>> {
        self.known(&resource.hub.0, &resource.hub.1, &resource.plural)
    }

    /// The first resource, in discovery order, that answers to this plural, singular or short name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Resource>> {
        self.rows.iter().find(|r| r.plural == name || r.singular == name || r.short_names.iter().any(|s| s == name))
    }

    /// Groups and versions in discovery order: core first, within a group the preferred version first.
    pub fn group_versions(&self) -> &[GroupVersion] {
        &self.order
    }

    /// The version of a group that clients should prefer.
    pub fn preferred_version(&self, group: &str) -> Option<&str> {
        self.order.iter().find(|o| o.group == group).map(|o| &*o.version)
    }

    /// The resources of a group version in discovery order.
    pub fn resources<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.rows.iter().filter(move |r| r.gvk.group == group && r.gvk.version == version)
    }

    /// Every row in discovery order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.iter()
    }
}
