//! Errors about one field, worded as upstream words them.

use std::fmt;

use serde_json::Value;

use super::float::go_float;
use super::shown;

/// Where in an object: `spec.containers[0].ports[name]`. Cheap to extend: a path borrows its parent.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A top-level field (dots allowed: `metadata.name`).
    pub const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(field) }
    }

    /// A field below.
    pub const fn child<'b>(&'b self, field: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Field(field) }
    }

    /// An element of a list.
    pub const fn index<'b>(&'b self, index: usize) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of a map.
    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = match self.parent {
            Some(parent) => {
                fmt::Display::fmt(parent, f)?;
                matches!(parent, Path { parent: None, step: Step::Root })
            }
            None => true,
        };
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if first => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What kind of rule a field breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another object is needed and missing.
    NotFound,
    /// Must be set.
    Required,
    /// Must be unique.
    Duplicate,
    /// Malformed or against a rule.
    Invalid,
    /// Not one of the allowed words.
    NotSupported,
    /// Not allowed here.
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many entries.
    TooMany,
    /// A fault of the server.
    Internal,
    /// Wrong JSON type.
    TypeInvalid,
}

impl ErrorKind {
    /// The `reason` of the cause.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::Internal => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Required => "Required value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Invalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
            ErrorKind::Internal => "Internal error",
            ErrorKind::TypeInvalid => "Invalid value",
        }
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What kind of rule.
    pub kind: ErrorKind,
    /// The field.
    pub path: String,
    /// The value found there.
    pub value: Value,
    /// The rule in words; may be empty.
    pub detail: String,
    /// Whether the text leaves the value out.
    pub unshown: bool,
}

impl FieldError {
    /// The text without the path.
    pub fn body(&self) -> String {
        let words = self.kind.words();
        let head = match self.kind {
            ErrorKind::Required | ErrorKind::Forbidden | ErrorKind::TooLong | ErrorKind::Internal => words.to_owned(),
            _ if self.unshown => words.to_owned(),
            _ => format!("{words}: {}", go_value(&self.value)),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }
}

/// A value as upstream prints it inside a message: quoted strings, JSON for the rest.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) if number.is_f64() => number.as_f64().map(go_float).unwrap_or_default(),
        other => go_json(&shown::json(other)),
    }
}

/// JSON as Go writes it: fit for a page of HTML.
#[must_use]
pub fn go_json(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A text in quotes, escaped as Go's `%q` escapes it.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match escape(letter) {
            Some(escaped) => out.push_str(escaped),
            None if is_printable(letter) => out.push(letter),
            None => out.push_str(&match u32::from(letter) {
                code @ ..0x80 => format!("\\x{code:02x}"),
                code @ ..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push('"');
    out
}

/// The short form in which Go writes a letter in quotes, if it has one.
#[must_use]
pub fn escape(letter: char) -> Option<&'static str> {
    Some(match letter {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        _ => return None,
    })
}

/// Whether a letter is shown as it is; of the spaces the plain one alone.
pub(crate) fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return matches!(letter, ' '..='~');
    }
    // Marks are shown where they follow something.
    ['x', letter].iter().collect::<String>().escape_debug().count() == 2
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// The rules that an object breaks, collected by validation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the object is valid.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an error of any kind.
    pub fn push(&mut self, kind: ErrorKind, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        let (path, value, detail) = (path.to_string(), value.into(), detail.into());
        self.0.push(FieldError { kind, path, value, detail, unshown: false });
    }

    /// `Required value`.
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(ErrorKind::Required, path, Value::Null, detail);
    }

    /// `Invalid value: "x": detail`.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, path, value, detail);
    }

    /// `Invalid value: detail`: the value is too long to be shown.
    pub fn invalid_unshown(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        let (path, detail) = (path.to_string(), detail.into());
        self.0.push(FieldError { kind: ErrorKind::Invalid, path, value: Value::Null, detail, unshown: true });
    }

    /// `Unsupported value: "x": supported values: "a", "b"` (sorted, as upstream sorts most of them).
    pub fn unsupported(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        let mut sorted = supported.to_vec();
        sorted.sort_unstable();
        self.unsupported_as_listed(path, value, &sorted);
    }

    /// `Unsupported value`, where upstream lists the words in an order of its own.
    pub fn unsupported_as_listed(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|word| quote(word)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        self.push(ErrorKind::NotSupported, path, value, detail);
    }

    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorKind::Forbidden, path, Value::Null, detail);
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(ErrorKind::Duplicate, path, value, "");
    }

    /// `Not found: "x"`.
    pub fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(ErrorKind::NotFound, path, value, "");
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        let noun = if max == 1 { "byte" } else { "bytes" };
        self.push(ErrorKind::TooLong, path, Value::Null, format!("may not be more than {max} {noun}"));
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let noun = if max == 1 { "item" } else { "items" };
        self.push(ErrorKind::TooMany, path, actual, format!("must have at most {max} {noun}"));
    }

    /// Appends another list.
    pub fn extend(&mut self, other: FieldErrors) {
        self.0.extend(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_go_shows_them() {
        for (value, expected) in [
            (Value::Null, "null"),
            (Value::from(5), "5"),
            (Value::from(true), "true"),
            (Value::from(5.0), "5"),
            (Value::from(1e20), "1e+20"),
            (serde_json::json!({"a": "<&>"}), r#"{"a":"\u003c\u0026\u003e"}"#),
            (Value::from("a'\"\\\t\u{7}\u{0}\u{7f}"), r#""a'\"\\\t\a\x00\x7f""#),
            (Value::from("é e\u{301} 日本 😀"), "\"é e\u{301} 日本 😀\""),
            (Value::from("\u{a0}\u{200b}\u{2028}\u{e0001}"), r#""\u00a0\u200b\u2028\U000e0001""#),
        ] {
            assert_eq!(go_value(&value), expected);
        }
    }

    #[test]
    fn one_byte_is_no_bytes() {
        let mut errors = FieldErrors::new();
        errors.too_long(&Path::new("a"), 1);
        errors.too_long(&Path::new("a"), 2);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a: Too long: may not be more than 1 byte", "a: Too long: may not be more than 2 bytes"]);
    }
}
