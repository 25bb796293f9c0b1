//! Metadata that the server alone writes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::time::format_time;

/// Characters of name suffixes: no vowels (no words), no digits that look like letters.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random suffix.
const SUFFIX: usize = 5;
/// Longest base, so that the name stays a DNS label.
const MAX_BASE: usize = 63 - SUFFIX;

/// A new UID.
pub fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `base`, cut where needed, plus five random characters.
pub fn generate_name(base: &str) -> String {
    let mut end = base.len().min(MAX_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    for _ in 0..SUFFIX {
        let index = rand::random_range(0..ALPHABET.len());
        name.push(ALPHABET.get(index).copied().map_or('x', char::from));
    }
    name
}

/// Takes out of a client's new object what only the server says: uid, times, selfLink.
pub fn wipe_system_fields(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
}

/// Gives a new object its name (from `generateName` when it has none), uid and creationTimestamp, and removes what clients may
/// not set on creation: resourceVersion and what [`wipe_system_fields`] does.
pub fn fill_system_fields(object: &mut Value, now: Timestamp) {
    wipe_system_fields(object);
    let Some(root) = object.as_object_mut() else {
        return;
    };
    let metadata = root.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    metadata.remove("resourceVersion");
    let unnamed = metadata.get("name").and_then(Value::as_str).unwrap_or_default().is_empty();
    if let Some(base) = metadata.get("generateName").and_then(Value::as_str).filter(|b| unnamed && !b.is_empty()) {
        let name = generate_name(base);
        metadata.insert("name".into(), name.into());
    }
    metadata.insert("uid".into(), new_uid().into());
    metadata.insert("creationTimestamp".into(), format_time(now).into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_labels_even_with_a_long_base() {
        let name = generate_name("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generate_name(&"a".repeat(200)).len(), 63);
    }

    #[test]
    fn what_only_the_server_says_is_not_taken_from_clients() {
        let mut object = json!({"metadata": {"name": "x", "uid": "u", "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 7}});
        wipe_system_fields(&mut object);
        assert_eq!(object, json!({"metadata": {"name": "x", "generation": 7}}));
    }

    #[test]
    fn a_new_object_gets_what_only_the_server_writes() {
        let mut object = json!({"metadata": {"generateName": "x-", "resourceVersion": "7", "deletionTimestamp": "2024-01-01T00:00:00Z"}});
        fill_system_fields(&mut object, "2024-01-02T03:04:05Z".parse().unwrap());
        let metadata = &object["metadata"];
        assert!(metadata["name"].as_str().unwrap().starts_with("x-"));
        assert_eq!(metadata["creationTimestamp"], "2024-01-02T03:04:05Z");
        assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
        assert!(metadata.get("resourceVersion").is_none() && metadata.get("deletionTimestamp").is_none());
    }
}
