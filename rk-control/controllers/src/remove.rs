//! Deletes what others may have deleted already.

use rk_client::{Deletion, Informer, Object, ObjectKey, is_not_found};

/// Deletes this very object, and not a later one of its name; it may be gone by now.
pub(crate) async fn remove<K: Object>(informer: &Informer<K>, object: &K) -> kube::Result<()> {
    match informer.delete(&ObjectKey::of(object), &Deletion::of_uid(object.meta().uid.as_ref())).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
