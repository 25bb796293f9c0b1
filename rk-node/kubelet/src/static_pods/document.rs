//! Reading what manifests say.

use rk_api::decode::{self, Limits};
use serde_json::Value;

/// What a manifest says, as upstream's kubelet reads it (`ToJSON` of `apimachinery/pkg/util/yaml`): JSON if it begins so, else YAML 1.1,
/// of which the first document counts.
///
/// # Errors
/// It is neither.
pub fn document(text: &str) -> Result<Value, String> {
    // How long it may be is a matter of where it comes from.
    let (bytes, limits) = (text.as_bytes(), Limits { bytes: text.len(), ..Limits::default() });
    let said = if text.trim_start().starts_with('{') {
        decode::untyped_json(bytes, limits)
    } else {
        decode::untyped_yaml(bytes, limits).map(|(said, _)| said)
    };
    said.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::source::{HTTP, parse};
    use super::*;

    #[test]
    fn a_manifest_is_read_by_the_rules_of_yaml_1_1_and_its_first_document_counts() {
        let text = r"
kind: Pod
metadata: {name: web}
spec:
  hostNetwork: yes
  containers:
  - &c {name: c, image: i}
  - <<: *c
    name: d
  volumes:
  - name: v
    downwardAPI: {defaultMode: 0644}
---
kind: Other
";
        let spec = parse(text, Path::new("url:u"), HTTP, "n").unwrap().spec.unwrap();
        let images: Vec<_> = spec.containers.iter().map(|c| (c.name.as_str(), c.image.as_deref())).collect();
        assert_eq!((spec.host_network, images), (Some(true), vec![("c", Some("i")), ("d", Some("i"))]));
        assert_eq!(spec.volumes.unwrap()[0].downward_api.as_ref().unwrap().default_mode, Some(0o644));
        assert!(parse(&text.replace("image: i", "image: 010"), Path::new("url:u"), HTTP, "n").is_err());
        assert_eq!(document("a: off"), Ok(json!({"a": false})));
        assert_eq!(document(" {\"a\": 1}"), Ok(json!({"a": 1})));
        assert!(document("{a: 1}").is_err(), "what begins as JSON does is JSON");
    }
}
