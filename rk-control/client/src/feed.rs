//! The metadata of what informers cache, for readers that care for no type.

use crate::informer::{Change, Informer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_watch::Object;

/// A change of an object, as far as its metadata shows it.
#[derive(Debug, Clone, Copy)]
pub enum Presence<'a> {
    /// The object is there, new or changed.
    Here(&'a ObjectMeta),
    /// The object is gone; this is its last known state. Another one may have its name.
    Gone(&'a ObjectMeta),
}

/// Called as handlers of [`Informer::on_change`] are: in order, and shortly.
pub type MetaHandler = Box<dyn Fn(Presence<'_>) + Send + Sync>;

/// An informer of all objects of a kind, whatever their type.
pub trait Feed: Send + Sync {
    /// Tells of every object from now on, and of those that are cached already.
    fn on_metadata(&self, handler: MetaHandler);

    /// Whether there ever was an object that its type cannot hold: of such the cache, and so this feed, says nothing.
    fn has_misread(&self) -> bool;
}

impl<K: Object> Feed for Informer<K> {
    fn on_metadata(&self, handler: MetaHandler) {
        self.on_change(move |change| tell(change, &handler));
    }

    fn has_misread(&self) -> bool {
        self.misread()
    }
}

fn tell<K: Object>(change: &Change<K>, handler: &MetaHandler) {
    // One object may have taken the place of another of its name unseen.
    if let Change::Updated { old, new } = change
        && old.meta().uid != new.meta().uid
    {
        handler(Presence::Gone(old.meta()));
    }
    match change {
        Change::Added(object) | Change::Updated { new: object, .. } => handler(Presence::Here(object.meta())),
        Change::Deleted(last) => handler(Presence::Gone(last.meta())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::sync::{Arc, Mutex};

    fn map(uid: &str) -> Arc<ConfigMap> {
        let metadata = ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() };
        Arc::new(ConfigMap { metadata, ..ConfigMap::default() })
    }

    #[test]
    fn an_object_in_the_place_of_another_means_that_the_other_is_gone() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&told);
        let handler: MetaHandler = Box::new(move |presence: Presence<'_>| {
            let (word, meta) = match presence {
                Presence::Here(meta) => ("here", meta),
                Presence::Gone(meta) => ("gone", meta),
            };
            notes.lock().unwrap().push(format!("{word} {}", meta.uid.as_deref().unwrap_or_default()));
        });
        tell(&Change::Added(map("a")), &handler);
        tell(&Change::Updated { old: map("a"), new: map("a") }, &handler);
        tell(&Change::Updated { old: map("a"), new: map("b") }, &handler);
        tell(&Change::Deleted(map("b")), &handler);
        assert_eq!(*told.lock().unwrap(), ["here a", "here a", "gone a", "here b", "gone b"]);
    }
}
