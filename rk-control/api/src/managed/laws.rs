//! Laws of ownership that hold for all configurations.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{canonical, deployment, fields, request, schema};
use super::{FieldSet, Request, apply};

/// A configuration over a few fields, list elements and labels.
fn config() -> impl Strategy<Value = Value> {
    let small = proptest::option::of(0..3i64);
    let labels = proptest::collection::btree_map("[a-c]", "[xy]", 0..3);
    let containers = proptest::collection::btree_map("[a-c]", proptest::option::of("[12]"), 0..3);
    (small, proptest::option::of(any::<bool>()), labels, containers).prop_map(
        |(replicas, paused, labels, containers)| {
            let mut object = deployment(json!({}));
            if let Some(replicas) = replicas {
                object["spec"]["replicas"] = json!(replicas);
            }
            if let Some(paused) = paused {
                object["spec"]["paused"] = json!(paused);
            }
            if !labels.is_empty() {
                object["metadata"]["labels"] = json!(labels);
            }
            if !containers.is_empty() {
                let list: Vec<Value> = containers
                    .into_iter()
                    .map(|(name, image)| image.map_or(json!({"name": name}), |i| json!({"name": name, "image": i})))
                    .collect();
                object["spec"]["template"] = json!({"spec": {"containers": list}});
            }
            object
        },
    )
}

fn forced(live: Option<&Value>, config: &Value, manager: &str) -> Value {
    canonical(apply(live, config, &Request { force: true, ..request(&schema(), manager) }).unwrap())
}

proptest! {
    #[test]
    fn applying_twice_equals_applying_once(a in config(), b in config()) {
        let live = forced(None, &a, "a");
        let once = forced(Some(&live), &b, "b");
        prop_assert_eq!(&forced(Some(&once), &b, "b"), &once);
    }

    #[test]
    fn what_is_applied_is_what_is_there(a in config(), b in config()) {
        let result = forced(Some(&forced(None, &a, "a")), &b, "b");
        for pointer in ["/spec/replicas", "/metadata/labels/a", "/metadata/labels/b"] {
            if let Some(want) = b.pointer(pointer) {
                prop_assert_eq!(result.pointer(pointer), Some(want));
            }
        }
    }

    #[test]
    fn the_empty_configuration_gives_back_everything(a in config(), b in config()) {
        let live = forced(None, &a, "a");
        let with = forced(Some(&live), &b, "b");
        let without = forced(Some(&with), &deployment(json!({})), "b");
        prop_assert_eq!(fields(&without, "b"), Value::Null);
    }

    #[test]
    fn managers_of_different_fields_commute(replicas in 0..5i64, paused in any::<bool>(), labels in proptest::collection::btree_map("[a-c]", "[xy]", 1..3)) {
        let first = deployment(json!({"replicas": replicas, "paused": paused}));
        let mut second = deployment(json!({}));
        second["metadata"]["labels"] = json!(labels);
        let content = |mut object: Value| {
            object["metadata"].as_object_mut().unwrap().remove("managedFields");
            object
        };
        let ab = content(forced(Some(&forced(None, &first, "a")), &second, "b"));
        let ba = content(forced(Some(&forced(None, &second, "b")), &first, "a"));
        prop_assert_eq!(ab, ba);
    }

    #[test]
    fn set_algebra_holds(a in config(), b in config()) {
        let set = |value: &Value| super::walk::owned(value, &schema()).unwrap();
        let (a, b) = (set(&a), set(&b));
        let (mut only, both) = (a.clone(), a.intersection(&b));
        only.subtract(&b);
        prop_assert!(only.intersection(&b).is_empty());
        only.absorb(both);
        prop_assert_eq!(&only, &a);
        prop_assert_eq!(FieldSet::parse(&a.encode()).unwrap(), a);
    }
}
