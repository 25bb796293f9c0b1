//! Types that are made while the server runs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Lists, Schema, Shape, Takes};

/// One place in a type made at run time. What values may stand there is judged elsewhere ([`crate::custom`]); a node tells which
/// fields there are and how they merge.
#[derive(Debug)]
pub struct Made {
    /// [`Shape::Object`], [`Shape::Map`], [`Shape::List`], or [`Shape::Any`] for scalars.
    pub shape: Shape,
    /// What may stand here in an applied configuration.
    pub takes: Takes,
    /// The fields of an object.
    pub fields: BTreeMap<Box<str>, Schema>,
    /// Whether fields that are not named are kept.
    pub open: bool,
    /// What stands in a list or map.
    pub item: Option<Schema>,
    /// How a list merges.
    pub lists: Lists,
    /// The key fields of a list of objects.
    pub keys: Vec<Box<str>>,
    /// Whether an object or map is owned as a whole.
    pub atomic: bool,
    /// Whether null is a value.
    pub nullable: bool,
    /// What an absent value stands for.
    pub default: Option<Value>,
}

impl Made {
    /// A node of a shape that says nothing more.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            takes: Takes::Anything,
            fields: BTreeMap::new(),
            open: false,
            item: None,
            lists: Lists::Atomic,
            keys: Vec::new(),
            atomic: false,
            nullable: false,
            default: None,
        }
    }
}
