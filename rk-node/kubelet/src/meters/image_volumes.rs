//! Volumes that are images: how many containers want, and what becomes of them.

use super::Counter;

/// Counters of these volumes.
pub struct ImageVolumes {
    requested: Counter,
    mounted: Counter,
    errors: Counter,
}

impl Default for ImageVolumes {
    fn default() -> Self {
        Self {
            requested: Counter::new("kubelet_image_volume_requested_total", "Number of requested image volumes.", &[]),
            mounted: Counter::new(
                "kubelet_image_volume_mounted_succeed_total",
                "Number of successful image volume mounts.",
                &[],
            ),
            errors: Counter::new(
                "kubelet_image_volume_mounted_errors_total",
                "Number of failed image volume mounts.",
                &[],
            ),
        }
    }
}

impl ImageVolumes {
    /// A container that is to start wants the image of a volume here.
    pub fn requested(&self) {
        self.requested.add(&[]);
    }

    /// An image was mounted into a container as a volume, or could not be.
    pub fn mounted(&self, good: bool) {
        let counter = if good { &self.mounted } else { &self.errors };
        counter.add(&[]);
    }

    /// The counters of `/metrics`.
    pub fn counters(&self) -> [&Counter; 3] {
        [&self.requested, &self.mounted, &self.errors]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_volumes_are_counted_as_they_are_wanted_and_as_they_are_mounted() {
        let volumes = ImageVolumes::default();
        volumes.requested();
        for good in [true, false, true] {
            volumes.mounted(good);
        }
        let told = volumes.counters().map(|counter| counter.read().into_values().sum::<u64>());
        assert_eq!(told, [1, 2, 1]);
    }
}
