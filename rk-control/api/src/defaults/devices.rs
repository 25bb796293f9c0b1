//! Dynamic resource allocation.

use super::edit::{child, default, each, text};
use crate::Object;

/// ResourceClaim.
pub(super) fn claim(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        self::spec(spec);
    }
}

/// ResourceClaimTemplate.
pub(super) fn claim_template(object: &mut Object) {
    if let Some(spec) = child(object, "spec").and_then(|s| child(s, "spec")) {
        self::spec(spec);
    }
}

fn spec(spec: &mut Object) {
    let Some(devices) = child(spec, "devices") else {
        return;
    };
    for request in each(devices, "requests") {
        if let Some(exact) = child(request, "exactly") {
            amount(exact);
        }
        for sub in each(request, "firstAvailable") {
            amount(sub);
        }
    }
}

fn amount(request: &mut Object) {
    default(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        default(request, "count", 1);
    }
    for toleration in each(request, "tolerations") {
        default(toleration, "operator", "Equal");
    }
}
