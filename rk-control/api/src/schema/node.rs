//! A handle to one place in a type: what values may stand there and how they merge.

use super::rows::{FieldRow, Ty, TypeRow};
use crate::resources::{GroupVersionKind, Str};

/// What a value looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An object with named fields.
    Object,
    /// An object with arbitrary keys and equal values.
    Map,
    /// An array.
    List,
    /// A string.
    String,
    /// A base64 string.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Floating point number.
    Double,
    /// An amount: `100m`, `1Gi`, or a plain number.
    Quantity,
    /// RFC 3339 time in seconds.
    Time,
    /// RFC 3339 time in microseconds.
    MicroTime,
    /// A number or a string.
    IntOrString,
    /// Any JSON; arrays and objects inside are opaque (`RawExtension`, `JSON`, `FieldsV1`).
    Any,
}

/// How a list merges under server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Owned as a whole.
    Atomic,
    /// Each scalar is its own key.
    Set,
    /// Elements are objects with keys.
    Map,
}

/// One place in a type. Cheap to clone.
#[derive(Clone, Copy)]
pub struct Schema {
    ty: &'static Ty,
    field: Option<&'static FieldRow>,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.ty, other.ty)
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({})", self.type_name())
    }
}

/// A field of an object.
pub type Field = (&'static str, Schema);

impl Schema {
    /// Accepts anything.
    pub const ANY: Schema = Schema { ty: &Ty::Any, field: None };

    const fn of(ty: &'static Ty) -> Schema {
        Schema { ty, field: None }
    }

    /// The schema of a built-in kind.
    pub fn of_kind(gvk: &GroupVersionKind) -> Option<Schema> {
        super::rows::of_kind(&gvk.group, &gvk.version, &gvk.kind).map(Schema::of)
    }

    /// A built-in type by its name in `tables/types.txt`, such as `core/v1.PodSpec`.
    pub fn named(name: &str) -> Option<Schema> {
        super::rows::named(name).map(Schema::of)
    }

    fn row(&self) -> Option<&'static TypeRow> {
        match self.ty {
            Ty::Named(index) => super::rows::row(*index),
            _ => None,
        }
    }

    /// What values here look like.
    pub fn shape(&self) -> Shape {
        match self.ty {
            Ty::Named(_) => Shape::Object,
            Ty::Map(_) => Shape::Map,
            Ty::List(_) => Shape::List,
            Ty::String => Shape::String,
            Ty::Bytes => Shape::Bytes,
            Ty::Bool => Shape::Bool,
            Ty::Int32 => Shape::Int32,
            Ty::Int64 => Shape::Int64,
            Ty::Double => Shape::Double,
            Ty::Quantity => Shape::Quantity,
            Ty::Time => Shape::Time,
            Ty::MicroTime => Shape::MicroTime,
            Ty::IntOrString => Shape::IntOrString,
            Ty::Any | Ty::Union(_) => Shape::Any,
        }
    }

    /// The type's name in the tables; for lists and maps the name of the element's type.
    pub fn type_name(&self) -> &'static str {
        match self.ty {
            Ty::Named(_) => self.row().map_or("", |r| r.name),
            Ty::List(item) | Ty::Map(item) => Schema::of(item).type_name(),
            _ => "",
        }
    }

    /// The field of an object; `None` when the type has no such field (or is no object).
    pub fn field(&self, name: &str) -> Option<Schema> {
        let row = self.row()?;
        let field = row.fields.binary_search_by(|f| f.name.cmp(name)).ok().and_then(|i| row.fields.get(i))?;
        Some(Schema { ty: &field.ty, field: Some(field) })
    }

    /// Every field of an object, in alphabetical order.
    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        self.row().into_iter().flat_map(|r| r.fields).map(|f| (f.name, Schema { ty: &f.ty, field: Some(f) }))
    }

    /// What stands inside a list or map; [`Schema::ANY`] for everything else.
    pub fn item(&self) -> Schema {
        match self.ty {
            Ty::List(item) | Ty::Map(item) => Schema::of(item),
            _ => Schema::ANY,
        }
    }

    /// How a list merges under server-side apply.
    pub fn lists(&self) -> Lists {
        self.field.map_or(Lists::Atomic, |f| f.lists)
    }

    /// The key fields of a list of objects under server-side apply.
    pub fn list_keys(&self) -> &'static [&'static str] {
        self.field.map_or(&[], |f| f.keys)
    }

    /// Whether an object or map is owned as a whole under server-side apply.
    pub fn is_atomic(&self) -> bool {
        self.row().is_some_and(|r| r.atomic) || self.field.is_some_and(|f| f.atomic)
    }

    /// Whether a strategic merge patch merges this list element by element.
    pub fn patch_merges(&self) -> bool {
        self.field.is_some_and(|f| f.patch_merge)
    }

    /// Whether a strategic merge patch may say which keys survive (`$retainKeys`).
    pub fn patch_retains_keys(&self) -> bool {
        self.field.is_some_and(|f| f.patch_retain_keys)
    }

    /// The field that identifies elements under strategic merge patch; empty for lists of scalars.
    pub fn merge_key(&self) -> &'static str {
        self.field.map_or("", |f| f.merge_key)
    }

    /// Whether the field is always written, even when zero.
    pub fn is_required(&self) -> bool {
        self.field.is_some_and(|f| f.required)
    }

    /// Whether absent and zero differ (a pointer in upstream's types).
    pub fn is_pointer(&self) -> bool {
        self.field.is_some_and(|f| f.pointer)
    }

    /// The schema's own type as a name for error messages about a Go type.
    pub(crate) fn ty(&self) -> &'static Ty {
        self.ty
    }
}

/// Names in the tables are static; those of types added later will not be.
pub type TypeName = Str;
