//! JSON text to a value: bounded depth, duplicate keys noticed, errors in upstream's words.

mod order;

use serde_json::map::Entry;
use serde_json::{Number, Value};

pub(super) use order::in_order;

use super::{DecodeError, Limits};
use crate::Object;
use crate::status::quote;

/// Parses a whole body; the second part holds the paths of duplicate fields (the last one wins, as upstream).
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<(Value, Vec<String>), DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let mut parser = Parser::new(body, limits);
    let value = parser.value()?;
    parser.space();
    match parser.peek() {
        None => Ok((value, parser.duplicates)),
        Some(byte) => Err(unexpected(byte, "after top-level value")),
    }
}

struct Parser<'a> {
    body: &'a [u8],
    at: usize,
    /// Levels that may still be opened.
    depth: usize,
    max_depth: usize,
    /// Paths, from the place of the open value downwards; enclosing values prefix theirs when they close.
    duplicates: Vec<String>,
}

fn unexpected(byte: u8, context: &str) -> DecodeError {
    let shown = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        // A byte stands for the letter of its number.
        _ => format!("'{}'", quote(&char::from(byte).to_string()).trim_matches('"')),
    };
    DecodeError::Syntax(format!("invalid character {shown} {context}"))
}

fn truncated() -> DecodeError {
    DecodeError::Syntax("unexpected end of JSON input".into())
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], limits: Limits) -> Self {
        Parser { body, at: 0, depth: limits.depth, max_depth: limits.depth, duplicates: Vec::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek().ok_or_else(truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        self.space();
        match self.peek().ok_or_else(truncated)? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Value::String),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            other => Err(unexpected(other, "looking for beginning of value")),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, DecodeError>) -> Result<Value, DecodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(DecodeError::TooDeep(self.max_depth))?;
        self.at += 1;
        let value = inside(self);
        self.depth += 1;
        value
    }

    fn object(&mut self) -> Result<Value, DecodeError> {
        let mut object = Object::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(object));
        }
        loop {
            self.space();
            match self.peek().ok_or_else(truncated)? {
                b'"' => {}
                other => {
                    return Err(unexpected(other, "looking for beginning of object key string"));
                }
            }
            let key = self.string()?;
            self.space();
            match self.next()? {
                b':' => {}
                other => return Err(unexpected(other, "after object key")),
            }
            let before = self.duplicates.len();
            let value = self.value()?;
            self.prefix(before, |inner| match inner.starts_with('[') {
                true => format!("{key}{inner}"),
                false => format!("{key}.{inner}"),
            });
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) => {
                    self.duplicates.push(place.key().clone());
                    place.insert(value);
                }
            }
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(Value::Object(object)),
                other => return Err(unexpected(other, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<Value, DecodeError> {
        let mut array = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(array));
        }
        loop {
            let before = self.duplicates.len();
            let value = self.value()?;
            let index = array.len();
            self.prefix(before, |inner| match inner.starts_with('[') {
                true => format!("[{index}]{inner}"),
                false => format!("[{index}].{inner}"),
            });
            array.push(value);
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(Value::Array(array)),
                other => return Err(unexpected(other, "after array element")),
            }
        }
    }

    /// Extends the paths found inside a value by the value's own place.
    fn prefix(&mut self, from: usize, extend: impl Fn(&str) -> String) {
        for path in self.duplicates.iter_mut().skip(from) {
            *path = extend(path);
        }
    }

    fn literal(&mut self, word: &'static str, value: Value) -> Result<Value, DecodeError> {
        for want in word.bytes() {
            let byte = self.next()?;
            if byte != want {
                return Err(unexpected(byte, &format!("in literal {word} (expecting '{}')", char::from(want))));
            }
        }
        Ok(value)
    }

    fn digits(&mut self, context: &str) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'0'..=b'9') => {}
            Some(other) => return Err(unexpected(other, context)),
            None => return Err(truncated()),
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        // Only ASCII was consumed.
        let text = self.body.get(start..self.at).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
        if integer {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(Value::from(number));
            }
            if let Ok(number) = text.parse::<u64>() {
                return Ok(Value::from(number));
            }
        }
        text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number).ok_or_else(|| {
            DecodeError::Type(format!("json: cannot unmarshal number {text} into Go value of type float64"))
        })
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        self.at += 1;
        let start = self.at;
        // Nearly every string ends at the first byte that means something.
        let rest = self.body.get(start..).unwrap_or_default();
        self.at += rest.iter().position(|byte| matches!(*byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
        match self.next()? {
            b'"' => return self.text(start, self.at - 1).map(str::to_owned),
            b'\\' => {}
            byte => return Err(unexpected(byte, "in string literal")),
        }
        // An escape: from here on piece by piece.
        let mut out = self.text(start, self.at - 1)?.to_owned();
        loop {
            out.push(self.escape()?);
            let start = self.at;
            loop {
                match self.next()? {
                    b'"' => {
                        out.push_str(self.text(start, self.at - 1)?);
                        return Ok(out);
                    }
                    b'\\' => break,
                    byte @ 0..0x20 => return Err(unexpected(byte, "in string literal")),
                    _ => {}
                }
            }
            out.push_str(self.text(start, self.at - 1)?);
        }
    }

    fn text(&self, start: usize, end: usize) -> Result<&str, DecodeError> {
        let bytes = self.body.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|e| {
            DecodeError::Syntax(format!("invalid UTF-8 in string literal at byte {}", start + e.valid_up_to()))
        })
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        Ok(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                return Ok(match first {
                    0xd800..0xdc00 => self.low_surrogate(first)?,
                    code => char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                });
            }
            other => return Err(unexpected(other, "in string escape code")),
        })
    }

    /// The second half of a pair; a lone half becomes the replacement character.
    fn low_surrogate(&mut self, first: u32) -> Result<char, DecodeError> {
        if self.body.get(self.at..self.at + 2) != Some(br"\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let back = self.at;
        self.at += 2;
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            self.at = back;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        Ok(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            .unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, DecodeError> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit =
                char::from(byte).to_digit(16).ok_or_else(|| unexpected(byte, r"in \u hexadecimal character escape"))?;
            code = code * 16 + digit;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
