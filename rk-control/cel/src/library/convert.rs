//! Sizes, conversions between types, and types as values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::status::go_float;

use super::{Made, count, failed, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("size", "S>I", |_, a| size(a)),
    Row("size", "Y>I", |_, a| size(a)),
    Row("size", "La>I", |_, a| size(a)),
    Row("size", "Mab>I", |_, a| size(a)),
    Row("size", ".S>I", |_, a| size(a)),
    Row("size", ".Y>I", |_, a| size(a)),
    Row("size", ".La>I", |_, a| size(a)),
    Row("size", ".Mab>I", |_, a| size(a)),
    Row("dyn", "a>*", |_, a| same(a)),
    Row("type", "a>t", |_, a| match a {
        [value] => Ok(Value::Type(value.type_name().into())),
        _ => no_overload(),
    }),
    Row("int", "I>I", |_, a| same(a)),
    Row("int", "U>I", |_, a| to_int(a)),
    Row("int", "D>I", |_, a| to_int(a)),
    Row("int", "S>I", |_, a| to_int(a)),
    Row("int", "T>I", |_, a| to_int(a)),
    Row("int", "R>I", |_, a| to_int(a)),
    Row("uint", "U>U", |_, a| same(a)),
    Row("uint", "I>U", |_, a| to_uint(a)),
    Row("uint", "D>U", |_, a| to_uint(a)),
    Row("uint", "S>U", |_, a| to_uint(a)),
    Row("double", "D>D", |_, a| same(a)),
    Row("double", "I>D", |_, a| Ok(Value::Double(super::double(a, 0)))),
    Row("double", "U>D", |_, a| Ok(Value::Double(super::double(a, 0)))),
    Row("double", "S>D", |_, a| match text(a, 0).parse() {
        Ok(number) => Ok(Value::Double(number)),
        Err(_) => failed("type conversion error from 'string' to 'double'"),
    }),
    Row("bool", "B>B", |_, a| same(a)),
    Row("bool", "S>B", |_, a| match text(a, 0) {
        "true" | "t" | "1" | "True" | "TRUE" | "T" => Ok(Value::Bool(true)),
        "false" | "f" | "0" | "False" | "FALSE" | "F" => Ok(Value::Bool(false)),
        _ => failed("type conversion error from 'string' to 'bool'"),
    }),
    Row("string", "S>S", |_, a| same(a)),
    Row("string", "I>S", |_, a| to_text(a)),
    Row("string", "U>S", |_, a| to_text(a)),
    Row("string", "D>S", |_, a| to_text(a)),
    Row("string", "B>S", |_, a| to_text(a)),
    Row("string", "Y>S", |_, a| to_text(a)),
    Row("string", "T>S", |_, a| to_text(a)),
    Row("string", "R>S", |_, a| to_text(a)),
    Row("string", "P>S", |_, a| to_text(a)),
    Row("string", "C>S", |_, a| to_text(a)),
    Row("bytes", "Y>Y", |_, a| same(a)),
    Row("bytes", "S>Y", |_, a| Ok(Value::Bytes(text(a, 0).as_bytes().into()))),
];

/// Bytes of standard base64.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn same<'a>(args: &[Value<'a>]) -> Made<'a> {
    args.first().cloned().map_or_else(no_overload, Ok)
}

fn size<'a>(args: &[Value<'a>]) -> Made<'a> {
    args.first().and_then(Value::length).map_or_else(no_overload, |length| Ok(count(length)))
}

fn to_int<'a>(args: &[Value<'a>]) -> Made<'a> {
    let int = match args {
        [Value::Uint(uint)] => i64::try_from(*uint).map_err(|_| "integer overflow"),
        // The bounds themselves are no doubles: what is equal to them was rounded.
        [Value::Double(double)] if *double > i64::MIN as f64 && *double < i64::MAX as f64 => Ok(*double as i64),
        [Value::Double(_)] => Err("integer overflow"),
        [Value::Str(text)] => text.as_str().parse().map_err(|_| "type conversion error from 'string' to 'int'"),
        [Value::Time(time)] => Ok(time.as_second()),
        [Value::Span(nanos)] => Ok(*nanos),
        _ => return no_overload(),
    };
    int.map_or_else(failed, |int| Ok(Value::Int(int)))
}

fn to_uint<'a>(args: &[Value<'a>]) -> Made<'a> {
    let uint = match args {
        [Value::Int(int)] => u64::try_from(*int).map_err(|_| "unsigned integer overflow"),
        [Value::Double(double)] if *double >= 0.0 && *double < u64::MAX as f64 => Ok(*double as u64),
        [Value::Double(_)] => Err("unsigned integer overflow"),
        [Value::Str(text)] => text.as_str().parse().map_err(|_| "type conversion error from 'string' to 'uint'"),
        _ => return no_overload(),
    };
    uint.map_or_else(failed, |uint| Ok(Value::Uint(uint)))
}

fn to_text<'a>(args: &[Value<'a>]) -> Made<'a> {
    Ok(Value::text(match args {
        [Value::Int(int)] => int.to_string(),
        [Value::Uint(uint)] => uint.to_string(),
        [Value::Double(double)] => go_float(*double),
        [Value::Bool(value)] => value.to_string(),
        [Value::Bytes(bytes)] => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        [Value::Time(time)] => super::show_time(*time),
        [Value::Span(nanos)] => super::show_duration(*nanos),
        [Value::Ip(ip)] => ip.to_string(),
        [Value::Cidr(net)] => net.to_string(),
        _ => return no_overload(),
    }))
}
