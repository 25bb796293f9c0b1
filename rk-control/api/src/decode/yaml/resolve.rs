//! What scalars mean: by YAML 1.1, as kube-apiserver v1.36 reads it (`resolve.go` of `go.yaml.in/yaml/v2`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use crate::status::{go_float, quote};

/// Longest value that an error shows, in letters.
const MAX_SHOWN: usize = 200;
/// What Go writes for nothing where anything may be.
const NULL_INSIDE: &str = "interface {}(nil)";

/// A scalar that was resolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    /// One of 64 bits, with or without a sign.
    Integer(Number),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// Its tag as errors write it.
    fn tag(&self) -> &'static str {
        match self {
            Scalar::Null => "!!null",
            Scalar::Bool(_) => "!!bool",
            Scalar::Integer(_) => "!!int",
            Scalar::Float(_) => "!!float",
            Scalar::Text(_) => "!!str",
        }
    }

    /// Its text, as near as may be to how it was written.
    pub(super) fn into_text(self) -> String {
        match self {
            Scalar::Null => String::new(),
            Scalar::Bool(flag) => flag.to_string(),
            Scalar::Integer(number) => number.to_string(),
            Scalar::Float(double) => double.to_string(),
            Scalar::Text(text) => text,
        }
    }
}

/// A scalar without quotes and without a tag, if it is no text.
pub(super) fn plain(text: &str) -> Option<Scalar> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Scalar::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Scalar::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Scalar::Bool(false))
        }
        ".nan" | ".NaN" | ".NAN" => Some(Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(Scalar::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => Some(Scalar::Float(f64::NEG_INFINITY)),
        _ => number(text),
    }
}

/// Times are no numbers, and stay text.
fn number(text: &str) -> Option<Scalar> {
    match text.as_bytes().first()? {
        // Go's own reader takes these, and is strict about underscores.
        b'.' => is_parted(text).then(|| float(&text.replace('_', "")))?,
        b'+' | b'-' | b'0'..=b'9' => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits)).or_else(|| signed_bits(&digits))
        }
        _ => None,
    }
}

/// Whether underscores stand between digits only.
fn is_parted(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    (0..bytes.len()).all(|at| bytes.get(at) != Some(&b'_') || is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)))
}

/// An integer as Go writes it: `0x`, `0o` and `0b` tell the base, and a zero alone that of eight.
fn integer(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = base(unsigned);
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    let number = if text.starts_with('-') {
        Number::from(i64::try_from(-i128::from(magnitude)).ok()?)
    } else if text.starts_with('+') {
        Number::from(i64::try_from(magnitude).ok()?)
    } else {
        Number::from(magnitude)
    };
    Some(Scalar::Integer(number))
}

/// The base that the digits' start tells, and the digits behind it.
fn base(unsigned: &str) -> (u32, &str) {
    let Some(rest) = unsigned.strip_prefix('0').filter(|rest| !rest.is_empty()) else {
        return (10, unsigned);
    };
    let radix = match rest.as_bytes().first() {
        Some(b'x' | b'X') => 16,
        Some(b'o' | b'O') => 8,
        Some(b'b' | b'B') => 2,
        _ => return (8, rest),
    };
    (radix, rest.get(1..).unwrap_or_default())
}

/// A decimal number with or without a point; one that is too large for a float is text.
fn float(text: &str) -> Option<Scalar> {
    let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let double: f64 = text.parse().ok().filter(|_| is_decimal)?;
    double.is_finite().then_some(Scalar::Float(double))
}

/// `0b-101`: upstream reads a sign behind the base, too.
fn signed_bits(text: &str) -> Option<Scalar> {
    let number = i64::from_str_radix(text.strip_prefix("0b")?, 2).ok()?;
    Some(Scalar::Integer(Number::from(number)))
}

/// Whether `!!` and this word mark scalars.
pub(super) fn is_scalar(tag: &str) -> bool {
    matches!(tag, "str" | "bool" | "int" | "float" | "null" | "timestamp" | "binary" | "merge")
}

/// A scalar that `!!` and a word mark, in quotes or not.
///
/// # Errors
/// It is something else, in upstream's words.
pub(super) fn tagged(tag: &str, text: String) -> Result<Scalar, String> {
    if matches!(tag, "str" | "merge") {
        return Ok(Scalar::Text(text));
    }
    if tag == "binary" {
        let lines: String = text.chars().filter(|letter| !matches!(letter, '\n' | '\r')).collect();
        let bytes =
            STANDARD.decode(lines).map_err(|_| "yaml: !!binary value contains invalid base64 data".to_owned())?;
        return Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let scalar = plain(&text).unwrap_or_else(|| Scalar::Text(text.clone()));
    match (tag, &scalar) {
        ("timestamp", Scalar::Text(_)) if is_time(&text) => Ok(scalar),
        ("float", Scalar::Integer(number)) if number.is_i64() => Ok(Scalar::Float(number.as_f64().unwrap_or_default())),
        _ if scalar.tag().strip_prefix("!!") == Some(tag) => Ok(scalar),
        _ => Err(format!("yaml: cannot decode {} `{text}` as a !!{tag}", scalar.tag())),
    }
}

/// Whether a text begins as a date does.
fn is_time(text: &str) -> bool {
    text.split_once('-').is_some_and(|(year, _)| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The key of a map.
pub(super) struct Name {
    /// As JSON has it.
    pub(super) text: String,
    is_text: bool,
    /// What Go calls its type, and how it writes it, where JSON can have no such key.
    pub(super) unfit: Option<(&'static str, String)>,
}

impl Name {
    /// As Go writes it in messages.
    pub(super) fn shown(&self) -> String {
        if self.is_text { quote(&self.text) } else { self.text.clone() }
    }
}

/// A scalar as the key of a map.
pub(super) fn name(scalar: Scalar) -> Name {
    match scalar {
        Scalar::Text(text) => Name { text, is_text: true, unfit: None },
        Scalar::Null => Name { unfit: Some(("%!s(<nil>)", "<nil>".to_owned())), ..of_number(String::new()) },
        Scalar::Integer(number) if !number.is_i64() => {
            let shown = format!("{:#x}", number.as_u64().unwrap_or_default());
            Name { unfit: Some(("uint64", shown)), ..of_number(number.to_string()) }
        }
        Scalar::Float(double) => of_number(short(double)),
        other => of_number(other.into_text()),
    }
}

fn of_number(text: String) -> Name {
    Name { text, is_text: false, unfit: None }
}

/// A float in as few digits as tell it in 32 bits: `1.5`, `1e+06`, `.inf`.
fn short(double: f64) -> String {
    let single: f64 = (double as f32).to_string().parse().unwrap_or(double);
    match go_float(single).as_str() {
        "NaN" => ".nan".to_owned(),
        "+Inf" => ".inf".to_owned(),
        "-Inf" => "-.inf".to_owned(),
        digits => digits.to_owned(),
    }
}

/// `json: unsupported value: +Inf`: what JSON has no word for.
pub(super) fn unsupported(double: f64) -> String {
    format!("json: unsupported value: {}", go_float(double))
}

/// A value in Go's syntax, the head of a long one.
pub(super) fn shown(value: &Value) -> String {
    let mut out = String::new();
    go(value, "<nil>", &mut out);
    out.chars().take(MAX_SHOWN).collect()
}

/// Writes no more than the start of what has many items, and nothing once enough is there.
fn go(value: &Value, null: &str, out: &mut String) {
    let comma = |index: usize| if index > 0 { ", " } else { "" };
    match value {
        _ if out.len() > 4 * MAX_SHOWN => {}
        Value::Null => out.push_str(null),
        Value::String(text) => out.push_str(&quote(text)),
        Value::Array(items) => {
            out.push_str("[]interface {}{");
            for (index, item) in items.iter().take(MAX_SHOWN).enumerate() {
                out.push_str(comma(index));
                go(item, NULL_INSIDE, out);
            }
            out.push('}');
        }
        Value::Object(members) => {
            out.push_str("map[interface {}]interface {}{");
            for (index, (key, member)) in members.iter().take(MAX_SHOWN).enumerate() {
                out.push_str(comma(index));
                out.push_str(&quote(key));
                out.push(':');
                go(member, NULL_INSIDE, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}
