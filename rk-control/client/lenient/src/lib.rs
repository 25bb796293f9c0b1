//! Objects of the API read as leniently as upstream's clients read them.
//!
//! Anybody who may write a status can leave out the time of a condition, and the server stores that as `null`. For upstream's clients
//! this is the zero time; the types of `k8s-openapi` refuse the whole object, and with it the whole list that it is in.

use std::borrow::Cow;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The zero time of upstream's clients.
const ZERO: &str = "0001-01-01T00:00:00Z";

/// An object whose `status.conditions` may lack their times. It stands for the object everywhere else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lenient<K>(pub K);

impl<K> Deref for Lenient<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.0
    }
}

impl<K: Serialize> Serialize for Lenient<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text, so that a type has one way to be read: ways that each program instantiates are most of its size.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(object) = serde_json::from_str(text.get()) {
            return Ok(Self(object));
        }
        let mut object: Value = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        complete(&mut object);
        serde_json::from_str(&object.to_string()).map(Self).map_err(D::Error::custom)
    }
}

fn complete(object: &mut Value) {
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let time = condition.entry("lastTransitionTime").or_insert(Value::Null);
        if time.is_null() {
            *time = Value::from(ZERO);
        }
    }
}

impl<K: kube::Resource> kube::Resource for Lenient<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use kube::api::ObjectList;
    use serde_json::json;

    #[test]
    fn a_condition_without_its_time_spoils_no_list() {
        let service = |condition: Value| json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.0.9"}, "status": {"conditions": [condition]}});
        let known = json!({"type": "A", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for condition in
            [json!({"type": "A", "status": "True", "lastTransitionTime": null}), json!({"type": "A"}), known.clone()]
        {
            let text = service(condition.clone()).to_string();
            assert_eq!(serde_json::from_str::<Service>(&text).is_ok(), condition == known);
            let read: Lenient<Service> = serde_json::from_str(&text).expect("a Service");
            let conditions = read.status.as_ref().and_then(|status| status.conditions.as_ref()).expect("conditions");
            let time = if condition == known { "2026-01-01T00:00:00Z" } else { ZERO };
            assert_eq!(conditions[0].last_transition_time.0.to_string(), time);
        }
        let list = json!({"metadata": {}, "items": [service(json!({"type": "A"}))]}).to_string();
        assert!(serde_json::from_str::<ObjectList<Service>>(&list).is_err());
        let read: ObjectList<Lenient<Service>> = serde_json::from_str(&list).expect("a list");
        assert_eq!(read.items[0].spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()), Some("10.96.0.9"));
    }
}
