//! Paths of the node itself that pods have: looked at, or made, when a pod gets them, and not again.
//!
//! Upstream mounts each volume of a pod once and goes back only to those whose content changes (`RequiresRemount`). A path of the node that
//! goes away later is no matter of the volume any more: who starts a container finds out. A kubelet that begins anew looks once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::csi::Placed;

/// Volumes of one pod, by name.
type Own = BTreeMap<String, Placed>;

/// What is settled, by the pod's UID.
#[derive(Debug, Default)]
pub struct Settled(Mutex<HashMap<String, Own>>);

impl Settled {
    /// Where a pod has a volume already.
    pub fn get(&self, uid: &str, volume: &str) -> Option<Placed> {
        self.pods().get(uid)?.get(volume).cloned()
    }

    /// The pod has the volume from now on.
    pub fn note(&self, uid: &str, volume: &str, placed: &Placed) {
        self.pods().entry(uid.to_owned()).or_default().insert(volume.to_owned(), placed.clone());
    }

    /// The pod's volumes are taken down.
    pub fn forget(&self, uid: &str) {
        self.pods().remove(uid);
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_settled_for_its_pod_until_that_is_taken_down() {
        let (settled, placed) = (Settled::default(), Placed::Tree("/srv".into()));
        settled.note("a", "v", &placed);
        assert_eq!(settled.get("a", "v"), Some(placed));
        assert_eq!((settled.get("a", "w"), settled.get("b", "v")), (None, None));
        settled.forget("a");
        assert_eq!(settled.get("a", "v"), None);
    }
}
