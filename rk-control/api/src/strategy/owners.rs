//! Owner references, each once.

use std::collections::HashSet;

use serde_json::Value;

use crate::meta::text;

/// Removes the owner references of an object that it has already; answers their UIDs. Two that differ in anything are two.
pub fn dedup_owners(object: &mut Value) -> Vec<String> {
    let owners = object.get_mut("metadata").and_then(|metadata| metadata.get_mut("ownerReferences"));
    let Some(owners) = owners.and_then(Value::as_array_mut).filter(|owners| owners.len() > 1) else {
        return Vec::new();
    };
    let (mut known, mut twice) = (HashSet::new(), Vec::new());
    owners.retain(|owner| {
        let first = known.insert(owner.to_string());
        if !first {
            twice.push(text(owner, &["uid"]).to_owned());
        }
        first
    });
    twice
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owners_that_are_named_twice_are_named_once() {
        let owner =
            |uid: &str, controller: bool| json!({"kind": "A", "name": "a", "uid": uid, "controller": controller});
        let all = [owner("1", true), owner("2", false), owner("1", true), owner("1", false)];
        let mut object = json!({"metadata": {"ownerReferences": all}});
        assert_eq!(dedup_owners(&mut object), ["1"]);
        assert_eq!(
            object["metadata"]["ownerReferences"],
            json!([owner("1", true), owner("2", false), owner("1", false)])
        );
        assert_eq!(dedup_owners(&mut object), Vec::<String>::new());
        assert_eq!(dedup_owners(&mut json!({})), Vec::<String>::new());
    }
}
