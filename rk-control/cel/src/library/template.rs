//! `"…%s…".format([…])`.

use serde_json::Value as Json;

use super::{items, text};
use crate::eval::Failure;
use crate::registry::Row;
use crate::value::Value;

/// Most digits after the point.
const MAX_PRECISION: usize = 1000;

pub(super) const TABLE: &[Row] = &[Row("format", ".SL*>S", |c, a| {
    let made = fill(text(a, 0), &items(a, 1))?;
    c.charge(made.len() as u64 / 10)?;
    Ok(Value::text(made))
})];

fn fill(template: &str, args: &[Value<'_>]) -> Result<String, Failure> {
    let mut out = String::new();
    let mut letters = template.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut precision = None;
        if letters.peek() == Some(&'.') {
            letters.next();
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let wanted: Option<usize> = digits.parse().ok().filter(|wanted| *wanted <= MAX_PRECISION);
            precision = Some(wanted.ok_or_else(|| Failure::new("error while parsing precision"))?);
        }
        let verb = letters.next().ok_or_else(|| Failure::new("unexpected end of string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.get(next).ok_or_else(|| Failure::new(format!("index {next} out of range")))?;
        next += 1;
        out.push_str(&clause(verb, precision, arg)?);
    }
    Ok(out)
}

fn clause(verb: char, precision: Option<usize>, arg: &Value<'_>) -> Result<String, Failure> {
    let wrong =
        || Failure::new(format!("error during formatting: %{verb} does not take a value of type {}", arg.type_name()));
    let number = match arg {
        Value::Int(int) => Some(*int as f64),
        Value::Uint(uint) => Some(*uint as f64),
        Value::Double(double) => Some(*double),
        _ => None,
    };
    let whole = match arg {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    };
    // A sign before the digits of the amount, as Go writes them.
    let signed = |digits: fn(u128) -> String| {
        whole.map(|int| format!("{}{}", if int < 0 { "-" } else { "" }, digits(int.unsigned_abs()))).ok_or_else(wrong)
    };
    match verb {
        's' => show(arg),
        'd' => whole.map(|int| int.to_string()).ok_or_else(wrong),
        'f' => number.map(|number| format!("{number:.*}", precision.unwrap_or(6))).ok_or_else(wrong),
        'e' => number.map(|number| exponent(number, precision.unwrap_or(6))).ok_or_else(wrong),
        'b' => match arg {
            Value::Bool(value) => Ok(u8::from(*value).to_string()),
            _ => signed(|int| format!("{int:b}")),
        },
        'o' => signed(|int| format!("{int:o}")),
        'x' | 'X' => {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let text = match arg {
                Value::Str(text) => hex(text.as_str().as_bytes()),
                Value::Bytes(bytes) => hex(bytes),
                _ => signed(|int| format!("{int:x}"))?,
            };
            Ok(if verb == 'X' { text.to_uppercase() } else { text })
        }
        other => {
            Err(Failure::new(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\"")))
        }
    }
}

/// At least two digits in the exponent, with a sign.
fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn show(value: &Value<'_>) -> Result<String, Failure> {
    let all = |parts: Vec<String>, open: &str, close: &str| format!("{open}{}{close}", parts.join(", "));
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) => double.to_string(),
        Value::Str(text) => text.as_str().to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Time(time) => super::show_time(*time),
        Value::Span(nanos) => super::show_duration(*nanos),
        Value::Type(name) => name.to_string(),
        Value::List(_) | Value::Json(Json::Array(_), _) => {
            let items = value.items().unwrap_or_default();
            all(items.iter().map(show).collect::<Result<_, _>>()?, "[", "]")
        }
        Value::Map(_) | Value::Domains(_) | Value::Json(..) => {
            let entries = value.entries().unwrap_or_default();
            let entry = |(key, value): &(Value<'_>, Value<'_>)| Ok(format!("{}: {}", show(key)?, show(value)?));
            let mut entries = entries.iter().map(entry).collect::<Result<Vec<_>, Failure>>()?;
            entries.sort();
            all(entries, "{", "}")
        }
        Value::Quantity(_) | Value::Ip(_) | Value::Cidr(_) => value.to_json()?.as_str().unwrap_or_default().to_owned(),
        other => {
            let why = format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, \
                               maps, lists, types, durations, and timestamps, was given {}",
                other.type_name()
            );
            return Err(Failure::new(why));
        }
    })
}
