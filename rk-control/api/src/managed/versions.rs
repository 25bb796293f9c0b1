//! The versions in which owners speak.
//!
//! A set of paths is in the words of one version of a kind and is never turned into those of another: objects are. What changes hands is found
//! by comparing the two states of an object in the version of each owner.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::Request;
use super::entry::Managers;
use super::merge::remove;
use super::set::FieldSet;
use super::update::{forget, not_tracked};
use super::walk::{Comparison, compare, owned};
use crate::schema::Schema;
use crate::status::Status;

/// The versions of a kind besides that of a request.
pub trait Versions: fmt::Debug + Sync {
    /// `object`, which carries no ownership, in the version `api_version`: in canonical form and without defaults, which would look like what
    /// somebody said, with the schema of that version. `None` when its kind has no such version, or has it no longer.
    ///
    /// # Errors
    /// There is such a version, and the object cannot be had in it now.
    fn convert(&self, object: Value, api_version: &str) -> Result<Option<(Value, Schema)>, Status>;
}

/// The versions of a kind that has one.
#[derive(Debug, Clone, Copy)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, _: Value, _: &str) -> Result<Option<(Value, Schema)>, Status> {
        Ok(None)
    }
}

/// An object in one of the versions of its kind.
pub(super) struct Spoken<'a> {
    pub object: Cow<'a, Value>,
    schema: Schema,
    api_version: Cow<'a, str>,
}

impl<'a> Spoken<'a> {
    /// An object in the version of the request.
    pub(super) fn own(object: &'a Value, request: &Request<'a>) -> Self {
        Spoken {
            object: Cow::Borrowed(object),
            schema: request.schema.clone(),
            api_version: Cow::Borrowed(request.api_version),
        }
    }

    /// The object in another version; `None` when there is no such version.
    ///
    /// # Errors
    /// As [`Versions::convert`].
    pub(super) fn to<'b>(&'b self, api_version: &'b str, request: &Request<'_>) -> Result<Option<Spoken<'b>>, Status> {
        let api_version = Cow::Borrowed(api_version);
        if api_version == self.api_version {
            let object = Cow::Borrowed(&*self.object);
            return Ok(Some(Spoken { object, schema: self.schema.clone(), api_version }));
        }
        let mut plain = Value::clone(&self.object);
        forget(&mut plain);
        let converted = request.versions.convert(plain, &api_version)?;
        Ok(converted.map(|(object, schema)| Spoken { object: Cow::Owned(object), schema, api_version }))
    }

    /// The object without the paths of a set.
    pub(super) fn without(&self, set: &FieldSet) -> Spoken<'static> {
        Spoken {
            object: Cow::Owned(remove(&self.object, set, &self.schema)),
            schema: self.schema.clone(),
            api_version: Cow::Owned(self.api_version.to_string()),
        }
    }

    /// The paths of a set, with every named field on the way to them.
    pub(super) fn named(&self, mut set: FieldSet) -> FieldSet {
        set.add_named_fields(&self.schema);
        set
    }

    /// The paths of the object, with every named field on the way to them.
    pub(super) fn paths(&self) -> FieldSet {
        self.named(owned(&self.object, &self.schema).unwrap_or_default())
    }
}

/// What changed from one object to another, in the words of every version that owners speak.
pub(super) struct Changes(BTreeMap<String, Comparison>);

impl Changes {
    /// Compares two objects in the request's version and in those of the managers; versions that are no more are left out.
    ///
    /// # Errors
    /// As [`Versions::convert`].
    pub(super) fn between(
        before: &Value,
        after: &Value,
        managers: &Managers,
        request: &Request<'_>,
    ) -> Result<Self, Status> {
        let (before, after) = (Spoken::own(before, request), Spoken::own(after, request));
        let spoken = managers.values().map(|owned| owned.api_version.as_str());
        let versions: BTreeSet<&str> = spoken.chain([request.api_version]).collect();
        let mut found = BTreeMap::new();
        for version in versions {
            if let (Some(old), Some(new)) = (before.to(version, request)?, after.to(version, request)?) {
                let mut changes = compare(&old.object, &new.object, &new.schema);
                changes.ignore(not_tracked(request));
                found.insert(version.to_owned(), changes);
            }
        }
        Ok(Changes(found))
    }

    /// What changed, in the words of a version; `None` when that is no more.
    pub(super) fn of(&self, api_version: &str) -> Option<&Comparison> {
        self.0.get(api_version)
    }

    /// What is new or has another value, in the words of the request.
    pub(super) fn into_own(mut self, request: &Request<'_>) -> FieldSet {
        self.0.remove(request.api_version).map(|own| own.changed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
