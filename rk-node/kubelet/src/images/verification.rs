//! When a pod must show credentials for an image that is on the node already (`imagePullCredentialsVerificationPolicy`, KEP-2535).

/// For which images that are here a pod's credentials are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// For none.
    NeverVerify,
    /// For those that this kubelet pulled; what was here before it is everybody's.
    #[default]
    NeverVerifyPreloadedImages,
    /// For all but those of these names; `registry/path/*` stands for all below it.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// For all.
    AlwaysVerify,
}

impl Verification {
    /// The policy's name in a `KubeletConfiguration`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NeverVerify => "NeverVerify",
            Self::NeverVerifyPreloadedImages => "NeverVerifyPreloadedImages",
            Self::NeverVerifyAllowlistedImages(_) => "NeverVerifyAllowlistedImages",
            Self::AlwaysVerify => "AlwaysVerify",
        }
    }

    /// Names that are exempt.
    pub fn allowlist(&self) -> &[String] {
        match self {
            Self::NeverVerifyAllowlistedImages(patterns) => patterns,
            _ => &[],
        }
    }

    /// Whether credentials are asked for an image of this name, without tag and digest.
    pub fn asks(&self, name: &str, pulled_here: bool) -> bool {
        match self {
            Self::NeverVerify => false,
            Self::NeverVerifyPreloadedImages => pulled_here,
            Self::NeverVerifyAllowlistedImages(patterns) => !patterns.iter().any(|pattern| matches(pattern, name)),
            Self::AlwaysVerify => true,
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// What is wrong with an entry of `preloadedImagesVerificationAllowlist` (upstream's `getAllowlistImagePattern`).
pub fn pattern_problem(pattern: &str) -> Option<&'static str> {
    let wild = pattern.strip_suffix("/*");
    let name = wild.unwrap_or(pattern);
    if pattern != pattern.trim() {
        Some("leading/trailing spaces are not allowed")
    } else if name.is_empty() {
        Some("at least registry hostname is required")
    } else if name.contains('*') {
        Some("not a valid wildcard pattern, only patterns ending with '/*' are allowed")
    } else if wild.is_none() && without_tag(name) != name {
        Some("neither tag nor digest is accepted in an image reference")
    } else {
        None
    }
}

/// The name of an image without its tag and digest.
pub fn without_tag(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_differ_in_what_they_ask_for() {
        let listed = Verification::NeverVerifyAllowlistedImages(vec!["r.io/a".into(), "r.io/team/*".into()]);
        for (policy, name, pulled_here, want) in [
            (&Verification::NeverVerify, "r.io/a", true, false),
            (&Verification::default(), "r.io/a", false, false),
            (&Verification::default(), "r.io/a", true, true),
            (&Verification::AlwaysVerify, "r.io/a", false, true),
            (&listed, "r.io/a", true, false),
            (&listed, "r.io/a/b", false, true),
            (&listed, "r.io/team/b/c", true, false),
            (&listed, "r.io/teams", false, true),
        ] {
            assert_eq!(policy.asks(name, pulled_here), want, "{policy:?} {name} {pulled_here}");
        }
    }

    #[test]
    fn exempt_names_are_whole_names_or_all_below_a_path() {
        for (pattern, good) in [
            ("r.io/a", true),
            ("r.io:5000/a", true),
            ("r.io/*", true),
            (" r.io/a", false),
            ("", false),
            ("/*", false),
            ("r.io/a*", false),
            ("r.io/*/b", false),
            ("r.io/a:1", false),
            ("r.io/a@sha256:00", false),
        ] {
            assert_eq!(pattern_problem(pattern).is_none(), good, "{pattern:?}");
        }
        assert_eq!(without_tag("r.io:5000/a:1@sha256:00"), "r.io:5000/a");
    }
}
