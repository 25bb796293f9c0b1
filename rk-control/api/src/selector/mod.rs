//! Label and field selectors.

use serde_json::Value;

use crate::resources::GroupVersionKind;
use crate::Object;

/// Why a selector was refused; `Display` gives upstream's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The label is absent or its value none of these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// Integer greater than.
    Gt,
    /// Integer less than.
    Lt,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Values, sorted.
    pub values: Vec<String>,
}

/// All conditions must hold; an empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelSelector {
    /// The conditions.
    pub requirements: Vec<Requirement>,
    /// A selector that matches no object at all (a null LabelSelector).
    pub nothing: bool,
}

impl LabelSelector {
    /// Parses the `labelSelector` parameter.
    ///
    /// # Errors
    /// A malformed selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let _ = text;
        todo!()
    }

    /// From a LabelSelector object (`matchLabels`, `matchExpressions`); null matches nothing, `{}` everything.
    ///
    /// # Errors
    /// An unknown operator or malformed values.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        let _ = selector;
        todo!()
    }

    /// From a plain map of labels (a Service's or ReplicationController's `spec.selector`).
    pub fn from_labels(labels: &Object) -> Self {
        let _ = labels;
        todo!()
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether labels (the value of `metadata.labels`, or null) match.
    pub fn matches(&self, labels: &Value) -> bool {
        let _ = labels;
        todo!()
    }
}

/// A parsed `fieldSelector`, already checked against the fields that the kind supports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSelector {
    /// Field, whether equal (or unequal), value.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Parses the `fieldSelector` parameter for a kind.
    ///
    /// # Errors
    /// A malformed selector, or a field that the kind does not support.
    pub fn parse(text: &str, gvk: &GroupVersionKind) -> Result<Self, SelectorError> {
        let _ = (text, gvk);
        todo!()
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the object matches.
    pub fn matches(&self, object: &Value) -> bool {
        let _ = object;
        todo!()
    }

    /// The value that a field must have for any object to match, if the selector says so (`metadata.name=x`).
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, equal, _)| *equal && f == field).map(|(_, _, v)| v.as_str())
    }
}
