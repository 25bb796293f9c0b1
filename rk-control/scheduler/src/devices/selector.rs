//! Selectors of classes and requests, compiled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceSelector};
use rk_cel::device::{Attribute, compile};
use rk_cel::{Failure, Program, Value};

use super::amount::amount;

/// Most compiled selectors that are kept; clusters have a handful.
const MAX_KEPT: usize = 64;

/// A selector, or why it cannot be used.
type Compiled = Result<Arc<Program>, Arc<str>>;

/// Compiled selectors by their text, so that each is compiled once and not for each pod. Copies share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs(Arc<Mutex<HashMap<String, Compiled>>>);

impl Programs {
    fn get(&self, expression: &str) -> Compiled {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(expression) {
            return known.clone();
        }
        let made: Compiled = compile(expression).map(Arc::new).map_err(Arc::from);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(expression.to_owned(), made.clone());
        made
    }
}

/// A selector and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    compiled: Compiled,
    /// `class x: selector #0`, to tell whose it is when it fails.
    place: String,
}

impl Selector {
    /// Reads the selectors of `owner`.
    ///
    /// # Errors
    /// One is of a kind that is not known.
    pub(crate) fn all(
        list: Option<&Vec<DeviceSelector>>,
        owner: &str,
        programs: &Programs,
    ) -> Result<Vec<Self>, String> {
        let all = list.into_iter().flatten().enumerate();
        all.map(|(index, selector)| {
            let place = format!("{owner}: selector #{index}");
            let Some(cel) = &selector.cel else {
                return Err(format!("{place}: CEL expression empty (unsupported selector type?)"));
            };
            Ok(Self { compiled: programs.get(&cel.expression), place })
        })
        .collect()
    }

    /// Whether the selector means a device, and what it cost to find out.
    ///
    /// # Errors
    /// It fails on this device, or does not compile.
    pub(crate) fn means(&self, device: &Result<Value<'_>, Failure>) -> (Result<bool, String>, u64) {
        let program = match &self.compiled {
            Ok(program) => program,
            Err(why) => return (Err(format!("{}: CEL compile error: {why}", self.place)), 0),
        };
        let (outcome, cost) = match device {
            Ok(device) => rk_cel::device::holds(program, device),
            Err(failure) => (Err(failure.clone()), 0),
        };
        (outcome.map_err(|failure| format!("{}: CEL runtime error: {failure}", self.place)), cost)
    }
}

/// What an attribute is worth; nothing when it is a list, which selectors and constraints do not know.
pub(crate) fn worth(attribute: &DeviceAttribute) -> Option<Attribute<'_>> {
    let text = || attribute.string.as_deref().map(Attribute::Text);
    let version = || attribute.version.as_deref().map(Attribute::Version);
    let number = attribute.int.map(Attribute::Int);
    number.or_else(|| attribute.bool.map(Attribute::Bool)).or_else(text).or_else(version)
}

/// A device as selectors see it.
pub(crate) fn value<'a>(driver: &'a str, device: &'a Device) -> Result<Value<'a>, Failure> {
    let attributes = device.attributes.iter().flatten();
    let capacity = device.capacity.iter().flatten();
    let seen = rk_cel::device::Device {
        driver,
        shared: device.allow_multiple_allocations == Some(true),
        attributes: attributes.map(|(name, own)| (name.as_str(), worth(own))).collect(),
        capacity: capacity.map(|(name, own)| (name.as_str(), amount(&own.value))).collect(),
    };
    seen.value()
}
