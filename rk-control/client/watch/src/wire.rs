//! What a server says of a collection, as far as the reflector reads it.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

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

/// What the reflector itself reads of an object.
#[derive(Deserialize)]
pub(crate) struct Revised {
    pub(crate) metadata: Revision,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revision {
    pub(crate) resource_version: Option<String>,
}

/// A status in the place of an object.
#[derive(Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) message: String,
}
