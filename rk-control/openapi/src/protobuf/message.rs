//! Messages in protobuf's wire format, field by field; zero values are left out.

use serde_json::{Map, Value};

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    pub(super) fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    pub(super) fn texts(&mut self, number: u32, values: &Value) {
        list(values).filter_map(Value::as_str).for_each(|text| self.bytes(number, text.as_bytes()));
    }

    pub(super) fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    pub(super) fn integer(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_i64().filter(|value| *value != 0) {
            self.varint(u64::from(number) << 3);
            // Negative numbers take ten bytes, sign-extended.
            self.varint(value as u64);
        }
    }

    pub(super) fn double(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_f64().filter(|value| *value != 0.0) {
            self.varint(u64::from(number) << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A number, flag or text in the field 1, 2 or 3: which of them is there tells the form, so that zero values are written as well.
    pub(super) fn one_of(&mut self, value: &Value) {
        match value {
            Value::Number(number) => {
                self.varint(1 << 3 | 1);
                self.0.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
            Value::Bool(flag) => {
                self.varint(2 << 3);
                self.varint(u64::from(*flag));
            }
            Value::String(text) => self.bytes(3, text.as_bytes()),
            _ => {}
        }
    }

    /// A value of any form, as YAML text; JSON is YAML.
    pub(super) fn any(&mut self, number: u32, value: &Value) {
        if !value.is_null() {
            self.message(number, |to| to.bytes(2, value.to_string().as_bytes()));
        }
    }

    /// The members that begin with `x-`.
    pub(super) fn extensions(&mut self, number: u32, members: &Map<String, Value>) {
        for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.message(number, |to| {
                to.bytes(1, name.as_bytes());
                to.any(2, value);
            });
        }
    }
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

/// A map as repeated pairs of name and value.
pub(super) fn named(to: &mut Message, number: u32, members: &Map<String, Value>, write: impl Fn(&mut Message, &Value)) {
    for (name, value) in members {
        to.message(number, |to| {
            to.bytes(1, name.as_bytes());
            to.message(2, |to| write(to, value));
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tells_its_form_by_its_field_is_written_though_zero() {
        let written = |value: Value| {
            let mut message = Message::default();
            message.one_of(&value);
            message.into_bytes()
        };
        assert_eq!(written(json!(0)), [&[9_u8][..], &[0; 8]].concat());
        assert_eq!(written(json!(false)), [16, 0]);
        assert_eq!(written(json!("")), [26, 0]);
        assert_eq!(written(json!("TCP")), b"\x1a\x03TCP");
        assert!(written(json!({})).is_empty());
    }
}
