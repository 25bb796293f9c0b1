//! Paths of the node itself that pods have: looked at, or made, when a pod gets them, and not again.
//!
//! Upstream mounts each volume of a pod once and goes back only to those whose content changes (`RequiresRemount`). A path of the node that
//! goes away later is no matter of the volume any more: who starts a container finds out. A kubelet that begins anew looks once more.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::csi::Placed;

/// Volumes of one pod, by name; devices are held open.
type Own = BTreeMap<String, (Placed, Option<File>)>;

/// What is settled, by the pod's UID.
#[derive(Debug, Default)]
pub struct Settled(Mutex<HashMap<String, Own>>);

impl Settled {
    /// Where a pod has a volume already.
    pub fn get(&self, uid: &str, volume: &str) -> Option<Placed> {
        self.pods().get(uid)?.get(volume).map(|(placed, _)| placed.clone())
    }

    /// The pod has the volume from now on. A device is held open as long: while it is, the kernel gives its name to no other one that is
    /// plugged in, which a container that begins anew would write to.
    pub fn note(&self, uid: &str, volume: &str, placed: &Placed) {
        let held = match placed {
            Placed::Device(path) => hold(path),
            Placed::Tree(_) => None,
        };
        self.pods().entry(uid.to_owned()).or_default().insert(volume.to_owned(), (placed.clone(), held));
    }

    /// The pod's volumes are taken down.
    pub fn forget(&self, uid: &str) {
        self.pods().remove(uid);
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a device without waiting for it; one of characters is not, for which opening may be a deed.
fn hold(path: &Path) -> Option<File> {
    if fs::metadata(path).ok()?.file_type().is_char_device() {
        return None;
    }
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).ok()
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

    #[test]
    fn a_device_is_held_as_long_as_a_pod_has_it() {
        let device = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let is_open = || {
            let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
            all.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|open| open == *device)
        };
        let settled = Settled::default();
        settled.note("a", "v", &Placed::Device(device.to_path_buf()));
        assert!(is_open());
        settled.forget("a");
        assert!(!is_open());
    }
}
