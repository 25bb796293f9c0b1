//! Volumes of a pod.

use serde_json::Value;

use super::super::get::{empty, field, int, list, named, one_of, text, token_life};
use super::super::sources;
use super::env::{field_ref, resource_ref};
use super::mounts::relative;
use crate::meta::{at, config_map_key, dns1123_label};
use crate::status::{FieldErrors, Path};

/// Fields of the pod that a file may show.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const MODE_MAX: i64 = 0o777;

/// Checks the volumes and returns their names, with whether each may be a block device.
pub(super) fn volumes<'a>(spec: &'a Value, path: &Path<'_>, errors: &mut FieldErrors) -> Vec<(&'a str, bool)> {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            named(errors, &path.child("name"), name, dns1123_label(name));
        }
        if names.iter().any(|(n, _)| *n == name) {
            errors.duplicate(&path.child("name"), name);
        }
        let device = ["persistentVolumeClaim", "ephemeral"].iter().any(|kind| field(volume, kind).is_some());
        names.push((name, device));
        source(volume, &path, errors);
    }
    names
}

fn source(volume: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let sources: Vec<(&str, &Value)> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, v)| *k != "name" && !v.is_null())
        .map(|(k, v)| (k.as_str(), v))
        .collect();
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for (index, (kind, value)) in sources.into_iter().enumerate() {
        let here = path.child(kind);
        if index > 0 {
            errors.forbidden(&here, "may not specify more than 1 volume type");
            continue;
        }
        one(kind, value, &here, errors);
    }
}

fn one(kind: &str, source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    sources::fields(kind, source, path, errors);
    match kind {
        "secret" | "configMap" => files(source, path, errors),
        "csi" => {
            let driver = text(source, "driver");
            sources::driver(driver, &path.child("driver"), errors);
            let secret = field(source, "nodePublishSecretRef");
            if secret.is_some_and(|secret| text(secret, "name").is_empty()) {
                errors.required(&path.child("nodePublishSecretRef").child("name"), "");
            }
        }
        "image" => {
            let policy = text(source, "pullPolicy");
            one_of(errors, &path.child("pullPolicy"), policy, &["Always", "IfNotPresent", "Never"], false);
        }
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            downward(source, path, errors);
        }
        "projected" => projected(source, path, errors),
        "emptyDir" => {
            let limit = at(source, &["sizeLimit"]).as_str().and_then(|t| t.parse::<crate::meta::Quantity>().ok());
            if limit.is_some_and(|l| l.sign() < 0) {
                errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "ephemeral" => {
            if field(source, "volumeClaimTemplate").is_none() {
                errors.required(&path.child("volumeClaimTemplate"), "");
            } else {
                let path = path.child("volumeClaimTemplate");
                super::super::volume::claim_spec(
                    at(source, &["volumeClaimTemplate", "spec"]),
                    &path.child("spec"),
                    errors,
                );
            }
        }
        _ => {}
    }
}

fn mode(source: &Value, key: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(mode) = int(source, key).filter(|m| !(0..=MODE_MAX).contains(m)) {
        errors.invalid(&path.child(key), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// Items of a Secret or ConfigMap as files.
fn files(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    mode(source, "defaultMode", path, errors);
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items");
        let path = path.index(index);
        let key = text(item, "key");
        if key.is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            named(errors, &path.child("key"), key, config_map_key(key));
        }
        file_path(item, &path, errors);
        mode(item, "mode", &path, errors);
    }
}

fn file_path(item: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let target = text(item, "path");
    let path = path.child("path");
    if target.is_empty() {
        errors.required(&path, "");
        return;
    }
    relative(target, &path, errors);
    if target.starts_with("..") && !target.starts_with("../") && target != ".." {
        errors.invalid(&path, target, "must not start with '..'");
    }
}

fn downward(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = path.child("items");
        let path = path.index(index);
        file_path(item, &path, errors);
        match (field(item, "fieldRef"), field(item, "resourceFieldRef")) {
            (Some(_), Some(_)) => {
                errors.invalid(&path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            }
            (Some(reference), None) => field_ref(reference, &FILE_FIELDS, &path.child("fieldRef"), errors),
            (None, Some(reference)) => resource_ref(reference, true, &path.child("resourceFieldRef"), errors),
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", &path, errors);
    }
}

fn projected(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    mode(source, "defaultMode", path, errors);
    let mut targets: Vec<&str> = Vec::new();
    for (index, part) in list(source, "sources").iter().enumerate() {
        let path = path.child("sources");
        let path = path.index(index);
        let mut kinds = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let Some(value) = field(part, kind) else { continue };
            kinds += 1;
            let path = path.child(kind);
            match kind {
                "secret" | "configMap" => {
                    if text(value, "name").is_empty() {
                        errors.required(&path.child("name"), "");
                    }
                    files(value, &path, errors);
                    targets.extend(list(value, "items").iter().map(|i| text(i, "path")));
                }
                "downwardAPI" => downward(value, &path, errors),
                "serviceAccountToken" => {
                    let seconds = int(value, "expirationSeconds").unwrap_or(0);
                    token_life(errors, &path.child("expirationSeconds"), seconds);
                    if empty(value, "path") {
                        errors.required(&path.child("path"), "");
                    } else {
                        relative(text(value, "path"), &path.child("path"), errors);
                    }
                }
                _ => {}
            }
        }
        match kinds {
            0 => errors.required(&path, "must specify at least one volume type"),
            1 => {}
            _ => errors.forbidden(&path, "may not specify more than 1 volume type"),
        }
    }
    targets.sort_unstable();
    for pair in targets.windows(2) {
        if let [a, b] = pair
            && a == b
            && !a.is_empty()
        {
            errors.invalid(path, *a, "conflicting duplicate paths");
        }
    }
}
