//! A handle to one place in a type: what values may stand there and how they merge.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::made::Made;
use super::rows::{self, FieldRow, Ty, TypeRow, Union, WireRow};
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

/// One place in a type: a type, and the field that holds it when there is one. Cheap to clone.
///
/// Built-in types are rows of static tables; types of kinds that are added while the server runs are trees of [`Made`] nodes.
#[derive(Clone)]
pub struct Schema(Place);

#[derive(Clone)]
enum Place {
    /// In the tables.
    Fixed(Fixed),
    /// Made at run time.
    Made(Arc<Made>),
    /// Nothing is said about it: it is kept as it is, and merges by the form of its values.
    Free(FreeForm),
}

#[derive(Clone, Copy)]
struct Fixed {
    ty: &'static Ty,
    field: Option<&'static FieldRow>,
    /// The row of a named type, looked up once.
    row: Option<&'static TypeRow>,
}

/// What a free value turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FreeForm {
    Unknown,
    Map,
    List,
}

/// A field of an object: name and schema.
pub type Field<'a> = (&'a str, Schema);

/// The fields that every top-level object has besides those of its type.
static TYPE_META: [FieldRow; 2] = [
    FieldRow {
        name: "apiVersion",
        ty: Ty::String,
        merge: 0,
        pointer: false,
        written: false,
        required: false,
        wrapped: false,
        off: false,
    },
    FieldRow {
        name: "kind",
        ty: Ty::String,
        merge: 0,
        pointer: false,
        written: false,
        required: false,
        wrapped: false,
        off: false,
    },
];

impl Schema {
    /// Accepts anything; owned and merged as a whole.
    pub const ANY: Schema = Schema(Place::Fixed(Fixed { ty: &Ty::Json, field: None, row: None }));
    /// Accepts anything; objects in it merge field by field.
    pub const FREE: Schema = Schema(Place::Free(FreeForm::Unknown));

    fn of(ty: &'static Ty, field: Option<&'static FieldRow>) -> Schema {
        let row = match ty {
            Ty::Named(index) => rows::row(*index),
            _ => None,
        };
        Schema(Place::Fixed(Fixed { ty, field, row }))
    }

    fn of_index(index: u16) -> Option<Schema> {
        // A type needs no `Ty` of its own: `Json` stands in and the row decides.
        rows::row(index).map(|row| Schema(Place::Fixed(Fixed { ty: &Ty::Json, field: None, row: Some(row) })))
    }

    /// The schema of a built-in kind.
    pub fn of_kind(gvk: &GroupVersionKind) -> Option<Schema> {
        rows::of_kind(&gvk.group, &gvk.version, &gvk.kind).and_then(Schema::of_index)
    }

    /// A built-in type by its name in `tables/types.txt`, such as `core/v1.PodSpec`.
    pub fn named(name: &str) -> Option<Schema> {
        rows::named(name).and_then(Schema::of_index)
    }

    /// A type made at run time.
    pub fn made(node: Made) -> Schema {
        Schema(Place::Made(Arc::new(node)))
    }

    fn fixed(&self) -> Option<&Fixed> {
        match &self.0 {
            Place::Fixed(fixed) => Some(fixed),
            _ => None,
        }
    }

    /// Whether this is a place in the built-in types.
    pub fn is_fixed(&self) -> bool {
        self.fixed().is_some()
    }

    pub(super) fn row(&self) -> Option<&'static TypeRow> {
        self.fixed().and_then(|fixed| fixed.row)
    }

    /// The node, when the type was made at run time.
    pub fn as_made(&self) -> Option<&Made> {
        match &self.0 {
            Place::Made(node) => Some(node),
            _ => None,
        }
    }

    /// What values here look like.
    pub fn shape(&self) -> Shape {
        let fixed = match &self.0 {
            Place::Fixed(fixed) => fixed,
            Place::Made(node) => return node.shape,
            Place::Free(FreeForm::Map) => return Shape::Map,
            Place::Free(FreeForm::List) => return Shape::List,
            Place::Free(FreeForm::Unknown) => return Shape::Any,
        };
        if fixed.row.is_some() {
            return Shape::Object;
        }
        match fixed.ty {
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

    /// The name of a type that holds any JSON ([`Shape::Any`]); empty for what has no name.
    pub fn any_name(&self) -> &'static str {
        match self.fixed().map(|fixed| fixed.ty) {
            Some(Ty::RawExtension) => "RawExtension",
            Some(Ty::Json) => "JSON",
            Some(Ty::FieldsV1) => "FieldsV1",
            Some(Ty::Union(Union::SchemaOrArray)) => "JSONSchemaPropsOrArray",
            Some(Ty::Union(Union::SchemaOrBool)) => "JSONSchemaPropsOrBool",
            Some(Ty::Union(Union::SchemaOrStringArray)) => "JSONSchemaPropsOrStringArray",
            _ => "",
        }
    }

    /// The type's name in the tables (`core/v1.PodSpec`); for lists and maps the name of the element's type. Empty for types made
    /// at run time.
    pub fn type_name(&self) -> &'static str {
        let Some(fixed) = self.fixed() else { return "" };
        match (fixed.row, fixed.ty) {
            (Some(row), _) => row.name,
            (None, Ty::List(item) | Ty::Map(item)) => Schema::of(item, None).type_name(),
            _ => "",
        }
    }

    /// The field of an object; `None` when the type has no such field (or is no object).
    pub fn field(&self, name: &str) -> Option<Schema> {
        if let Some(node) = self.as_made() {
            return node.fields.get(name).cloned().or_else(|| node.open.then_some(Schema::FREE));
        }
        let row = self.row()?;
        let own = row.fields.binary_search_by(|f| f.name.cmp(name)).ok().and_then(|i| row.fields.get(i));
        let field = own.or_else(|| row.kind.then(|| TYPE_META.iter().find(|f| f.name == name)).flatten())?;
        Some(Schema::of(&field.ty, Some(field)))
    }

    /// Whether a field is the type's own, and not one that it only lets pass.
    pub fn declares(&self, name: &str) -> bool {
        self.as_made().map_or_else(|| self.field(name).is_some(), |node| node.fields.contains_key(name))
    }

    /// Every field of an object in alphabetical order, without `apiVersion` and `kind` of built-in objects.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let made =
            self.as_made().into_iter().flat_map(|node| &node.fields).map(|(name, field)| (&**name, field.clone()));
        let fixed = self.row().into_iter().flat_map(|r| r.fields).map(|f| (f.name, Schema::of(&f.ty, Some(f))));
        fixed.chain(made)
    }

    /// The fields that are always written, even when zero; none of a type made at run time.
    pub fn written_fields(&self) -> impl Iterator<Item = (&'static str, Schema)> {
        let written = self.row().into_iter().flat_map(|row| row.fields).filter(|field| field.written);
        written.map(|field| (field.name, Schema::of(&field.ty, Some(field))))
    }

    /// What stands inside a list or map; [`Schema::ANY`] for everything else.
    pub fn item(&self) -> Schema {
        match &self.0 {
            Place::Fixed(Fixed { ty: Ty::List(item) | Ty::Map(item), .. }) => Schema::of(item, None),
            Place::Fixed(_) => Schema::ANY,
            Place::Made(node) => node.item.clone().unwrap_or(Schema::FREE),
            Place::Free(_) => Schema::FREE,
        }
    }

    /// The schema that holds for this very value: unions (a JSON schema or a boolean, …) and free values are told apart by form.
    pub fn resolve(&self, value: &Value) -> Schema {
        let Some(Fixed { ty: Ty::Union(union), .. }) = self.fixed() else {
            return self.formed(value);
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

    /// A free value's schema by its form; any other schema itself.
    pub fn formed(&self, value: &Value) -> Schema {
        match (&self.0, value) {
            (Place::Free(_), Value::Object(_)) => Schema(Place::Free(FreeForm::Map)),
            (Place::Free(_), Value::Array(_)) => Schema(Place::Free(FreeForm::List)),
            _ => self.clone(),
        }
    }

    /// The value that an absent field stands for, where the type says so.
    pub fn default_value(&self) -> Option<&Value> {
        self.as_made().and_then(|node| node.default.as_ref())
    }

    pub(super) fn field_row(&self) -> Option<&'static FieldRow> {
        self.fixed().and_then(|fixed| fixed.field)
    }

    /// Whether the field is always written, even when zero.
    pub fn is_written(&self) -> bool {
        self.field_row().is_some_and(|f| f.written)
    }

    /// Whether the published schemas require the field of clients.
    pub fn is_required(&self) -> bool {
        self.field_row().is_some_and(|f| f.required)
    }

    /// Whether absent and zero differ.
    pub fn is_pointer(&self) -> bool {
        self.fixed().is_none() || self.field_row().is_some_and(|f| f.pointer)
    }

    /// Whether the field belongs to a feature that is off: it is known, and dropped.
    pub fn is_off(&self) -> bool {
        self.field_row().is_some_and(|f| f.off)
    }

    /// Whether this is a top-level object, with `apiVersion` and `kind`.
    pub fn is_kind(&self) -> bool {
        self.row().is_some_and(|r| r.kind)
    }

    pub(crate) fn ty(&self) -> &'static Ty {
        self.fixed().map_or(&Ty::Json, |fixed| fixed.ty)
    }

    pub(crate) fn wire(&self) -> &'static [WireRow] {
        self.row().map_or(&[], |r| r.wire)
    }

    /// The field with this index in [`TypeRow::fields`]; wire rows refer to fields so.
    pub(crate) fn field_at(&self, index: u8) -> Option<(&'static str, Schema)> {
        let field = self.row()?.fields.get(usize::from(index))?;
        Some((field.name, Schema::of(&field.ty, Some(field))))
    }

    /// The names of the fields by their protobuf numbers, which is how types declare them; what has no wire form is not among them.
    pub fn names_by_number(&self) -> Vec<&'static str> {
        let mut places = Vec::new();
        collect(self.wire(), &mut places);
        places.into_iter().filter_map(|place| self.field_at(place)).map(|(name, _)| name).collect()
    }

    /// Whether values travel inside a message of their own (protobuf).
    pub(crate) fn is_wrapped(&self) -> bool {
        self.field_row().is_some_and(|f| f.wrapped)
    }
}

/// The places of fields in a message and in those inside it that JSON inlines.
fn collect(rows: &[WireRow], places: &mut Vec<u8>) {
    for row in rows {
        match row {
            WireRow::Field(_, place) => places.push(*place),
            WireRow::Inline(_, inside) => collect(inside, places),
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::Fixed(a), Place::Fixed(b)) => {
                std::ptr::eq(a.ty, b.ty)
                    && a.row.map(std::ptr::from_ref) == b.row.map(std::ptr::from_ref)
                    && a.field.map(std::ptr::from_ref) == b.field.map(std::ptr::from_ref)
            }
            (Place::Made(a), Place::Made(b)) => Arc::ptr_eq(a, b),
            (Place::Free(a), Place::Free(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:?} {})", self.shape(), self.type_name())
    }
}
