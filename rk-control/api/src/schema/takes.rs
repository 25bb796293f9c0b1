//! What may stand in a place by the rules of server-side apply, which are laxer than those of the kind: a time is any scalar there.

use super::{Schema, Shape};

/// What a place takes; null says nothing everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// An object.
    Members,
    /// An array.
    Elements,
    /// A string.
    Text,
    /// A number, whole or not.
    Number,
    /// `true` or `false`.
    Truth,
    /// A string, a number, `true` or `false`.
    Scalar,
    /// Whatever comes.
    Anything,
}

impl Schema {
    /// What may stand here in an applied configuration (as kube-apiserver v1.36 reads its published schemas).
    pub fn takes(&self) -> Takes {
        if let Some(made) = self.as_made() {
            return made.takes;
        }
        match self.shape() {
            Shape::Object | Shape::Map => Takes::Members,
            Shape::List => Takes::Elements,
            Shape::String | Shape::Bytes => Takes::Text,
            Shape::Bool => Takes::Truth,
            Shape::Int32 | Shape::Int64 | Shape::Double => Takes::Number,
            Shape::Time | Shape::MicroTime => Takes::Scalar,
            Shape::Quantity | Shape::IntOrString | Shape::Any => Takes::Anything,
        }
    }
}
