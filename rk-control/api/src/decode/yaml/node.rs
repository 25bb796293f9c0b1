//! Nodes as the parser meets them, by way of serde so that duplicate keys are seen.

use std::{fmt, mem};

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::{Number, Value};

use super::resolve::{self, Name, Scalar};
use crate::Object;
use crate::decode::number::settled;
use crate::status::quote;

/// So many nodes may come from aliases, as upstream has it.
const MAX_ALIASED: usize = 400_000;
/// So many bytes of text may come from aliases: far more than any object has.
const MAX_REPEATED: usize = 16 << 20;
/// So many duplicate keys are reported with their line; finding each costs another pass.
const MAX_REPORTED: usize = 16;
/// The key that takes in other maps.
const MERGE: &str = "<<";
/// What else stands behind that key.
const NO_MAPS: &str = "yaml: map merge requires map or sequence of maps as the value";

/// What made an end of reading.
pub(super) enum Failure {
    /// Told in these words alone.
    Whole(String),
    /// Told with its line.
    Placed(String),
}

/// What is known of a document while it is read.
pub(super) struct State<'b> {
    /// What the parser reads.
    body: &'b [u8],
    /// The first keys that were there already, each with its number, as Go writes them.
    pub(super) duplicates: Vec<(usize, String)>,
    /// How many such keys were met, some of whose values are still being read.
    met: usize,
    /// Fail at the value of the duplicate with this number.
    pub(super) stop_at: Option<usize>,
    nodes: usize,
    /// Bytes of all text so far.
    text: usize,
    /// Whether the document is nested too deep.
    pub(super) too_deep: bool,
    /// Why there is no value.
    pub(super) failure: Option<Failure>,
}

impl<'b> State<'b> {
    /// At the start of a text.
    pub(super) fn new(body: &'b [u8]) -> Self {
        State { body, duplicates: Vec::new(), met: 0, stop_at: None, nodes: 0, text: 0, too_deep: false, failure: None }
    }

    fn fail<E: Error>(&mut self, failure: Failure) -> E {
        self.failure = Some(failure);
        E::custom("unreadable")
    }

    fn repeats<E: Error>(&mut self) -> E {
        self.fail(Failure::Placed("document contains excessive aliasing".to_owned()))
    }

    /// Counts text that is copied, as an alias does with what it names.
    fn count<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.text += text.len();
        if self.text > self.body.len() + MAX_REPEATED { Err(self.repeats()) } else { Ok(()) }
    }

    /// Whether a scalar that stands in the body as it is has quotes around it. Behind one without them there never is a quote.
    fn is_quoted(&self, text: &str) -> bool {
        let start = text.as_ptr().addr().wrapping_sub(self.body.as_ptr().addr());
        matches!(self.body.get(start.wrapping_add(text.len())), Some(b'"' | b'\''))
    }

    fn value<E: Error>(&mut self, scalar: Scalar) -> Result<Value, E> {
        Ok(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(flag) => Value::Bool(flag),
            Scalar::Integer(number) => Value::Number(number),
            // Upstream makes JSON of YAML first, where a whole number has no point.
            Scalar::Float(double) => match Number::from_f64(double) {
                Some(number) => Value::Number(settled(&number)),
                None => return Err(self.fail(Failure::Placed(resolve::unsupported(double)))),
            },
            Scalar::Text(text) => Value::String(text),
        })
    }

    /// The number of a key that is there already.
    fn twice(&mut self, out: &Object, name: &str) -> Option<usize> {
        if !out.contains_key(name) {
            return None;
        }
        self.met += 1;
        Some(self.met - 1)
    }

    /// Keeps a key that was there already, if it will be told.
    fn keep(&mut self, twice: Option<usize>, shown: impl FnOnce() -> String) {
        if let Some(number) = twice.filter(|_| self.duplicates.len() < MAX_REPORTED) {
            self.duplicates.push((number, shown()));
        }
    }

    /// Merges maps into one: what stands first among them counts.
    fn merge<E: Error>(&mut self, maps: Vec<Value>, out: &mut Object) -> Result<(), E> {
        for map in maps.into_iter().rev() {
            let Value::Object(map) = map else {
                return Err(self.fail(Failure::Whole(NO_MAPS.to_owned())));
            };
            for (name, value) in map {
                let twice = self.twice(out, &name);
                if twice.is_some() && twice == self.stop_at {
                    return Err(E::custom("duplicate"));
                }
                self.keep(twice, || quote(&name));
                out.insert(name, value);
            }
        }
        Ok(())
    }
}

/// What a node is read as.
enum Role<'a> {
    Value,
    /// A value that a tag marks which nobody knows: no scalar is anything but text then.
    Marked,
    Key,
    /// Into this map.
    Merge(&'a mut Object),
}

/// What was read.
pub(super) enum Met {
    Value(Value),
    Name(Name),
    Merge,
}

impl Met {
    /// The value; keys are none.
    pub(super) fn value(self) -> Value {
        match self {
            Met::Value(value) => value,
            Met::Name(_) | Met::Merge => Value::Null,
        }
    }
}

/// A node that comes next.
pub(super) struct Node<'a, 'b> {
    state: &'a mut State<'b>,
    depth: usize,
    role: Role<'a>,
}

impl<'a, 'b> Node<'a, 'b> {
    /// The node of a whole document, which is nested so deep at most.
    pub(super) fn root(state: &'a mut State<'b>, depth: usize) -> Self {
        Node { state, depth, role: Role::Value }
    }

    fn inner<'n, E: Error>(&'n mut self, role: Role<'n>) -> Result<Node<'n, 'b>, E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            self.state.too_deep = true;
            return Err(E::custom("too deep"));
        };
        self.state.nodes += 1;
        // Nodes that have text of their own are fewer than its bytes.
        if self.state.nodes > self.state.body.len() + MAX_ALIASED {
            return Err(self.state.repeats());
        }
        Ok(Node { state: &mut *self.state, depth, role })
    }

    fn scalar<E: Error>(self, scalar: Scalar) -> Result<Met, E> {
        match self.role {
            Role::Value => self.state.value(scalar).map(Met::Value),
            Role::Marked => Ok(Met::Value(Value::String(scalar.into_text()))),
            Role::Key => Ok(Met::Name(resolve::name(scalar))),
            Role::Merge(_) => Err(self.state.fail(Failure::Whole(NO_MAPS.to_owned()))),
        }
    }

    fn collection<E: Error>(self, value: Value) -> Result<Met, E> {
        match (self.role, value) {
            (Role::Value | Role::Marked, value) => Ok(Met::Value(value)),
            (Role::Key, value) => {
                let words = format!("yaml: invalid map key: {}", resolve::shown(&value));
                Err(self.state.fail(Failure::Whole(words)))
            }
            (Role::Merge(out), Value::Array(maps)) => self.state.merge(maps, out).map(|()| Met::Value(Value::Null)),
            (Role::Merge(_), _) => Err(self.state.fail(Failure::Whole(NO_MAPS.to_owned()))),
        }
    }

    /// Reads the members of a map into one that may have some already.
    fn fill<'de, A: MapAccess<'de>>(&mut self, mut map: A, out: &mut Object) -> Result<(), A::Error> {
        let depth = self.depth;
        while let Some(key) = map.next_key_seed(Node { state: &mut *self.state, depth, role: Role::Key })? {
            let Met::Name(key) = key else {
                map.next_value_seed(self.inner::<A::Error>(Role::Merge(&mut *out))?)?;
                continue;
            };
            let twice = self.state.twice(out, &key.text);
            if twice.is_some() && twice == self.state.stop_at {
                return map.next_value_seed(Place);
            }
            let value = map.next_value_seed(self.inner::<A::Error>(Role::Value)?)?.value();
            if let Some((kind, key)) = &key.unfit {
                let value = resolve::shown(&value);
                let words = format!("unsupported map key of type: {kind}, key: {key}, value: {value}");
                return Err(self.state.fail(Failure::Whole(words)));
            }
            self.state.keep(twice, || key.shown());
            out.insert(key.text, value);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Met;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Met, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Met;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can express")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Met, E> {
        self.scalar(Scalar::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Met, E> {
        self.scalar(Scalar::Integer(v.into()))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Met, E> {
        self.scalar(Scalar::Integer(v.into()))
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<Met, E> {
        self.visit_f64(v as f64)
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<Met, E> {
        self.visit_f64(v as f64)
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Met, E> {
        self.scalar(Scalar::Float(v))
    }

    /// Text that the parser changed as it read it, or that has lines of its own: no other kind of scalar looks so.
    fn visit_str<E: Error>(self, v: &str) -> Result<Met, E> {
        self.state.count::<E>(v)?;
        self.scalar(Scalar::Text(v.to_owned()))
    }

    /// Text that stands in the body as it is: what the parser takes for no other kind of scalar, by YAML 1.2, or has quotes.
    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Met, E> {
        if self.state.is_quoted(v) || matches!(self.role, Role::Marked) {
            return self.visit_str(v);
        }
        if v == MERGE && matches!(self.role, Role::Key) {
            return Ok(Met::Merge);
        }
        match resolve::plain(v) {
            Some(scalar) => self.scalar(scalar),
            None => self.visit_str(v),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Met, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Met, E> {
        self.scalar(Scalar::Null)
    }

    /// What a tag marks; those of YAML itself come with a `!` before their word.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Met, A::Error> {
        let (tag, marked) = data.variant::<String>()?;
        let Some(tag) = tag.strip_prefix('!').filter(|tag| resolve::is_scalar(tag)) else {
            let role = if matches!(self.role, Role::Value) { Role::Marked } else { self.role };
            return marked.newtype_variant_seed(Node { state: self.state, depth: self.depth, role });
        };
        let text: String = marked.newtype_variant()?;
        self.state.count::<A::Error>(&text)?;
        if tag == "merge" && text == MERGE && matches!(self.role, Role::Key) {
            return Ok(Met::Merge);
        }
        match resolve::tagged(tag, text) {
            Ok(scalar) => self.scalar(scalar),
            Err(words) => Err(self.state.fail(Failure::Whole(words))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Met, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner::<A::Error>(Role::Value)?)? {
            items.push(item.value());
        }
        self.collection(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Met, A::Error> {
        match mem::replace(&mut self.role, Role::Value) {
            Role::Merge(out) => {
                self.fill(map, out)?;
                Ok(Met::Value(Value::Null))
            }
            role => {
                let mut out = Object::new();
                self.fill(map, &mut out)?;
                self.role = role;
                self.collection(Value::Object(out))
            }
        }
    }
}

/// Fails at a value, for the sake of its place.
struct Place;

impl<'de> DeserializeSeed<'de> for Place {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Place {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
