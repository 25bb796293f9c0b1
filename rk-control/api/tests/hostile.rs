//! What clients send is never trusted: nothing here may panic, hang or blow up, whatever the bytes.

use proptest::prelude::*;
use rk_api::decode::{self, FieldValidation, Form, Limits};
use rk_api::resources::{GroupVersionKind, Registry};
use rk_api::schema::Schema;
use rk_api::selector::{FieldSelector, LabelSelector};
use rk_api::{convert, defaults, managed, meta, patch, pattern, proto, scale, strategy, table};
use serde_json::{Value, json};

/// Each case visits every so many kinds, so that all kinds are visited within seconds.
const SAMPLE: usize = 8;

fn schema() -> Schema {
    Schema::of_kind(&GroupVersionKind::new("", "v1", "Pod")).expect("a built-in kind")
}

/// Any JSON, with the names of real fields often in it.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "(apiVersion|kind|metadata|spec|status|name|labels|annotations|containers|image|ports|containerPort|resources|limits|env|valueFrom)",
        "(volumes|emptyDir|selector|matchLabels|template|replicas|strategy|rollingUpdate|finalizers|managedFields|fieldsV1|ownerReferences)",
        "(rules|subjects|roleRef|data|type|webhooks|versions|schema|conditions|tolerations|affinity|\\$patch|\\$retainKeys)",
        "[a-zA-Z$./:]{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        "[a-zA-Z0-9./:%*-]{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("100m"),
            Just("1Gi"),
            Just("25%"),
            Just("2024-01-01T00:00:00Z"),
            Just("delete"),
            Just("replace")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// An object that looks like one of a kind.
fn any_object() -> impl Strategy<Value = Value> {
    (any_json(), any_json(), any_json())
        .prop_map(|(metadata, spec, status)| json!({"metadata": metadata, "spec": spec, "status": status}))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let limits = Limits { bytes: 150, depth: 8 };
        let _ = decode::json(&bytes, &schema(), FieldValidation::Strict, limits);
        let _ = decode::yaml(&bytes, &schema(), FieldValidation::Warn, limits);
        let _ = proto::decode(&bytes, None, limits);
        let mut framed = proto::MAGIC.to_vec();
        framed.extend(&bytes);
        let _ = proto::decode(&framed, Some(&GroupVersionKind::new("", "v1", "Pod")), limits);
    }

    #[test]
    fn text_decodes_as_serde_decodes_it(value in any_json()) {
        let text = value.to_string();
        prop_assert_eq!(decode::untyped_json(text.as_bytes(), Limits::default()).unwrap(), value);
    }

    #[test]
    fn truncated_text_is_refused(value in any_object(), cut in 1usize..40) {
        let text = value.to_string();
        let end = text.len().saturating_sub(cut);
        prop_assert!(decode::untyped_json(&text.as_bytes()[..end], Limits::default()).is_err());
    }

    #[test]
    fn selectors_parse_or_are_refused(text in "[a-z!=<>(), \\\\inotx0-9./]{0,24}") {
        let _ = FieldSelector::parse(&text, &GroupVersionKind::new("", "v1", "Pod"), None);
        if let Ok(selector) = LabelSelector::parse(&text) {
            // What is written can be read again, and means the same.
            let again = LabelSelector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(again, selector);
        }
    }

    #[test]
    fn patterns_compile_or_are_refused(text in "[]a1,:^$.|?*+(){}\\\\QExpP\u{e9}\\[-]{0,24}") {
        let _ = pattern::compile(&text, 1 << 16);
    }

    #[test]
    fn amounts_parse_or_are_refused(text in "[+-]?[0-9.]{0,24}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,4}") {
        if let Ok(amount) = text.parse::<meta::Quantity>() {
            let again: meta::Quantity = amount.to_string().parse().unwrap();
            prop_assert_eq!(again, amount);
        }
    }

    #[test]
    fn any_value_survives_every_step_of_a_write(object in any_object(), other in any_object(), first in 0usize..SAMPLE) {
        for resource in Registry::builtin().iter().skip(first).step_by(SAMPLE) {
            let mut new = object.clone();
            if decode::fit(&mut new, &resource.schema, Form::Canonical).is_err() {
                // Not even the shape of its kind: still nothing may break.
                new = object.clone();
            }
            let mut old = other.clone();
            let _ = decode::fit(&mut old, &resource.schema, Form::Canonical);
            defaults::apply(&resource.gvk, &mut new);
            strategy::prepare_for_create(resource, &mut new);
            let _ = strategy::validate_create(resource, &new);
            strategy::prepare_for_update(resource, None, &mut new, &old);
            let _ = strategy::validate_update(resource, None, &new, &old);
            for subresource in &resource.subresources {
                let mut part = new.clone();
                strategy::prepare_for_update(resource, Some(&subresource.name), &mut part, &old);
                let _ = strategy::validate_update(resource, Some(&subresource.name), &part, &old);
            }
            let _ = strategy::warnings(resource, None, &new, Some(&old));
            let _ = strategy::grace_period(resource, &new, Some(-1));
            let _ = table::table(resource, [&new].into_iter(), &json!({}), table::IncludeObject::Object, jiff::Timestamp::UNIX_EPOCH);
            let _ = scale::view(resource, &new);
            let hub = GroupVersionKind::new(resource.hub.0.clone(), resource.hub.1.clone(), resource.gvk.kind.clone());
            let _ = convert::convert(new.clone(), &hub).map(|hub| convert::convert(hub, &resource.gvk));
            let _ = proto::encode(&new);
        }
    }

    #[test]
    fn patches_apply_or_are_refused(object in any_object(), change in any_json()) {
        for step in [patch::json_patch, patch::merge_patch] {
            let mut patched = object.clone();
            let _ = step(&mut patched, &change);
        }
        let mut patched = object.clone();
        if patch::strategic_merge_patch(&mut patched, &change, &schema()).is_err() {
            prop_assert_eq!(patched, object);
        }
    }

    #[test]
    fn ownership_is_recorded_of_anything(old in any_object(), new in any_object()) {
        let schema = schema();
        let request = managed::Request { schema: &schema, manager: "m", api_version: "v1", subresource: "", force: true, now: jiff::Timestamp::UNIX_EPOCH, has_status: true, status_resets: &managed::SPEC, versions: &managed::OneVersion };
        let mut after = new.clone();
        managed::update(Some(&old), &mut after, &request);
        let _ = managed::apply(Some(&old), &new, &request);
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point(object in any_object(), first in 0usize..SAMPLE) {
        for resource in Registry::builtin().iter().skip(first).step_by(SAMPLE) {
            let mut once = object.clone();
            if decode::fit(&mut once, &resource.schema, Form::Canonical).is_ok() {
                let mut twice = once.clone();
                prop_assert_eq!(decode::fit(&mut twice, &resource.schema, Form::Canonical), Ok(vec![]));
                prop_assert_eq!(&twice, &once, "{}", resource.plural);
            }
        }
    }
}
