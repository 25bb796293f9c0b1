//! Sets of paths, as trees.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::path::PathElement;
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

    fn is_empty(&self) -> bool {
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
        Self::parse_at(fields, MAX_DEPTH)
    }

    fn parse_at(fields: &Value, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut set = FieldSet::default();
        for (key, below) in fields.as_object()? {
            if key == "." {
                continue;
            }
            let object = below.as_object()?;
            let node =
                Node { member: object.is_empty() || object.contains_key("."), below: Self::parse_at(below, depth)? };
            set.put(PathElement::parse(key)?, node);
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn encode(&self) -> Value {
        let node = |(element, node): (&PathElement, &Node)| {
            let mut below = node.below.encode();
            if let (true, Value::Object(object)) = (node.member && !node.below.is_empty(), &mut below) {
                object.insert(".".into(), json!({}));
            }
            (element.encode(), below)
        };
        Value::Object(self.nodes.iter().map(node).collect())
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
            let node = self.nodes.entry(PathElement::Field((*first).to_owned())).or_default();
            if rest.is_empty() { node.member = true } else { node.below.insert_fields(rest) }
        }
    }

    /// Paths of either set.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        for (element, theirs) in &other.nodes {
            let ours = out.nodes.entry(element.clone()).or_default();
            ours.member |= theirs.member;
            ours.below = ours.below.union(&theirs.below);
        }
        out
    }

    /// Paths of both sets.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.zip(other, |ours, theirs| Node {
            member: ours.member && theirs.is_some_and(|t| t.member),
            below: theirs.map(|t| ours.below.intersection(&t.below)).unwrap_or_default(),
        })
    }

    /// Paths of this set that are not in the other.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.zip(other, |ours, theirs| match theirs {
            None => ours.clone(),
            Some(theirs) => Node { member: ours.member && !theirs.member, below: ours.below.difference(&theirs.below) },
        })
    }

    /// Paths of this set that neither are in the other nor lie below one that is.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        self.zip(other, |ours, theirs| match theirs {
            None => ours.clone(),
            Some(theirs) if theirs.member => Node::default(),
            Some(theirs) => Node { member: ours.member, below: ours.below.recursive_difference(&theirs.below) },
        })
    }

    fn zip(&self, other: &FieldSet, f: impl Fn(&Node, Option<&Node>) -> Node) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            out.put(element.clone(), f(node, other.nodes.get(element)));
        }
        out
    }

    /// The set plus every named field on the way to its paths (not list elements or map entries).
    pub(super) fn with_named_fields(&self, schema: &Schema) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            let (named, below) = match (element, schema.shape()) {
                (PathElement::Field(name), Shape::Object) => match schema.field(name) {
                    Some(field) => (true, field),
                    None => (false, Schema::ANY),
                },
                (_, Shape::Map | Shape::List) => (false, schema.item()),
                _ => (false, Schema::ANY),
            };
            out.put(
                element.clone(),
                Node { member: node.member || named, below: node.below.with_named_fields(&below) },
            );
        }
        out
    }

    /// Every path as text, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let path = format!("{prefix}{element}");
            if node.member {
                out.push(path.clone());
            }
            node.below.collect(&path, out);
        }
    }
}
