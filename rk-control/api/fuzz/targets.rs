//! What the fuzz targets do with bytes. The ordinary tests of rk-api run the same functions over the corpus.

use rk_api::decode::{self, FieldValidation, Limits};
use rk_api::patch::{json_patch, merge_patch, strategic_merge_patch};
use rk_api::pattern;
use rk_api::proto;
use rk_api::resources::GroupVersionKind;
use rk_api::schema::Schema;
use rk_api::selector::{FieldSelector, LabelSelector};
use serde_json::Value;

fn kind(kind: &str) -> GroupVersionKind {
    match kind {
        "Deployment" => GroupVersionKind::new("apps", "v1", "Deployment"),
        "CustomResourceDefinition" => GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        _ => GroupVersionKind::new("", "v1", "Pod"),
    }
}

/// A body as JSON and as YAML: what is taken must be taken again in the form in which it is stored.
pub fn bodies(data: &[u8]) {
    for name in ["Pod", "Deployment", "CustomResourceDefinition"] {
        let Some(schema) = Schema::of_kind(&kind(name)) else { return };
        for decoded in [
            decode::json(data, &schema, FieldValidation::Warn, Limits::default()),
            decode::yaml(data, &schema, FieldValidation::Warn, Limits::default()),
        ] {
            let Ok(decoded) = decoded else { continue };
            let again = decode::finish(decoded.object.clone(), Vec::new(), &schema, FieldValidation::Strict);
            assert_eq!(again.expect("a stored object fits its schema").object, decoded.object);
        }
    }
}

/// The first line is an object, the rest a patch of it, in each of the three kinds.
pub fn patches(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (object, patch) = data.split_at(end);
    let parse = |bytes: &[u8]| decode::untyped_json(bytes, Limits::default());
    let (Ok(object), Ok(patch)) = (parse(object), parse(patch)) else { return };
    let schema = Schema::of_kind(&kind("Pod")).unwrap_or(Schema::ANY);
    let apply: [&dyn Fn(&mut Value) -> bool; 3] =
        [&|value| json_patch(value, &patch).is_ok(), &|value| merge_patch(value, &patch).is_ok(), &|value| {
            strategic_merge_patch(value, &patch, &schema).is_ok()
        }];
    for apply in apply {
        let mut changed = object.clone();
        assert!(apply(&mut changed) || changed == object, "a patch that fails changes nothing");
    }
}

/// Selectors: what is written of a parsed one means the same.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = FieldSelector::parse(text, &kind("Pod"), None);
    if let Ok(selector) = LabelSelector::parse(text) {
        let written = selector.to_string();
        let again = LabelSelector::parse(&written).expect("what is written can be read");
        assert_eq!(again.to_string(), written);
    }
}

/// Protobuf, with and without its envelope.
pub fn protobuf(data: &[u8]) {
    for name in ["Pod", "Deployment", "CustomResourceDefinition"] {
        let mut framed = proto::MAGIC.to_vec();
        framed.extend_from_slice(data);
        for bytes in [data, &framed] {
            if let Ok(object) = proto::decode(bytes, Some(&kind(name)), Limits::default()) {
                let _ = proto::encode(&object);
            }
        }
    }
}

/// The first line is a pattern, the rest a text that is held against it. What is quoted in a pattern is found as it stands, and nothing else.
pub fn patterns(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (written, text) = input.split_once('\n').unwrap_or((input, ""));
    if let Ok(compiled) = pattern::compile(written, 1 << 16) {
        let _ = compiled.is_match(text);
    }
    // A quotation has an end of its own, and longer ones take more than patterns may.
    if written.len() <= 200 && !written.contains("\\E") {
        let quoted =
            pattern::compile(&format!("^\\Q{written}\\E$"), pattern::MAX_SIZE).expect("any text can be quoted");
        assert!(quoted.is_match(written) && !quoted.is_match(&format!("{written}x")), "{quoted}");
    }
}
