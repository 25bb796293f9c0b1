//! The static tables behind [`super::Schema`], written by the build script from `tables/types.txt`.

use super::Lists;

/// A type.
pub(crate) struct TypeRow {
    /// `core/v1.Pod`.
    pub name: &'static str,
    /// Whether it is a top-level object, with `apiVersion` and `kind` besides its fields.
    pub kind: bool,
    /// Owned as a whole under server-side apply.
    pub atomic: bool,
    /// Fields in alphabetical order.
    pub fields: &'static [FieldRow],
    /// The protobuf message, in ascending order of number.
    pub wire: &'static [WireRow],
}

/// A field.
pub(crate) struct FieldRow {
    pub name: &'static str,
    pub ty: Ty,
    /// Index into [`MERGES`].
    pub merge: u8,
    pub pointer: bool,
    /// Always written, even when zero.
    pub written: bool,
    /// Required of clients.
    pub required: bool,
    /// Each value is a message with a list in field 1.
    pub wrapped: bool,
    /// Belongs to a feature that is off.
    pub off: bool,
}

/// How a field merges; few distinct rows exist, fields share them.
pub(crate) struct Merge {
    pub lists: Lists,
    pub keys: &'static [&'static str],
    pub atomic: bool,
    pub patch_merge: bool,
    pub patch_retain_keys: bool,
    pub patch_replace: bool,
    /// Owned field by field, whatever the type says.
    pub granular: bool,
    pub merge_key: &'static str,
}

/// One protobuf field.
pub(crate) enum WireRow {
    /// Number, index into [`TypeRow::fields`].
    Field(u32, u8),
    /// A message whose fields JSON inlines.
    Inline(u32, &'static [WireRow]),
}

impl WireRow {
    /// The protobuf field number.
    pub fn number(&self) -> u32 {
        match self {
            WireRow::Field(number, _) | WireRow::Inline(number, _) => *number,
        }
    }
}

/// What stands somewhere.
pub(crate) enum Ty {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Double,
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    /// Any JSON, on the wire the bytes of an encoded object.
    RawExtension,
    /// Any JSON, on the wire its text.
    Json,
    /// A set of fields, on the wire its JSON text.
    FieldsV1,
    /// Index into [`TYPES`].
    Named(u16),
    List(&'static Ty),
    Map(&'static Ty),
    /// One of the unions inside CustomResourceDefinition schemas.
    Union(Union),
}

/// A JSON schema or something simpler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "upstream's names of these unions, without `JSON` and `Props`")]
pub(crate) enum Union {
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStringArray,
}

include!(concat!(env!("OUT_DIR"), "/types.rs"));

/// The row with this index.
pub(crate) fn row(index: u16) -> Option<&'static TypeRow> {
    TYPES.get(usize::from(index))
}

/// The merge rules of a field.
pub(crate) fn merge(field: &FieldRow) -> &'static Merge {
    // Index 0 is the plain rule; the build script writes no index out of range.
    MERGES.get(usize::from(field.merge)).unwrap_or(&MERGES[0])
}

/// Index of a type by its name.
pub(crate) fn named(name: &str) -> Option<u16> {
    TYPES.binary_search_by(|t| t.name.cmp(name)).ok().and_then(|i| u16::try_from(i).ok())
}

/// Index of the type of a kind.
pub(crate) fn of_kind(group: &str, version: &str, kind: &str) -> Option<u16> {
    let found = KINDS.binary_search_by(|k| (k.0, k.1, k.2).cmp(&(group, version, kind))).ok();
    found.and_then(|i| KINDS.get(i)).map(|k| k.3)
}
