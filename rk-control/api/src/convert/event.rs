//! Events: `events.k8s.io/v1` and the core form in which they are stored.

use serde_json::Value;

use super::rename;

/// Name in the core form, name in `events.k8s.io/v1`.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn from_core(event: &mut Value) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for (core, new) in NAMES {
        rename(event, core, new);
    }
}

pub(super) fn to_core(event: &mut Value) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for (core, new) in NAMES {
        rename(event, new, core);
    }
    // The core form always writes the component, even when empty.
    for key in ["reportingComponent", "reportingInstance"] {
        event.entry(key).or_insert_with(|| "".into());
    }
}
