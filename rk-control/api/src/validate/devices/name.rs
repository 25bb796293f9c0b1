//! Names of pools, of attributes and of requests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{list, named, text};
use super::super::storage::driver_name;
use super::{MAX, bounded, unique};
use crate::meta::{SUBDOMAIN_MAX, c_identifier, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Longest name of an attribute, without its domain.
const ID_MAX: usize = 32;
/// Longest key that is shown: a domain, a slash and a name.
const SHOWN_MAX: usize = 63 + 1 + ID_MAX;

/// The name of a pool: domains with slashes between them.
pub(super) fn pool(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > SUBDOMAIN_MAX {
        errors.too_long(path, SUBDOMAIN_MAX);
    }
    for part in name.split('/') {
        named(errors, path, part, dns1123_subdomain(part));
    }
}

fn identifier(id: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if id.len() > ID_MAX {
        errors.too_long(path, ID_MAX);
    }
    named(errors, path, id, c_identifier(id));
}

/// The name of an attribute or capacity, with or without the domain of its driver.
pub(super) fn qualified(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                driver_name(errors, path, domain);
            }
            if id.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                identifier(id, path, errors);
            }
        }
        _ => errors.invalid(path, name, "must not contain more than one slash"),
    }
}

/// The name of an attribute with its domain.
pub(super) fn fully_qualified(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    qualified(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// A key as it is shown in paths: what is too long loses its middle.
pub(super) fn shown(key: &str) -> String {
    let count = key.chars().count();
    if count <= SHOWN_MAX {
        return key.to_owned();
    }
    let rest = SHOWN_MAX - "...".len();
    let (head, tail) = (rest.div_ceil(2), rest / 2);
    let head: String = key.chars().take(head).collect();
    let tail: String = key.chars().skip(count - tail).collect();
    format!("{head}...{tail}")
}

/// The requests of a claim by name, each with the names of its alternatives.
pub(super) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    /// Of the `devices` of a claim.
    pub(super) fn of(devices: &'a Value) -> Self {
        let mut requests: BTreeMap<&'a str, BTreeSet<&'a str>> = BTreeMap::new();
        for request in list(devices, "requests") {
            let alternatives = list(request, "firstAvailable").iter().map(|sub| text(sub, "name"));
            requests.entry(text(request, "name")).or_default().extend(alternatives);
        }
        Self(requests)
    }

    fn has(&self, name: &str) -> bool {
        let (request, sub) = name.split_once('/').map_or((name, None), |(request, sub)| (request, Some(sub)));
        self.0.get(request).is_some_and(|subs| sub.is_none_or(|sub| subs.contains(sub)))
    }

    /// A name that must be one of a request, or of one of its alternatives.
    pub(super) fn reference(&self, name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
        let why =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.split('/').count() > 2 {
            return errors.invalid(path, name, why);
        }
        for part in name.split('/') {
            named(errors, path, part, dns1123_label(part));
        }
        if !self.has(name) {
            errors.invalid(path, name, why);
        }
    }

    /// The `requests` that a constraint or a configuration is about.
    pub(super) fn references(&self, holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
        let items = bounded(holder, "requests", MAX, path, errors);
        let path = path.child("requests");
        for (index, name) in items.iter().enumerate() {
            self.reference(name.as_str().unwrap_or_default(), &path.index(index), errors);
        }
        unique(items.iter().filter_map(Value::as_str), &path, errors);
    }
}
