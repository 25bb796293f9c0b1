//! Sizes of images, as pulls are told apart by them.

/// Sizes of images: more than so many MiB are told as that.
const SIZES: [(u64, &str); 12] = [
    (102_400, "GT100GB"),
    (61_440, "60GB-100GB"),
    (40_960, "40GB-60GB"),
    (30_720, "30GB-40GB"),
    (20_480, "20GB-30GB"),
    (10_240, "10GB-20GB"),
    (5120, "5GB-10GB"),
    (1024, "1GB-5GB"),
    (500, "500MB-1GB"),
    (100, "100MB-500MB"),
    (10, "10MB-100MB"),
    (0, "0-10MB"),
];

/// Upstream's name of an image's size; a runtime that does not know it says 0.
pub(super) fn size_class(size: u64) -> &'static str {
    let fits = SIZES.iter().find(|(above, _)| size > above << 20);
    fits.map_or("N/A", |(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Meters;
    use super::*;

    #[test]
    fn pulls_are_timed_by_the_size_of_their_image() {
        for (size, want) in [
            (0, "N/A"),
            (1, "0-10MB"),
            (10 << 20, "0-10MB"),
            ((10 << 20) + 1, "10MB-100MB"),
            (2 << 30, "1GB-5GB"),
            (u64::MAX, "GT100GB"),
        ] {
            assert_eq!(size_class(size), want, "{size}");
        }
        let meters = Meters::default();
        meters.pulled(5, Duration::from_secs(2));
        let key = vec!["0-10MB".to_owned()];
        let told = meters.image_pulls.read();
        assert_eq!(told.get(&key).map(|spread| (spread.count, spread.within[1])), Some((1, 1)));
    }
}
