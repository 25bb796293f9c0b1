//! How values of a type merge: under server-side apply, and under strategic merge patch.

use super::node::{Lists, Schema};
use super::rows::{self, Merge};

impl Schema {
    fn merge(&self) -> Option<&'static Merge> {
        self.field_row().map(rows::merge)
    }

    /// How a list merges under server-side apply.
    pub fn lists(&self) -> Lists {
        match self.as_made() {
            Some(node) => node.lists,
            None => self.merge().map_or(Lists::Atomic, |m| m.lists),
        }
    }

    /// The key fields of a list of objects under server-side apply.
    pub fn list_keys(&self) -> impl Iterator<Item = &str> {
        let made = self.as_made().into_iter().flat_map(|node| &node.keys).map(|key| &**key);
        self.merge().into_iter().flat_map(|m| m.keys).copied().chain(made)
    }

    /// Whether an object or map is owned as a whole under server-side apply.
    pub fn is_atomic(&self) -> bool {
        match self.as_made() {
            Some(node) => node.atomic,
            None if self.is_granular() => false,
            None => self.row().is_some_and(|r| r.atomic) || self.merge().is_some_and(|m| m.atomic),
        }
    }

    /// Whether this field is owned part by part although its type is owned as a whole elsewhere.
    pub fn is_granular(&self) -> bool {
        self.merge().is_some_and(|m| m.granular)
    }

    /// Whether a strategic merge patch merges this list element by element.
    pub fn patch_merges(&self) -> bool {
        self.merge().is_some_and(|m| m.patch_merge)
    }

    /// Whether a strategic merge patch may say which keys survive (`$retainKeys`).
    pub fn patch_retains_keys(&self) -> bool {
        self.merge().is_some_and(|m| m.patch_retain_keys)
    }

    /// Whether a strategic merge patch replaces this object as a whole.
    pub fn patch_replaces(&self) -> bool {
        self.merge().is_some_and(|m| m.patch_replace)
    }

    /// The field that identifies elements under strategic merge patch; empty for lists of scalars.
    pub fn merge_key(&self) -> &'static str {
        self.merge().map_or("", |m| m.merge_key)
    }
}
