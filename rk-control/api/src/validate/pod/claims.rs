//! Devices that a pod claims (KEP-4381) or gets by the names of extended resources (KEP-5004), and resources of a pod as a whole (KEP-2837).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{amount, entries, field, list, named, required_name, text};
use super::super::resources;
use crate::meta::{Quantity, at, dns1123_label, dns1123_subdomain};
use crate::status::{CLAIM_OF_POD, ErrorKind, FieldErrors, Path};

/// `resourceClaims` of the pod; returns their names.
pub(super) fn claims<'a>(spec: &'a Value, path: &Path<'_>, errors: &mut FieldErrors) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            named(errors, &path.child("name"), name, dns1123_label(name));
            names.insert(name);
        }
        let own = field(claim, "resourceClaimName").and_then(Value::as_str);
        let template = field(claim, "resourceClaimTemplateName").and_then(Value::as_str);
        match (own, template) {
            (Some(_), Some(_)) => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&path, CLAIM_OF_POD.of(claim), why);
            }
            (None, None) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&path, CLAIM_OF_POD.of(claim), why);
            }
            _ => {}
        }
        for (key, value) in [("resourceClaimName", own), ("resourceClaimTemplateName", template)] {
            if let Some(value) = value {
                named(errors, &path.child(key), value, dns1123_subdomain(value));
            }
        }
    }
    names
}

/// `resourceClaimStatuses` of the pod's status: each is of one of its claims.
pub(super) fn made(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("resourceClaimStatuses");
    let known: BTreeSet<&str> = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    let mut seen = BTreeSet::new();
    for (index, own) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("name");
        let name = text(own, "name");
        if !known.contains(name) {
            errors.invalid(&path, name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        if let Some(claim) = field(own, "resourceClaimName").and_then(Value::as_str) {
            // Upstream's path is that of the entry's own name.
            named(errors, &path, claim, dns1123_subdomain(claim));
        }
    }
}

/// `extendedResourceClaimStatus` of the pod's status: the claim that a scheduler made, and whose requests are which of its devices.
pub(super) fn extended(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(own) = field(status, "extendedResourceClaimStatus") else { return };
    let path = path.child("extendedResourceClaimStatus");
    let all = list(own, "requestMappings");
    let mappings = path.child("requestMappings");
    if all.is_empty() {
        errors.required(&mappings, "at least one request mapping is required");
    }
    let containers = ["initContainers", "containers"].into_iter().flat_map(|kind| list(spec, kind));
    let containers: BTreeMap<&str, &Value> = containers.map(|own| (text(own, "name"), own)).collect();
    let mut seen = BTreeSet::new();
    for (index, mapping) in all.iter().enumerate() {
        let here = mappings.index(index);
        let of = |key: &str| text(mapping, key);
        let (container, resource, request) = (of("containerName"), of("resourceName"), of("requestName"));
        match containers.get(container) {
            None => {
                let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.invalid(&here.child("containerName"), container, why);
            }
            Some(asks) if field(at(asks, &["resources", "requests"]), resource).is_none() => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or \
                           spec.containers.resources.requests";
                errors.invalid(&here.child("resourceName"), resource, why);
            }
            Some(_) => {}
        }
        // Upstream's path is not that of the mapping.
        named(errors, &path.child("requestName"), request, dns1123_label(request));
        if !seen.insert((container, resource, request)) {
            for (key, value) in [("containerName", container), ("resourceName", resource), ("requestName", request)] {
                errors.duplicate(&here.child(key), value);
            }
        }
    }
    required_name(errors, &path.child("resourceClaimName"), text(own, "resourceClaimName"), dns1123_subdomain);
}

/// `resources.claims` of a container: each is one of the pod's.
pub(super) fn used(resources: &Value, known: &BTreeSet<&str>, path: &Path<'_>, errors: &mut FieldErrors) {
    let path = path.child("claims");
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (index, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let before = seen.entry(name).or_default();
        let whole = before.contains("");
        if !whole && !request.is_empty() {
            named(errors, &path.child("request"), request, dns1123_label(request));
        }
        if whole || (request.is_empty() && !before.is_empty()) {
            errors.duplicate(&path, name);
        } else if before.contains(request) {
            errors.duplicate(&path, format!("{name}/{request}"));
        }
        before.insert(request);
        if !known.contains(name) {
            errors.push(ErrorKind::NotFound, &path, name, known_claims(known));
        }
    }
}

fn known_claims(known: &BTreeSet<&str>) -> String {
    let all: Vec<&str> = known.iter().copied().collect();
    let names = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
    format!("must be one of the names in pod.spec.resourceClaims{names}")
}

/// The most of a resource that the containers ask for (`requests`) or may have (`limits`) at one time: init containers run
/// one by one, beside the sidecars that began before them.
pub(crate) fn needed(spec: &Value, side: &str, resource: &str) -> Quantity {
    let request = |container: &Value| amount(at(container, &["resources", side, resource]));
    let (mut sidecars, mut peak) = (Quantity::default(), Quantity::default());
    for container in list(spec, "initContainers") {
        let with = sidecars + request(container);
        if text(container, "restartPolicy") == "Always" {
            sidecars = with;
        }
        peak = peak.max(with);
    }
    let together = list(spec, "containers").iter().fold(sidecars, |sum, c| sum + request(c));
    peak.max(together)
}

/// `resources` of the pod: whole numbers for all its containers together.
pub(super) fn pod_resources(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(own) = field(spec, "resources") else { return };
    let here = path.child("resources");
    if text(at(spec, &["os"]), "name") == "windows" {
        return errors.forbidden(&here, "may not be set for a windows pod");
    }
    if !list(own, "claims").is_empty() {
        errors.forbidden(&here.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    resources::requirements_of(own, resources::of_pod, &here, errors);
    for (side, kind) in [("requests", ""), ("limits", "hugepages-")] {
        for (name, wanted) in entries(own, side).filter(|(name, _)| name.starts_with(kind)) {
            let sum = needed(spec, side, name);
            if sum > amount(wanted) {
                let why = format!("must be greater than or equal to aggregate container {side} of {sum}");
                errors.invalid(&here.child(side).key(name), wanted.clone(), why);
            }
        }
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        // Upstream's path begins with that of the pod's resources.
        let path = here.child("containers");
        let path = path.index(index);
        for (name, limit) in entries(at(container, &["resources"]), "limits") {
            let Some((_, most)) = entries(own, "limits").find(|(known, _)| *known == name) else { continue };
            if amount(limit) > amount(most) {
                let why = format!("must be less than or equal to pod limits of {}", amount(most));
                errors.invalid(&path.key(name).child("limits"), limit.clone(), why);
            }
        }
    }
}
