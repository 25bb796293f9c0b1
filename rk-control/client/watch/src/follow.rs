//! A collection as typed events, for loops that keep of it what they need.

use crate::key::{Object, ObjectKey};
use crate::reflector::{Collection, Selection, Told, reflect};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// One thing that happened to a collection.
#[derive(Debug, Clone)]
pub enum Event<K> {
    /// A list begins: what an unfinished one brought is void.
    Begin,
    /// An object of the list.
    Listed(K),
    /// The list is complete: what it did not bring is gone.
    Complete,
    /// An object is new or has changed.
    Applied(K),
    /// An object is gone; this was its last state.
    Deleted(K),
    /// An object of the list, or one that has changed, is there and cannot be read: what was known of it before still holds.
    Unread(ObjectKey),
    /// An object is gone, whose last state cannot be read.
    Vanished(ObjectKey),
}

/// Objects of kind `K`, for ever: the stream resumes on its own, with back-off.
pub fn follow<K: Object>(client: Client, selection: Selection) -> BoxStream<'static, Event<K>> {
    let collection = Collection::of::<K>(selection);
    let kind = collection.kind.clone();
    reflect(client, collection).filter_map(move |told| std::future::ready(read(&kind, told))).boxed()
}

/// What the metadata of all objects of a resource goes through, whatever else they are.
pub fn follow_metadata(client: Client, resource: &ApiResource) -> BoxStream<'static, Event<ObjectMeta>> {
    let path = DynamicObject::url_path(resource, None);
    let collection = Collection { kind: resource.kind.clone().into(), path, selection: Selection::default() };
    let kind = collection.kind.clone();
    let read = move |told| {
        let event = match read::<Bare>(&kind, told)? {
            Event::Begin => Event::Begin,
            Event::Complete => Event::Complete,
            Event::Listed(object) => Event::Listed(object.metadata),
            Event::Applied(object) => Event::Applied(object.metadata),
            Event::Deleted(object) => Event::Deleted(object.metadata),
            Event::Unread(key) => Event::Unread(key),
            Event::Vanished(key) => Event::Vanished(key),
        };
        Some(event)
    };
    reflect(client, collection).filter_map(move |told| std::future::ready(read(told))).boxed()
}

/// An object of which nothing else is read.
#[derive(Deserialize)]
struct Bare {
    metadata: ObjectMeta,
}

impl Collection {
    /// Objects of kind `K` in all namespaces.
    pub fn of<K: Object>(selection: Selection) -> Self {
        Self { kind: K::kind(&()), path: K::url_path(&(), None), selection }
    }
}

/// The typed event of what was told; nothing for an object that has not even a name.
pub fn read<K: DeserializeOwned>(kind: &str, told: Told) -> Option<Event<K>> {
    let (object, event): (_, fn(K) -> Event<K>) = match &told {
        Told::Begin => return Some(Event::Begin),
        Told::Complete(_) => return Some(Event::Complete),
        Told::Listed(object) => (object, Event::Listed),
        Told::Applied(object) => (object, Event::Applied),
        Told::Deleted(object) => (object, Event::Deleted),
    };
    match serde_json::from_str(object.get()) {
        Ok(read) => Some(event(read)),
        Err(error) => {
            let key = named(kind, object, &error)?;
            Some(if matches!(told, Told::Deleted(_)) { Event::Vanished(key) } else { Event::Unread(key) })
        }
    }
}

/// One object that cannot be read must not hide the others; its name is the way to mend it.
fn named(kind: &str, object: &RawValue, error: &serde_json::Error) -> Option<ObjectKey> {
    let key = ObjectKey::in_text(object.get());
    let name = key.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::warn!(kind, object = name, %error, "an object cannot be read and is passed over");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn told(event: fn(Box<RawValue>) -> Told, text: &str) -> Option<String> {
        let object = RawValue::from_string(text.to_owned()).expect("JSON");
        Some(match read::<ConfigMap>("ConfigMap", event(object))? {
            Event::Begin | Event::Complete => unreachable!("an object was told"),
            Event::Listed(map) => format!("listed {}", ObjectKey::of(&map)),
            Event::Applied(map) => format!("applied {}", ObjectKey::of(&map)),
            Event::Deleted(map) => format!("deleted {}", ObjectKey::of(&map)),
            Event::Unread(key) => format!("unread {key}"),
            Event::Vanished(key) => format!("vanished {key}"),
        })
    }

    #[test]
    fn what_cannot_be_read_has_at_least_a_name() {
        let good = r#"{"metadata":{"namespace":"n","name":"a"},"data":{"k":"v"}}"#;
        let bad = r#"{"metadata":{"namespace":"n","name":"a"},"data":{"k":7}}"#;
        assert_eq!(told(Told::Listed, good).as_deref(), Some("listed n/a"));
        assert_eq!(told(Told::Applied, good).as_deref(), Some("applied n/a"));
        assert_eq!(told(Told::Deleted, good).as_deref(), Some("deleted n/a"));
        assert_eq!(told(Told::Listed, bad).as_deref(), Some("unread n/a"));
        assert_eq!(told(Told::Applied, bad).as_deref(), Some("unread n/a"));
        assert_eq!(told(Told::Deleted, bad).as_deref(), Some("vanished n/a"));
        assert_eq!(told(Told::Listed, r#"{"data":7}"#), None);
    }
}
