//! `"…%s…".format([…])`.

use std::iter::Peekable;
use std::str::Chars;

use rk_api::status::{go_float, quote};

use super::{items, text};
use crate::eval::Failure;
use crate::registry::Row;
use crate::value::Value;

/// Most digits after the point.
const MAX_PRECISION: usize = 1000;
/// Digits after the point of what says nothing else.
const PRECISION: usize = 6;

pub(super) const TABLE: &[Row] = &[Row("format", ".SL*>S", |c, a| {
    let args = items(a, 1);
    let made = fill_template(text(a, 0), args.len(), &mut |index, verb, precision| match args.get(index) {
        Some(arg) => clause(verb, precision, arg),
        None => Err(format!("index {index} out of range")),
    });
    let (made, _) = made.map_err(|trouble| Failure::new(trouble.why))?;
    c.charge(made.len() as u64 / 10)?;
    Ok(Value::text(made))
})];

/// Why a template cannot be filled.
pub(crate) struct Trouble {
    /// The argument that does not fit its clause; `None` when the template itself is wrong.
    pub(crate) arg: Option<usize>,
    /// What is wrong.
    pub(crate) why: String,
}

/// What makes the text of an argument: its index, the verb, and how many digits are asked for.
type Clause<'c> = &'c mut dyn FnMut(usize, char, Option<usize>) -> Result<String, String>;

/// Fills a template that has `count` arguments; tells the text, and how many of them it asked for.
pub(crate) fn fill_template(template: &str, count: usize, clause: Clause<'_>) -> Result<(String, usize), Trouble> {
    let broken = |why: String| Trouble { arg: None, why };
    let mut out = String::new();
    let mut letters = template.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' || letters.next_if_eq(&'%').is_some() {
            out.push(letter);
            continue;
        }
        if letters.peek().is_none() {
            return Err(broken("unexpected end of string".to_owned()));
        }
        if next >= count {
            return Err(broken(format!("index {next} out of range")));
        }
        let read = read_clause(&mut letters);
        let (verb, precision) = read.map_err(|why| broken(format!("could not parse formatting clause: {why}")))?;
        let made = clause(next, verb, precision)
            .map_err(|why| Trouble { arg: Some(next), why: format!("error during formatting: {why}") })?;
        out.push_str(&made);
        next += 1;
    }
    Ok((out, next))
}

/// The verb of a clause and its precision.
fn read_clause(letters: &mut Peekable<Chars<'_>>) -> Result<(char, Option<usize>), String> {
    let mut precision = None;
    if letters.next_if_eq(&'.').is_some() {
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if letters.peek().is_none() {
            return Err("error while parsing precision: could not find end of precision specifier".to_owned());
        }
        let wanted = digits.parse::<usize>().ok().filter(|wanted| *wanted <= MAX_PRECISION);
        precision = Some(wanted.ok_or_else(|| {
            let shown = quote(&digits);
            format!(
                "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {shown}: invalid syntax"
            )
        })?);
    }
    match letters.next() {
        Some(verb @ ('s' | 'd' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X')) => Ok((verb, precision)),
        Some(other) => Err(format!("unrecognized formatting clause \"{other}\"")),
        None => Err("unexpected end of string".to_owned()),
    }
}

/// Why a clause does not take a value of a type.
pub(crate) fn refusal(verb: char, given: &str) -> String {
    let takes = match verb {
        's' => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        _ => "only integers, byte buffers, and strings can be formatted as hex",
    };
    format!("{takes}, was given {given}")
}

fn clause(verb: char, precision: Option<usize>, arg: &Value<'_>) -> Result<String, String> {
    let wrong = || refusal(verb, arg.type_name());
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
        'f' => number(arg).map(|number| fixed(number, precision.unwrap_or(PRECISION))).ok_or_else(wrong),
        'e' => number(arg).map(|number| scientific(number, precision.unwrap_or(PRECISION))).ok_or_else(wrong),
        'b' => match arg {
            Value::Bool(value) => Ok(u8::from(*value).to_string()),
            _ => signed(|int| format!("{int:b}")),
        },
        'o' => signed(|int| format!("{int:o}")),
        _ => {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let text = match arg {
                Value::Str(text) => hex(text.as_str().as_bytes()),
                Value::Bytes(bytes) => hex(bytes),
                _ => signed(|int| format!("{int:x}"))?,
            };
            Ok(if verb == 'X' { text.to_uppercase() } else { text })
        }
    }
}

/// A double, or the text of one that has no digits.
fn number(arg: &Value<'_>) -> Option<f64> {
    match arg {
        Value::Double(double) => Some(*double),
        _ => match arg.as_str()? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
    }
}

/// How what has no digits is written.
fn endless(number: f64) -> Option<&'static str> {
    if number.is_finite() {
        return None;
    }
    Some(if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "∞"
    } else {
        "-∞"
    })
}

/// With commas between thousands: upstream writes these numbers as American English has them.
fn fixed(number: f64, precision: usize) -> String {
    if let Some(word) = endless(number) {
        return word.to_owned();
    }
    let text = format!("{number:.precision$}");
    let (sign, amount) = text.strip_prefix('-').map_or(("", text.as_str()), |amount| ("-", amount));
    let (whole, fraction) = amount.split_at(amount.find('.').unwrap_or(amount.len()));
    let mut out = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// As a power of ten, of at least `width` letters: upstream takes the precision for the width.
fn scientific(number: f64, width: usize) -> String {
    let text = match endless(number) {
        Some(word) => word.to_owned(),
        None => {
            let text = format!("{number:.PRECISION$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("⁻", digits));
            let digits: String = format!("{digits:0>2}").chars().map(raised).collect();
            format!("{mantissa}×10{sign}{digits}")
        }
    };
    format!("{text:>width$}")
}

fn raised(digit: char) -> char {
    match digit {
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁰',
    }
}

/// What `%s` makes of a value.
fn show(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::Double(double) => go_float(*double),
        Value::Str(text) => text.as_str().to_owned(),
        Value::Bytes(bytes) => utf8(bytes)?,
        Value::Time(time) => super::show_time(*time),
        Value::Span(nanos) => super::show_duration(*nanos),
        _ if matches!(value.type_name(), "list" | "map") => within(value)?,
        _ => within(value).map_err(|_| refusal('s', value.type_name()))?,
    })
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| "invalid UTF-8 in bytes, cannot convert to string".to_owned())
}

/// A value within a list or map: as an expression would have it.
fn within(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) if double.is_finite() => format!("{double:.PRECISION$}"),
        Value::Double(double) => quote(&go_float(*double)),
        Value::Str(text) => quote(text.as_str()),
        Value::Bytes(bytes) => format!("b{}", quote(&utf8(bytes)?)),
        Value::Time(time) => format!("timestamp({})", quote(&super::show_time(*time))),
        Value::Span(nanos) => format!("duration({})", quote(&super::show_duration(*nanos))),
        Value::Type(name) => name.to_string(),
        _ => match (value.type_name(), value.items(), value.entries()) {
            (_, Some(items), _) => {
                let items = items.iter().map(within).collect::<Result<Vec<_>, _>>()?;
                format!("[{}]", items.join(", "))
            }
            ("map", _, Some(entries)) => {
                let entry = |(key, value): &(Value<'_>, Value<'_>)| Ok((within(key)?, within(value)?));
                let mut entries = entries.iter().map(entry).collect::<Result<Vec<_>, String>>()?;
                entries.sort();
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }
            (name, ..) => return Err(format!("no formatting function for {name}")),
        },
    })
}
