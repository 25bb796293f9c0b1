//! Why a pod does not have a volume.

/// A volume that is not brought to its pod.
const SET_UP: &str = "MountVolume.SetUp failed";
/// One that is, and that could not be grown.
const GROWTH: &str = "MountVolume.Setup failed while expanding volume";

/// A volume that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{step} for volume \"{volume}\" : {reason}")]
pub struct VolumeError {
    /// What failed, as upstream calls it.
    pub(super) step: &'static str,
    /// The volume's name: its own when it is a persistent one, else that in its pod.
    pub volume: String,
    /// Why.
    pub reason: String,
    /// The node has had no room for it for so long that the pod is to wait no longer.
    pub crowded: bool,
}

impl VolumeError {
    /// Says why about the volume of this name.
    pub fn of(volume: &str) -> impl Fn(String) -> Self {
        move |reason| Self { step: SET_UP, volume: volume.to_owned(), reason, crowded: false }
    }

    /// Says why a volume could not be grown.
    pub fn of_growth(volume: String, reason: String) -> Self {
        Self { step: GROWTH, volume, reason, crowded: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_cannot_be_had_is_told_by_its_name() {
        let told = Err::<(), _>("it is gone".to_owned()).map_err(VolumeError::of("pv")).map_err(|e| e.to_string());
        assert_eq!(told, Err("MountVolume.SetUp failed for volume \"pv\" : it is gone".to_owned()));
    }
}
