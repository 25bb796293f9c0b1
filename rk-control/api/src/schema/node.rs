//! A handle to one place in a type: what values may stand there and how they merge.

use std::fmt;

use serde_json::Value;

use super::rows::{self, FieldRow, Merge, Ty, TypeRow, Union, WireRow};
use crate::resources::GroupVersionKind;

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
    /// Any JSON, opaque to the API.
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

/// One place in a type: a type, and the field that holds it when there is one.
#[derive(Clone, Copy)]
pub struct Schema {
    ty: &'static Ty,
    field: Option<&'static FieldRow>,
    /// The row of a named type, looked up once.
    row: Option<&'static TypeRow>,
}

/// A field of an object: name and schema.
pub type Field = (&'static str, Schema);

/// The fields that every top-level object has besides those of its type.
static TYPE_META: [FieldRow; 2] = [
    FieldRow {
        name: "apiVersion",
        ty: Ty::String,
        merge: 0,
        pointer: false,
        required: false,
        wrapped: false,
        off: false,
    },
    FieldRow { name: "kind", ty: Ty::String, merge: 0, pointer: false, required: false, wrapped: false, off: false },
];

impl Schema {
    /// Accepts anything.
    pub const ANY: Schema = Schema { ty: &Ty::Json, field: None, row: None };

    fn of(ty: &'static Ty, field: Option<&'static FieldRow>) -> Schema {
        let row = match ty {
            Ty::Named(index) => rows::row(*index),
            _ => None,
        };
        Schema { ty, field, row }
    }

    fn of_index(index: u16) -> Option<Schema> {
        // A type needs no `Ty` of its own: `Json` stands in and the row decides.
        rows::row(index).map(|row| Schema { ty: &Ty::Json, field: None, row: Some(row) })
    }

    /// The schema of a built-in kind.
    pub fn of_kind(gvk: &GroupVersionKind) -> Option<Schema> {
        rows::of_kind(&gvk.group, &gvk.version, &gvk.kind).and_then(Schema::of_index)
    }

    /// A built-in type by its name in `tables/types.txt`, such as `core/v1.PodSpec`.
    pub fn named(name: &str) -> Option<Schema> {
        rows::named(name).and_then(Schema::of_index)
    }

    /// What values here look like.
    pub fn shape(&self) -> Shape {
        if self.row.is_some() {
            return Shape::Object;
        }
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
            Ty::RawExtension | Ty::Json | Ty::FieldsV1 | Ty::Union(_) => Shape::Any,
        }
    }

    /// The type's name in the tables (`core/v1.PodSpec`); for lists and maps the name of the element's type.
    pub fn type_name(&self) -> &'static str {
        match (self.row, self.ty) {
            (Some(row), _) => row.name,
            (None, Ty::List(item) | Ty::Map(item)) => Schema::of(item, None).type_name(),
            _ => "",
        }
    }

    /// The field of an object; `None` when the type has no such field (or is no object).
    pub fn field(&self, name: &str) -> Option<Schema> {
        let row = self.row?;
        let own = row.fields.binary_search_by(|f| f.name.cmp(name)).ok().and_then(|i| row.fields.get(i));
        let field = own.or_else(|| row.kind.then(|| TYPE_META.iter().find(|f| f.name == name)).flatten())?;
        Some(Schema::of(&field.ty, Some(field)))
    }

    /// Every field of an object in alphabetical order, without `apiVersion` and `kind` of top-level objects.
    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        self.row.into_iter().flat_map(|r| r.fields).map(|f| (f.name, Schema::of(&f.ty, Some(f))))
    }

    /// What stands inside a list or map; [`Schema::ANY`] for everything else.
    pub fn item(&self) -> Schema {
        match self.ty {
            Ty::List(item) | Ty::Map(item) => Schema::of(item, None),
            _ => Schema::ANY,
        }
    }

    /// The schema that holds for this very value: unions (a JSON schema or a boolean, …) are told apart by form.
    pub fn resolve(&self, value: &Value) -> Schema {
        let Ty::Union(union) = self.ty else {
            return *self;
        };
        let props = || Schema::named("apiextensions/v1.JSONSchemaProps").unwrap_or(Schema::ANY);
        match (union, value) {
            (_, Value::Object(_)) => props(),
            (Union::SchemaOrArray, Value::Array(_)) => {
                Schema::named("apiextensions/v1.JSONSchemaProps").and_then(|p| p.field("allOf")).unwrap_or(Schema::ANY)
            }
            _ => Schema::ANY,
        }
    }

    fn merge(&self) -> Option<&'static Merge> {
        self.field.map(rows::merge)
    }

    /// How a list merges under server-side apply.
    pub fn lists(&self) -> Lists {
        self.merge().map_or(Lists::Atomic, |m| m.lists)
    }

    /// The key fields of a list of objects under server-side apply.
    pub fn list_keys(&self) -> &'static [&'static str] {
        self.merge().map_or(&[], |m| m.keys)
    }

    /// Whether an object or map is owned as a whole under server-side apply.
    pub fn is_atomic(&self) -> bool {
        self.row.is_some_and(|r| r.atomic) || self.merge().is_some_and(|m| m.atomic)
    }

    /// Whether a strategic merge patch merges this list element by element.
    pub fn patch_merges(&self) -> bool {
        self.merge().is_some_and(|m| m.patch_merge)
    }

    /// Whether a strategic merge patch may say which keys survive (`$retainKeys`).
    pub fn patch_retains_keys(&self) -> bool {
        self.merge().is_some_and(|m| m.patch_retain_keys)
    }

    /// The field that identifies elements under strategic merge patch; empty for lists of scalars.
    pub fn merge_key(&self) -> &'static str {
        self.merge().map_or("", |m| m.merge_key)
    }

    /// Whether the field is always written, even when zero.
    pub fn is_required(&self) -> bool {
        self.field.is_some_and(|f| f.required)
    }

    /// Whether absent and zero differ.
    pub fn is_pointer(&self) -> bool {
        self.field.is_some_and(|f| f.pointer)
    }

    /// Whether the field belongs to a feature that is off: it is known, and dropped.
    pub fn is_off(&self) -> bool {
        self.field.is_some_and(|f| f.off)
    }

    /// Whether this is a top-level object, with `apiVersion` and `kind`.
    pub fn is_kind(&self) -> bool {
        self.row.is_some_and(|r| r.kind)
    }

    pub(crate) fn ty(&self) -> &'static Ty {
        self.ty
    }

    pub(crate) fn wire(&self) -> &'static [WireRow] {
        self.row.map_or(&[], |r| r.wire)
    }

    /// The field with this index in [`TypeRow::fields`]; wire rows refer to fields so.
    pub(crate) fn field_at(&self, index: u8) -> Option<Field> {
        let field = self.row?.fields.get(usize::from(index))?;
        Some((field.name, Schema::of(&field.ty, Some(field))))
    }

    /// Whether values travel inside a message of their own (protobuf).
    pub(crate) fn is_wrapped(&self) -> bool {
        self.field.is_some_and(|f| f.wrapped)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.ty, other.ty)
            && self.row.map(std::ptr::from_ref) == other.row.map(std::ptr::from_ref)
            && self.field.map(std::ptr::from_ref) == other.field.map(std::ptr::from_ref)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:?} {})", self.shape(), self.type_name())
    }
}
