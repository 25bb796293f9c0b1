//! Volumes of a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::get::{empty, field, int, list, named, one_of, text, token_life};
use super::super::{claim, metadata, sources};
use super::Owner;
use super::env::{field_ref, resource_ref};
use super::mounts::relative;
use crate::meta::{at, dns1123_label, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Fields of the pod that a file may show.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const MODE_MAX: i64 = 0o777;

/// Checks the volumes and returns their names, with whether each may be a block device.
///
/// A volume that breaks a rule is not there for containers.
pub(super) fn volumes<'a>(
    spec: &'a Value,
    owner: Owner,
    path: &Path<'_>,
    errors: &mut FieldErrors,
) -> BTreeMap<&'a str, bool> {
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(index);
        let before = errors.0.len();
        source(volume, owner, &path, errors);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            named(errors, &path.child("name"), name, dns1123_label(name));
        }
        if names.contains_key(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if errors.0.len() == before {
            let device = ["persistentVolumeClaim", "ephemeral"].iter().any(|kind| field(volume, kind).is_some());
            names.insert(name, device);
        }
    }
    names
}

/// Kinds of sources, in the order in which the first of several is taken.
const ORDER: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &Value, owner: Owner, path: &Path<'_>, errors: &mut FieldErrors) {
    let sources: Vec<(&str, &Value)> =
        ORDER.iter().filter_map(|kind| field(volume, kind).map(|source| (*kind, source))).collect();
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
    }
    for (index, (kind, value)) in sources.into_iter().enumerate() {
        let (inner, whole) = sources::told_as(kind);
        if index > 0 {
            errors.forbidden(&path.child(whole), "may not specify more than 1 volume type");
        } else {
            one(kind, value, owner, &path.child(inner), errors);
        }
        let name = text(volume, "name");
        if sources::too_long_for_iscsi(name, kind, value) {
            errors.invalid(&path.child("name"), name, sources::TOO_LONG_FOR_ISCSI);
        }
    }
}

fn one(kind: &str, source: &Value, owner: Owner, path: &Path<'_>, errors: &mut FieldErrors) {
    sources::fields(kind, source, path, errors);
    match kind {
        "secret" | "configMap" => files(source, path, errors),
        "gitRepo" => relative(text(source, "directory"), &path.child("directory"), errors),
        "csi" => {
            let driver = text(source, "driver");
            sources::driver(driver, &path.child("driver"), errors);
            if let Some(secret) = field(source, "nodePublishSecretRef") {
                let name = text(secret, "name");
                if name.is_empty() {
                    errors.required(&path.child("nodePublishSecretRef").child("name"), "");
                } else {
                    named(errors, &path.child("name"), name, dns1123_subdomain(name));
                }
            }
        }
        "image" => {
            // A template may leave it to whoever fills it in.
            if owner == Owner::Pod && empty(source, "reference") {
                errors.required(&path.child("reference"), "");
            }
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
                let (path, template) = (path.child("volumeClaimTemplate"), at(source, &["volumeClaimTemplate"]));
                metadata::template(at(template, &["metadata"]), &path.child("metadata"), errors);
                claim::spec(at(template, &["spec"]), &path.child("spec"), errors);
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
        if empty(item, "key") {
            errors.required(&path.child("key"), "");
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
    unreserved(target, &path, errors);
}

/// A relative path that does not look like one of the writer's own.
fn unreserved(target: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    relative(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.invalid(path, target, "must not start with '..'");
    }
}

fn downward(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    // Upstream's paths do not tell which item.
    for item in list(source, "items") {
        file_path(item, path, errors);
        match (field(item, "fieldRef"), field(item, "resourceFieldRef")) {
            (Some(_), Some(_)) => {
                errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            }
            (Some(reference), None) => field_ref(reference, &FILE_FIELDS, &path.child("fieldRef"), errors),
            (None, Some(reference)) => resource_ref(reference, true, &path.child("resourceFieldRef"), errors),
            (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", path, errors);
    }
}

fn projected(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    mode(source, "defaultMode", path, errors);
    let mut targets = BTreeSet::new();
    for (index, part) in list(source, "sources").iter().enumerate() {
        let all = path.child("sources");
        let here = all.index(index);
        let mut kinds = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let Some(value) = field(part, kind) else { continue };
            kinds += 1;
            projection(kind, value, path, &here.child(kind), errors);
            for target in list(value, "items").iter().map(|item| text(item, "path")).filter(|t| !t.is_empty()) {
                if !targets.insert(target) {
                    let shown = if kind == "downwardAPI" { target } else { text(value, "name") };
                    errors.invalid(path, shown, "conflicting duplicate paths");
                }
            }
        }
        if kinds > 1 {
            errors.forbidden(&here, "may not specify more than 1 volume type per source");
        }
    }
}

/// One source of a projected volume. `volume` is the path of the volume itself: upstream tells of a token's path there.
fn projection(kind: &str, value: &Value, volume: &Path<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    match kind {
        "secret" | "configMap" => {
            if text(value, "name").is_empty() {
                errors.required(&path.child("name"), "");
            }
            files(value, path, errors);
        }
        "downwardAPI" => downward(value, path, errors),
        "serviceAccountToken" => {
            let seconds = int(value, "expirationSeconds").unwrap_or(0);
            token_life(errors, &path.child("expirationSeconds"), seconds);
            file_path(value, volume, errors);
        }
        _ => {}
    }
}

/// The claims that are made for a pod's volumes: they have names of claims, and no other volume takes one.
pub(super) fn own_claims(pod: &str, spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if pod.is_empty() {
        return;
    }
    let volumes = path.child("volumes");
    let made = |volume: &Value| field(volume, "ephemeral").map(|_| format!("{pod}-{}", text(volume, "name")));
    let all: BTreeSet<String> = list(spec, "volumes").iter().filter_map(made).collect();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let (here, name) = (volumes.index(index), text(volume, "name"));
        for claim in made(volume).into_iter().filter(|_| !name.is_empty()) {
            for why in dns1123_subdomain(&claim) {
                errors.invalid(&here.child("name"), name, format!("PVC name {claim:?}: {why}"));
            }
        }
        let claim = text(at(volume, &["persistentVolumeClaim"]), "claimName");
        if all.contains(claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&here.child("persistentVolumeClaim").child("claimName"), claim, why);
        }
    }
}

/// A token of an account is for pods that have one.
pub(super) fn tokens(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    if !text(spec, "serviceAccountName").is_empty() {
        return;
    }
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        for (at, part) in list(field(volume, "projected").unwrap_or(&Value::Null), "sources").iter().enumerate() {
            if field(part, "serviceAccountToken").is_some() {
                let volumes = path.child("volumes");
                let volume = volumes.index(index);
                let sources = volume.child("projected");
                let sources = sources.child("sources");
                let why = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&sources.index(at).child("serviceAccountToken"), why);
            }
        }
    }
}
