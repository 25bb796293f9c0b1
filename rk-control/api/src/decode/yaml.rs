//! YAML text to a value, by way of serde so that duplicate keys are seen.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::{DecodeError, Limits};
use crate::Object;

/// Parses the one document of a body; the second part holds the paths of duplicate fields.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<(Value, Vec<String>), DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let mut documents = serde_yaml_ng::Deserializer::from_slice(body);
    let Some(first) = documents.next() else {
        return Ok((Value::Null, Vec::new()));
    };
    let mut state = State { duplicates: Vec::new(), nodes: 0, too_deep: false };
    let seed = Node { state: &mut state, depth: limits.depth };
    match seed.deserialize(first) {
        Ok(value) => Ok((value, state.duplicates)),
        Err(_) if state.too_deep => Err(DecodeError::TooDeep(limits.depth)),
        Err(error) => Err(DecodeError::Yaml(format!("yaml: {error}"))),
    }
}

/// Aliases may repeat a node; no real object has this many.
const MAX_NODES: usize = 1_000_000;

struct State {
    duplicates: Vec<String>,
    nodes: usize,
    too_deep: bool,
}

struct Node<'a> {
    state: &'a mut State,
    depth: usize,
}

impl Node<'_> {
    fn inner<E: Error>(&mut self) -> Result<Node<'_>, E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            self.state.too_deep = true;
            return Err(E::custom("too deep"));
        };
        self.state.nodes += 1;
        if self.state.nodes > MAX_NODES {
            return Err(E::custom("document contains excessive aliasing"));
        }
        Ok(Node { state: self.state, depth })
    }

    fn prefix(&mut self, from: usize, place: &str) {
        for path in self.state.duplicates.iter_mut().skip(from) {
            let dot = if path.starts_with('[') { "" } else { "." };
            *path = format!("{place}{dot}{path}");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can express")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom(format!("json: unsupported value: {v}")))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let before = self.state.duplicates.len();
            let Some(value) = seq.next_element_seed(self.inner()?)? else {
                return Ok(Value::Array(out));
            };
            self.prefix(before, &format!("[{}]", out.len()));
            out.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Object::new();
        while let Some(Key(key)) = map.next_key()? {
            let before = self.state.duplicates.len();
            let value = map.next_value_seed(self.inner()?)?;
            self.prefix(before, &key);
            if out.contains_key(&key) {
                self.state.duplicates.push(key.clone());
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// A key: scalars of any type become text, as in JSON.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar key")
            }

            fn visit_str<E>(self, v: &str) -> Result<Key, E> {
                Ok(Key(v.into()))
            }

            fn visit_bool<E>(self, v: bool) -> Result<Key, E> {
                Ok(Key(v.to_string()))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Key, E> {
                Ok(Key(v.to_string()))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Key, E> {
                Ok(Key(v.to_string()))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Key, E> {
                Ok(Key(v.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Key, E> {
                Ok(Key("null".into()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_becomes_json() {
        let text = "a: 1\nb: [x, 'y', 2.5, true, null]\nc:\n  1: one\n  true: two\n";
        let (value, _) = parse(text.as_bytes(), Limits::default()).unwrap();
        assert_eq!(value, json!({"a": 1, "b": ["x", "y", 2.5, true, null], "c": {"1": "one", "true": "two"}}));
    }

    #[test]
    fn duplicate_keys_are_named() {
        let (value, duplicates) = parse(b"s:\n  c:\n  - x: 1\n    x: 2\n", Limits::default()).unwrap();
        assert_eq!(value, json!({"s": {"c": [{"x": 2}]}}));
        assert_eq!(duplicates, ["s.c[0].x"]);
    }

    #[test]
    fn alias_bombs_and_depth_are_bounded() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 9].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(bomb.as_bytes(), Limits::default()).is_err());
        assert!(parse("[".repeat(2000).as_bytes(), Limits::default()).is_err());
        assert_eq!(parse(b"[[[[[1]]]]]", Limits { bytes: 100, depth: 3 }), Err(DecodeError::TooDeep(3)));
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert!(parse(b"a: .nan", Limits::default()).is_err());
        assert!(
            parse(b"a: b: c", Limits::default())
                .unwrap_err()
                .to_string()
                .starts_with("error converting YAML to JSON: yaml:")
        );
    }
}
