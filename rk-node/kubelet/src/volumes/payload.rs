//! Which files a ConfigMap, Secret or downward API volume holds. Values only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::atomic_writer::{FileEntry, Payload};
use crate::pod::spec;
use crate::translate::{FieldContext, field_value, resource_value};

/// Mode of files when neither item nor volume says one.
pub const DEFAULT_MODE: i32 = 0o644;

fn mode(item: Option<i32>, default: Option<i32>) -> u32 {
    item.or(default).unwrap_or(DEFAULT_MODE).unsigned_abs() & 0o777
}

fn entry(data: Vec<u8>, mode: u32) -> FileEntry {
    FileEntry { data, mode, owner: None }
}

/// The keys of a ConfigMap as bytes.
pub fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

/// The keys of a Secret as bytes.
pub fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

/// Chosen keys (all without `items`) as files.
pub fn keyed(
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
    kind: &str,
) -> Result<Payload, String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return Ok(data.into_iter().map(|(key, value)| (key, entry(value, mode(None, default)))).collect());
    };
    let mut files = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                files.insert(item.path.clone(), entry(value.clone(), mode(item.mode, default)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(files)
}

/// Downward API items as files.
pub fn downward(
    pod: &Pod,
    context: &FieldContext,
    items: &[DownwardAPIVolumeFile],
    default: Option<i32>,
) -> Result<Payload, String> {
    let mut files = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(pod, context, &field.field_path)?
        } else if let Some(resource) = &item.resource_field_ref {
            resource_value(pod, context, None, resource)?
        } else {
            return Err(format!("item {} refers to nothing", item.path));
        };
        files.insert(item.path.clone(), entry(text.into_bytes(), mode(item.mode, default)));
    }
    Ok(files)
}

/// The user that all containers run as, when it is one and the same: service account tokens belong to it.
pub fn common_user(pod: &Pod) -> Option<u32> {
    let mut users = spec::init_containers(pod)
        .iter()
        .chain(spec::app_containers(pod))
        .map(|c| crate::translate::effective(pod, c).run_as_user.and_then(|u| u32::try_from(u).ok()));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

/// A service account token or trust anchors as a file: private as soon as an owner or group is known for it.
pub fn private_entry(data: Vec<u8>, default: Option<i32>, owner: Option<u32>, fs_group: Option<i64>) -> FileEntry {
    let mode = if owner.is_some() || fs_group.is_some() { 0o600 } else { mode(None, default) };
    FileEntry { data, mode, owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_choose_rename_and_set_modes() {
        let data = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let all = keyed(data.clone(), None, Some(0o400), false, "config").unwrap();
        assert_eq!(all.get("a"), Some(&entry(b"1".to_vec(), 0o400)));
        let item = |key: &str, path: &str, mode| KeyToPath { key: key.into(), path: path.into(), mode };
        let some = keyed(data.clone(), Some(&[item("b", "x/y", Some(0o600))]), None, false, "config").unwrap();
        assert_eq!(some, Payload::from([("x/y".to_owned(), entry(b"2".to_vec(), 0o600))]));
        for kind in ["config", "secret"] {
            let found = keyed(data.clone(), Some(&[item("z", "z", None)]), None, false, kind);
            assert_eq!(found, Err(format!("references non-existent {kind} key: z")));
        }
        assert!(keyed(data, Some(&[item("z", "z", None)]), None, true, "config").unwrap().is_empty());
    }
}
