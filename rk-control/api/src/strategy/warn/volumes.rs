//! Volumes of pods: kinds that are no more, and files of one volume that take each other's place.

use serde_json::Value;

use super::{Found, list, storage};
use crate::meta::{at, text};
use crate::status::Path;

/// Kinds of old: the field, as upstream shows it, and what to say of it.
const OF_OLD: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
/// The sources of projected volumes: the field, its kind, and what names the one that is meant.
const SOURCES: [(&str, &str, &[&str]); 5] = [
    ("configMap", "ConfigMap", &["name"]),
    ("secret", "Secret", &["name"]),
    ("downwardAPI", "DownwardAPI", &[]),
    ("serviceAccountToken", "ServiceAccountToken", &[]),
    ("clusterTrustBundle", "ClusterTrustBundle", &["name", "signerName"]),
];
/// Most paths of one volume that others are compared with.
const COMPARED: usize = 256;

/// The volumes of a pod.
pub(super) fn check(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let (volumes, path) = (list(spec, "volumes"), path.child("volumes"));
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        of_old(volume, &path, found);
        let claim = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]);
        storage::claim_spec(claim, &path.child("ephemeral.volumeClaimTemplate.spec"), found);
    }
    for volume in volumes {
        let name = text(volume, &["name"]);
        for (field, kind, named) in
            [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")]
        {
            let source = at(volume, &[field]);
            let whose = || format!("volume {name:?} ({})", label(kind, text(source, &[named])));
            compare(paths(source), &mut Vec::new(), whose, found);
        }
        projected(volume, name, found);
    }
}

/// A volume, or a PersistentVolume's spec, of a kind that is no more.
pub(super) fn of_old(volume: &Value, path: &Path<'_>, found: &mut Found) {
    for (field, shown, what) in OF_OLD {
        if !at(volume, &[field]).is_null() {
            found.about(&path.child(shown), what);
        }
    }
}

fn projected(volume: &Value, name: &str, found: &mut Found) {
    let mut seen = Vec::new();
    for source in list(at(volume, &["projected"]), "sources") {
        if source.as_object().is_none_or(serde_json::Map::is_empty) {
            found.say(format_args!("volume {name:?} (Projected) has no sources provided"));
        }
        let kinds = SOURCES.iter().find(|(field, _, _)| !at(source, &[*field]).is_null());
        let Some((field, kind, named)) = kinds else { continue };
        let source = at(source, &[*field]);
        let whose = || {
            let named = named.iter().map(|field| text(source, &[*field])).find(|name| !name.is_empty());
            format!("volume {name:?} (Projected {})", label(kind, named.unwrap_or_default()))
        };
        compare(paths(source), &mut seen, whose, found);
    }
}

fn label(kind: &str, name: &str) -> String {
    if name.is_empty() { kind.to_owned() } else { format!("{kind} {name:?}") }
}

/// The files that a source makes, as far as it names them itself.
fn paths(source: &Value) -> Vec<&str> {
    match text(source, &["path"]) {
        "" => list(source, "items").iter().map(|item| text(item, &["path"])).collect(),
        path => vec![path],
    }
}

/// Tells of paths that are those of earlier ones, or begin as they do.
fn compare<'a>(paths: Vec<&'a str>, seen: &mut Vec<&'a str>, whose: impl Fn() -> String, found: &mut Found) {
    for path in paths {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            continue;
        }
        if let Some(other) = seen.iter().find(|other| other.starts_with(path) || path.starts_with(**other)) {
            found.say(format_args!("{}: overlapping paths: {path:?} with {other:?}", whose()));
        }
        if seen.len() < COMPARED {
            seen.push(path);
        }
    }
}
