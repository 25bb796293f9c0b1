//! The types of expressions.

use std::fmt;
use std::sync::Arc;

/// An object with named fields, as the checker sees it.
pub trait Record: Send + Sync {
    /// Its name in messages.
    fn name(&self) -> &str;
    /// The type of a field; `None` when there is none of that name.
    fn field(&self, name: &str) -> Option<Type>;
}

/// What an expression evaluates to.
#[derive(Clone)]
pub enum Type {
    /// Anything; judged when it is evaluated.
    Dyn,
    /// What follows from an error that was told already.
    Error,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    Uint,
    /// Floating point.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list of one type.
    List(Arc<Type>),
    /// A map from one type to another.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may not be there.
    Optional(Arc<Type>),
    /// An object.
    Record(Arc<dyn Record>),
    /// A type as a value.
    Type(Arc<Type>),
    /// A type of the library with functions only.
    Opaque(&'static str),
    /// A parameter of a function's type.
    Var(char),
}

impl Type {
    /// `list(item)`.
    #[must_use]
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(item))
    }

    /// `map(key, value)`.
    #[must_use]
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// `optional_type(inner)`.
    #[must_use]
    pub fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner))
    }

    /// Whether nothing is known before evaluation.
    #[must_use]
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error | Type::Var(_))
    }

    /// What elements of an empty literal are: whatever is asked for.
    pub(crate) const OPEN: Type = Type::Var('_');

    /// Whether two types are one.
    #[must_use]
    pub fn same(&self, other: &Type) -> bool {
        self.to_string() == other.to_string()
    }

    /// What two branches have in common.
    pub(crate) fn join(&self, other: &Type) -> Type {
        match (self, other) {
            (Type::Error | Type::Var(_), other) | (other, Type::Error | Type::Var(_)) => other.clone(),
            (Type::List(a), Type::List(b)) => Type::list(a.join(b)),
            (Type::Map(a, v), Type::Map(b, w)) => Type::map(a.join(b), v.join(w)),
            (Type::Optional(a), Type::Optional(b)) => Type::optional(a.join(b)),
            (a, b) if a.same(b) => a.clone(),
            _ => Type::Dyn,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Type::Dyn => "dyn",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::Duration => "duration",
            Type::Record(record) => record.name(),
            Type::Opaque(name) => name,
            Type::List(item) => return write!(f, "list({item})"),
            Type::Map(key, value) => return write!(f, "map({key}, {value})"),
            Type::Optional(inner) => return write!(f, "optional_type({inner})"),
            Type::Type(inner) => return write!(f, "type({inner})"),
            Type::Var(_) => "dyn",
        };
        f.write_str(word)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record whose fields are listed.
pub struct Fields {
    name: String,
    fields: Vec<(String, Type)>,
}

impl Fields {
    /// A record type of these fields.
    #[must_use]
    pub fn record<N: Into<String>>(name: impl Into<String>, fields: Vec<(N, Type)>) -> Type {
        let fields = fields.into_iter().map(|(name, ty)| (name.into(), ty)).collect();
        Type::Record(Arc::new(Fields { name: name.into(), fields }))
    }
}

impl Record for Fields {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, ty)| ty.clone())
    }
}
