//! Versions of rk, and below which of them a machine does not go.

use std::cmp::Ordering;
use std::fmt;

/// The oldest version that can read what this one leaves on STATE and DATA. A machine remembers it once this one was good.
pub const MINIMUM: &str = "0.1.0";
/// File on the state disk that remembers it.
pub const MINIMUM_FILE: &str = "minimum-version";

/// `major.minor.patch[-pre]`, as Semantic Versioning 2.0 orders them: a pre-release comes before its release. Pre-releases of one
/// version are not told apart, for none is newer than the other to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    numbers: [u32; 3],
    release: bool,
}

impl Version {
    /// Reads one; what stands behind `+` is left out.
    pub fn parse(text: &str) -> Option<Version> {
        let text = text.trim().split('+').next()?;
        let (numbers, release) = text.split_once('-').map_or((text, true), |(numbers, _)| (numbers, false));
        let mut parts = numbers.split('.').map(|part| part.parse::<u32>().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Version { numbers, release })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        (self.numbers, self.release).cmp(&(other.numbers, other.release))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}{}", if self.release { "" } else { "-pre" })
    }
}

/// What an EFI program's `.osrel` says of its version; `None` when it says nothing that can be compared.
pub fn of_release(osrel: &str) -> Option<Version> {
    osrel.lines().find_map(|line| line.strip_prefix("RK_VERSION=")).and_then(Version::parse)
}

/// The greatest of several minimums, as texts; what is no version sets no bound.
pub fn highest<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Version> {
    texts.into_iter().filter_map(Version::parse).max()
}

/// Why a program of this `.osrel` is not to run where `minimum` was recorded; `None` when it may.
pub fn too_old(osrel: &str, minimum: Option<Version>) -> Option<String> {
    let minimum = minimum?;
    match of_release(osrel) {
        Some(version) if version >= minimum => None,
        Some(version) => {
            Some(format!("version {version} is older than {minimum}, below which this machine does not go"))
        }
        None => Some(format!("it does not tell its version, and this machine does not go below {minimum}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_a_pre_release_comes_before() {
        let order = ["0.9.10", "0.10.0-rc.1", "0.10.0", "0.10.1", "1.0.0"].map(|text| Version::parse(text).unwrap());
        assert!(order.is_sorted() && order[1] < order[2], "{order:?}");
        assert_eq!(Version::parse("1.2.3+build"), Version::parse("1.2.3"));
        for odd in ["", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3", "1.2.99999999999"] {
            assert_eq!(Version::parse(odd), None, "{odd}");
        }
        assert_eq!(highest(["0.1.0", "nonsense", "0.3.0"]), Version::parse("0.3.0"));
    }

    #[test]
    fn what_is_older_than_the_minimum_is_refused_and_so_is_what_hides_its_age() {
        let minimum = Version::parse("0.2.0");
        assert_eq!(too_old("ID=rk\nRK_VERSION=0.2.0\n", minimum), None);
        assert!(too_old("RK_VERSION=0.1.9\n", minimum).unwrap().contains("0.1.9 is older than 0.2.0"));
        assert!(too_old("ID=rk\n", minimum).is_some());
        assert_eq!(too_old("ID=rk\n", None), None);
    }
}
