//! Sources of volumes that are reached over a wire: what their own protocols ask for.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

use super::super::get::{empty, entries, field, flag, in_range, int, named, one_of, text};
use crate::meta::dns1123_label;
use crate::status::{FieldErrors, Path};

/// Names of iSCSI nodes (RFC 3720, section 3.2.6): how one begins, and what it is then.
static ISCSI_NAMES: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    [
        ("iqn", r"iqn\.[0-9]{4}-[0-9]{2}\.([0-9A-Za-z.-]+)(:[^,;*&$|\s]+)$"),
        ("eui", r"^eui.[0-9A-Za-z]{16}$"),
        ("naa", r"^naa.[0-9A-Za-z]{32}$"),
    ]
    .into_iter()
    .filter_map(|(start, form)| Some((start, Regex::new(form).ok()?)))
    .collect()
});
const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";

pub(super) fn fields(kind: &str, source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    match kind {
        "iscsi" => iscsi(source, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => flex(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        "quobyte" => quobyte(source, path, errors),
        "storageos" => storage_os(source, path, errors),
        "cinder" => super::secret(source, &["name"], path, errors),
        "rbd" | "cephfs" if empty(source, "monitors") => errors.required(&path.child("monitors"), ""),
        _ => {}
    }
}

fn iscsi(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    iscsi_name(text(source, "iqn"), &path.child("iqn"), errors);
    if let Some(initiator) = field(source, "initiatorName").and_then(Value::as_str) {
        // Upstream's path is in small letters.
        iscsi_name(initiator, &path.child("initiatorname"), errors);
    }
    in_range(errors, &path.child("lun"), int(source, "lun").unwrap_or(0), 0, 255);
    let authenticates = flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession");
    if authenticates && field(source, "secretRef").is_none() {
        errors.required(&path.child("secretRef"), "");
    }
}

fn iscsi_name(name: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        return;
    }
    match ISCSI_NAMES.iter().find(|(start, _)| name.starts_with(start)) {
        None => errors.invalid(path, name, "must be valid format starting with iqn, eui, or naa"),
        Some((_, form)) if !form.is_match(name) => errors.invalid(path, name, "must be valid format"),
        Some(_) => {}
    }
}

fn fibre_channel(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let targets = path.child("targetWWNs");
    match (empty(source, "targetWWNs"), empty(source, "wwids")) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            let named = source.get("targetWWNs").cloned().unwrap_or_default();
            errors.invalid(&targets, named, "targetWWNs and wwids can not be specified simultaneously");
        }
        _ => {}
    }
    if !empty(source, "targetWWNs") {
        match int(source, "lun") {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) => in_range(errors, &path.child("lun"), lun, 0, 255),
        }
    }
}

fn flex(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (option, _) in entries(source, "options") {
        let namespace = option.split_once('/').map_or(option, |(namespace, _)| namespace);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.child("options").key(option), option, why);
        }
    }
}

fn flocker(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let name = text(source, "datasetName");
    match (name, text(source, "datasetUUID")) {
        ("", "") => errors.required(path, "one of datasetName and datasetUUID is required"),
        ("", _) | (_, "") => {}
        _ => errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"),
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn azure_disk(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let (kind, uri) = (text(source, "kind"), text(source, "diskURI"));
    let caching = text(source, "cachingMode");
    one_of(errors, &path.child("cachingMode"), caching, &["None", "ReadOnly", "ReadWrite"], false);
    one_of(errors, &path.child("kind"), kind, &["Dedicated", "Managed", "Shared"], false);
    let (start, form) = match kind {
        "" => return,
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if !uri.starts_with(start) {
        errors.unsupported(&path.child("diskURI"), uri, &[form]);
    }
}

fn quobyte(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.required(&path.child("registry"), PAIRS);
        return;
    }
    if text(source, "tenant").len() > 64 {
        errors.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
        return;
    }
    let wrong = registry.split(',').filter(|pair| !is_host_and_port(pair)).count();
    for _ in 0..wrong {
        errors.invalid(&path.child("registry"), registry, PAIRS);
    }
}

/// Whether a text has one colon outside of brackets that sets a port apart.
fn is_host_and_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') => host.ends_with(']'),
        Some((host, _)) => !host.contains([':', '[', ']']),
        None => false,
    }
}

fn storage_os(source: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for key in ["volumeName", "volumeNamespace"] {
        let name = text(source, key);
        if !name.is_empty() {
            named(errors, &path.child(key), name, dns1123_label(name));
        }
    }
    super::secret(source, &["name"], path, errors);
}
