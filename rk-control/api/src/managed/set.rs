//! Sets of paths, as trees.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::PathElement;
use crate::Object;
use crate::schema::{Schema, Shape};

/// Deepest path that is read from a client's `managedFields`.
const MAX_DEPTH: usize = 128;

/// A set of paths below one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSet {
    nodes: BTreeMap<PathElement, Node>,
}

/// What is in the set at a path and below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    /// The path itself is in the set.
    pub member: bool,
    /// Longer paths.
    pub below: FieldSet,
}

impl Node {
    pub(super) const LEAF: Node = Node { member: true, below: FieldSet { nodes: BTreeMap::new() } };

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Reads `fieldsV1`. `None` when it is malformed or too deep.
    pub fn parse(fields: &Value) -> Option<Self> {
        Self::parse_at(fields.as_object()?, MAX_DEPTH)
    }

    fn parse_at(fields: &Object, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut set = FieldSet::default();
        for (key, below) in fields {
            if key == "." {
                continue;
            }
            let object = below.as_object()?;
            let node =
                Node { member: object.is_empty() || object.contains_key("."), below: Self::parse_at(object, depth)? };
            set.put(PathElement::parse(key)?, node);
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn encode(&self) -> Value {
        self.clone().into_value()
    }

    pub(super) fn into_value(self) -> Value {
        let node = |(element, node): (PathElement, Node)| {
            let marked = node.member && !node.below.is_empty();
            let mut below = node.below.into_value();
            if let (true, Value::Object(object)) = (marked, &mut below) {
                object.insert(".".into(), Value::Object(Object::new()));
            }
            (element.into_string(), below)
        };
        Value::Object(self.nodes.into_iter().map(node).collect())
    }

    /// Adds a subtree; an empty one adds nothing.
    pub(super) fn put(&mut self, element: PathElement, node: Node) {
        if !node.is_empty() {
            self.nodes.insert(element, node);
        }
    }

    pub(super) fn get(&self, element: &PathElement) -> Option<&Node> {
        self.nodes.get(element)
    }

    /// The set of these paths, each a chain of field names.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert_fields(path);
        }
        set
    }

    fn insert_fields(&mut self, path: &[&str]) {
        if let [first, rest @ ..] = path {
            let node = self.nodes.entry(PathElement::field(first)).or_default();
            if rest.is_empty() { node.member = true } else { node.below.insert_fields(rest) }
        }
    }

    /// Takes in the paths of another set.
    pub fn absorb(&mut self, other: FieldSet) {
        if self.nodes.is_empty() {
            *self = other;
            return;
        }
        for (element, theirs) in other.nodes {
            let ours = self.nodes.entry(element).or_default();
            ours.member |= theirs.member;
            ours.below.absorb(theirs.below);
        }
    }

    /// Drops the paths that are in another set.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.prune(other, |ours, theirs| {
            ours.member &= !theirs.member;
            ours.below.subtract(&theirs.below);
        });
    }

    /// Drops the paths that are in another set or lie below one that is.
    pub fn subtract_below(&mut self, other: &FieldSet) {
        self.prune(other, |ours, theirs| {
            if theirs.member {
                *ours = Node::default();
            } else {
                ours.below.subtract_below(&theirs.below);
            }
        });
    }

    fn prune(&mut self, other: &FieldSet, mut change: impl FnMut(&mut Node, &Node)) {
        for (element, theirs) in &other.nodes {
            if let Some(ours) = self.nodes.get_mut(element) {
                change(ours, theirs);
                if ours.is_empty() {
                    self.nodes.remove(element);
                }
            }
        }
    }

    /// Paths of both sets.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, ours) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                let node = Node { member: ours.member && theirs.member, below: ours.below.intersection(&theirs.below) };
                if !node.is_empty() {
                    out.nodes.insert(element.clone(), node);
                }
            }
        }
        out
    }

    /// Adds every named field on the way to the paths (not list elements or map entries).
    pub(super) fn add_named_fields(&mut self, schema: &Schema) {
        for (element, node) in &mut self.nodes {
            let below = match (element.as_field(), schema.shape()) {
                (Some(name), Shape::Object) => match schema.field(name) {
                    Some(field) => {
                        node.member |= schema.declares(name);
                        field
                    }
                    None => Schema::ANY,
                },
                (_, Shape::Map | Shape::List) => schema.item(),
                _ => Schema::ANY,
            };
            node.below.add_named_fields(&below);
        }
    }

    /// Every path as text: at each place its own members before what lies below any of them, as kube-apiserver v1.36 tells of conflicts.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        let members = self.nodes.iter().filter(|(_, node)| node.member);
        out.extend(members.map(|(element, _)| format!("{prefix}{element}")));
        for (element, node) in self.nodes.iter().filter(|(_, node)| !node.below.is_empty()) {
            node.below.collect(&format!("{prefix}{element}"), out);
        }
    }
}
