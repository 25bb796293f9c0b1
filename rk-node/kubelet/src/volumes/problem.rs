//! Why a pod does not have a volume.

/// A volume that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
pub struct VolumeError {
    /// The volume's name: its own when it is a persistent one, else that in its pod.
    pub volume: String,
    /// Why.
    pub reason: String,
}

impl VolumeError {
    /// Says why about the volume of this name.
    pub fn of(volume: &str) -> impl Fn(String) -> Self {
        move |reason| Self { volume: volume.to_owned(), reason }
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
