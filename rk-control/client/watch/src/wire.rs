//! What a server says of a collection, as far as the reflector reads it.

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) metadata: PageMeta,
    #[serde(default)]
    pub(crate) items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMeta {
    pub(crate) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) happened: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
}

/// `metadata.resourceVersion` of an object, if it has one. Of its text, which is known to be JSON, nothing is read after that: what follows
/// is the bulk of it.
pub(crate) fn revision(object: &RawValue) -> Option<String> {
    let mut found = None;
    let seek = Seek { members: &["metadata", "resourceVersion"], found: &mut found };
    // What was found ends the reading as an error does.
    let _ = seek.deserialize(&mut serde_json::Deserializer::from_str(object.get()));
    found.filter(|revision: &String| !revision.is_empty())
}

/// Looks for a text along a path of members.
struct Seek<'a> {
    members: &'a [&'a str],
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if !self.members.is_empty() {
            return value.deserialize_map(self);
        }
        *self.found = Deserialize::deserialize(value)?;
        Err(D::Error::custom("found"))
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Some((wanted, below)) = self.members.split_first() else { return Ok(()) };
        while let Some(Is(is_wanted)) = object.next_key_seed(Name(wanted))? {
            if is_wanted {
                object.next_value_seed(Seek { members: below, found: &mut *self.found })?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Tells whether a member is the one of this name.
struct Name<'a>(&'a str);
struct Is(bool);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Is;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Is, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Is;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Is, E> {
        Ok(Is(name == self.0))
    }
}

/// A status in the place of an object.
#[derive(Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_the_one_of_the_objects_own_metadata() {
        for (text, expected) in [
            (r#"{"kind":"Pod","metadata":{"name":"a","resourceVersion":"7"},"spec":{}}"#, Some("7")),
            (r#"{"data":{"resourceVersion":"1","metadata":"x"},"metadata":{"resourceVersion":"7"}}"#, Some("7")),
            (r#"{"spec":{"metadata":{"resourceVersion":"1"}},"metadata":{"labels":{"resourceVersion":"2"}}}"#, None),
            (r#"{"metadata":{"\u0072esourceVersion":"7"}}"#, Some("7")),
            (r#"{"metadata":{"resourceVersion":""}}"#, None),
            (r#"{"metadata":{"resourceVersion":null}}"#, None),
            (r#"{"metadata":{"resourceVersion":7}}"#, None),
            (r#"{"metadata":null}"#, None),
            ("[]", None),
        ] {
            let object: &RawValue = serde_json::from_str(text).expect("JSON");
            assert_eq!(revision(object).as_deref(), expected, "{text}");
        }
    }
}
