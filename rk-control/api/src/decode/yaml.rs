//! YAML text to a value, by way of serde so that duplicate keys are seen.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Number, Value};

use super::number::settled;
use super::{DecodeError, Limits};
use crate::Object;

/// Aliases may repeat a node; no real object has this many.
const MAX_NODES: usize = 1_000_000;
/// So many duplicate keys are reported with their line; finding each costs another pass.
const MAX_REPORTED: usize = 16;

/// What may be missing between tokens.
const MISSING: [&str; 7] =
    ["node content", "',' or '}'", "',' or ']'", "'-' indicator", "key", "<document start>", "<stream-start>"];

/// Parses the one document of a body; the second part is what strict decoding says of duplicate keys.
pub(super) fn parse(body: &[u8], limits: Limits) -> Result<(Value, Vec<String>), DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let mut state = State::default();
    match pass(body, limits, &mut state) {
        Ok(value) => Ok((value, duplicates(body, limits, &state.duplicates))),
        Err(_) if state.too_deep => Err(DecodeError::TooDeep(limits.depth)),
        Err(error) => Err(DecodeError::Yaml(words(&error))),
    }
}

fn pass(body: &[u8], limits: Limits, state: &mut State) -> Result<Value, serde_yaml_ng::Error> {
    match serde_yaml_ng::Deserializer::from_slice(body).next() {
        Some(document) => Node { state, depth: limits.depth }.deserialize(document),
        None => Ok(Value::Null),
    }
}

/// `yaml: line 3: what is wrong`: the place first, as upstream's parser has it. The first line is not told, and where something is missing
/// between tokens, lines are counted from zero.
fn words(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    let ends = [" at line ", " at position ", ", while "];
    let bare = ends.iter().fold(text.as_str(), |text, end| text.split(end).next().unwrap_or_default());
    let line = error.location().map_or(1, |place| place.line());
    let is_missing = bare.strip_prefix("did not find expected ").is_some_and(|what| MISSING.contains(&what));
    if line <= 1 {
        return format!("yaml: {bare}");
    }
    let told = if is_missing { line - 1 } else { line };
    format!("yaml: line {told}: {bare}")
}

/// All duplicate keys in one text, each with its line.
fn duplicates(body: &[u8], limits: Limits, keys: &[String]) -> Vec<String> {
    if keys.is_empty() {
        return Vec::new();
    }
    let mut text = "yaml: unmarshal errors:".to_owned();
    for (index, key) in keys.iter().enumerate().take(MAX_REPORTED) {
        // The parser tells places only of errors, so this pass fails at the key that is wanted.
        let mut state = State { stop_at: Some(index), ..State::default() };
        let line = pass(body, limits, &mut state).err().and_then(|e| e.location()).map_or(0, |place| place.line());
        text.push_str(&format!("\n  line {line}: key {key:?} already set in map"));
    }
    vec![text]
}

#[derive(Default)]
struct State {
    /// Keys that were there already, in the order of the text.
    duplicates: Vec<String>,
    /// Fail at the duplicate with this index.
    stop_at: Option<usize>,
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

    fn visit_u128<E: Error>(self, v: u128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }

    /// What an unknown tag marks is read as if it were not marked.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (_, marked) = data.variant::<IgnoredAny>()?;
        marked.newtype_variant_seed(self)
    }

    /// Upstream makes JSON of YAML first, where a whole number has no point.
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        let number = Number::from_f64(v).ok_or_else(|| E::custom(format!("json: unsupported value: {v}")))?;
        Ok(Value::Number(settled(&number)))
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
        while let Some(value) = seq.next_element_seed(self.inner()?)? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Object::new();
        while let Some(key) = map.next_key_seed(Key { state: self.state, seen: &out })? {
            let value = map.next_value_seed(self.inner()?)?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// A key: scalars of any type become text, as in JSON.
struct Key<'a> {
    state: &'a mut State,
    seen: &'a Object,
}

impl Key<'_> {
    fn take<E: Error>(self, key: String) -> Result<String, E> {
        if self.seen.contains_key(&key) {
            if self.state.stop_at == Some(self.state.duplicates.len()) {
                return Err(E::custom("duplicate"));
            }
            self.state.duplicates.push(key.clone());
        }
        Ok(key)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar key")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<String, E> {
        self.take(v.into())
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<String, E> {
        self.take(v.to_string())
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<String, E> {
        self.take(v.to_string())
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<String, E> {
        self.take(v.to_string())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<String, E> {
        self.take(v.to_string())
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        self.take("null".into())
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
    fn what_is_wrong_is_told_by_its_line() {
        let told = |text: &[u8]| parse(text, Limits::default()).unwrap_err().to_string();
        let about = "error converting YAML to JSON: yaml: ";
        assert_eq!(told(b"a: ["), format!("{about}line 1: did not find expected node content"));
        assert_eq!(told(b"a:\n  b:\n\tc: 1\n"), format!("{about}line 3: found character that cannot start any token"));
        assert_eq!(told(b"a: \0"), format!("{about}control characters are not allowed"));
    }

    #[test]
    fn what_json_cannot_express_is_read_as_near_as_may_be() {
        let text = "a: 99999999999999999999\nb: -99999999999999999999\nc: !some {d: !other [e]}\nf: 5.0\n";
        let (value, _) = parse(text.as_bytes(), Limits::default()).unwrap();
        assert_eq!(value, json!({"a": 1e20, "b": -1e20, "c": {"d": ["e"]}, "f": 5}));
    }

    #[test]
    fn duplicate_keys_are_named_with_their_line() {
        let (value, notices) = parse(b"s:\n  c:\n  - x: 1\n    x: 2\ns: 3\n", Limits::default()).unwrap();
        assert_eq!(value, json!({"s": 3}));
        let want =
            "yaml: unmarshal errors:\n  line 4: key \"x\" already set in map\n  line 5: key \"s\" already set in map";
        assert_eq!(notices, [want]);
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
        for (body, why) in [
            ("a: b: c", "mapping values are not allowed in this context"),
            ("a: b\n c: d", "line 2: mapping values are not allowed in this context"),
            ("a: [", "line 1: did not find expected node content"),
            ("- a\nb: c", "line 1: did not find expected '-' indicator"),
            ("a: \"x", "found unexpected end of stream"),
            ("a:\n\t- b", "line 2: found character that cannot start any token"),
        ] {
            let error = parse(body.as_bytes(), Limits::default()).unwrap_err();
            assert_eq!(error.to_string(), format!("error converting YAML to JSON: yaml: {why}"), "{body}");
            let told = error.into_status("Pod", "v1", b"").message;
            assert!(told.ends_with(&format!("(must be of type Pod): yaml: {why} (<empty>)")), "{told}");
        }
    }
}
