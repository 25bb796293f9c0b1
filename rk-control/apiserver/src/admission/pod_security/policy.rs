//! Which standard a namespace asks for, by its labels: a level and the version of the standards, for each mode.

use std::fmt;

use rk_api::status::{FieldErrors, Path};
use serde_json::Value;

/// The labels of a mode: its level and its version.
type Labels = [&'static str; 2];

const ENFORCE: Labels = ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"];
const AUDIT: Labels = ["pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/audit-version"];
const WARN: Labels = ["pod-security.kubernetes.io/warn", "pod-security.kubernetes.io/warn-version"];

/// A level of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The minor number of the newest release whose standards are known.
const NEWEST: u64 = 36;

/// A version of the standards: the minor number of the release that they are of, or the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(Option<u64>);

impl Version {
    pub(super) const LATEST: Self = Self(None);

    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::LATEST);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        if canonical { minor.parse().ok().map(|minor| Self(Some(minor))) } else { None }
    }

    /// As figures tell it: those of releases that are still to come are one.
    pub(super) fn told(self) -> String {
        match self.0 {
            None => "latest".to_owned(),
            Some(minor) if minor > NEWEST => "future".to_owned(),
            Some(minor) => format!("v1.{minor}"),
        }
    }

    /// The minor number; the newest is above them all.
    pub(super) fn minor(self) -> u64 {
        self.0.unwrap_or(u64::MAX)
    }
}

/// What one mode asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standard {
    /// How strict it is.
    pub(super) level: Level,
    /// Of which release.
    pub(super) version: Version,
}

impl Standard {
    const NONE: Self = Self { level: Level::Privileged, version: Version::LATEST };
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.0 {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
            None => write!(f, "{}:latest", self.level.name()),
        }
    }
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Pods that break it are refused.
    pub(super) enforce: Standard,
    /// What breaks it is logged.
    pub(super) audit: Standard,
    /// Whoever breaks it is told.
    pub(super) warn: Standard,
}

impl Policy {
    /// Reads the labels of a namespace. Labels that are wrong are errors, and count all the same: one that enforces as the
    /// strictest level, one that audits or warns as none, a version as the newest.
    pub(super) fn of(labels: &Value) -> (Self, FieldErrors) {
        let mut errors = FieldErrors::new();
        let policy = Self {
            enforce: standard(labels, ENFORCE, Level::Restricted, &mut errors),
            audit: standard(labels, AUDIT, Level::Privileged, &mut errors),
            warn: standard(labels, WARN, Level::Privileged, &mut errors),
        };
        (policy, errors)
    }
}

fn standard(labels: &Value, [level, version]: Labels, when_wrong: Level, errors: &mut FieldErrors) -> Standard {
    let mut out = Standard::NONE;
    if let Some(text) = labels.get(level).and_then(Value::as_str) {
        out.level = Level::parse(text).unwrap_or_else(|| {
            wrong(errors, level, text, "must be one of privileged, baseline, restricted");
            when_wrong
        });
    }
    if let Some(text) = labels.get(version).and_then(Value::as_str) {
        out.version = Version::parse(text).unwrap_or_else(|| {
            wrong(errors, version, text, "must be \"latest\" or \"v1.x\"");
            Version::LATEST
        });
    }
    out
}

fn wrong(errors: &mut FieldErrors, label: &str, value: &str, detail: &str) {
    errors.invalid(&Path::new("metadata").child("labels").key(label), value, detail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_read_and_wrong_ones_count_as_upstream_counts_them() {
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.25",
            "pod-security.kubernetes.io/warn": "restricted",
        });
        let (policy, errors) = Policy::of(&labels);
        assert!(errors.is_empty());
        assert_eq!(policy.enforce.to_string(), "baseline:v1.25");
        assert_eq!(policy.enforce.version.minor(), 25);
        assert_eq!([policy.warn.to_string(), policy.audit.to_string()], ["restricted:latest", "privileged:latest"]);

        let labels = json!({
            "pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn": "",
            "pod-security.kubernetes.io/audit": "baseline", "pod-security.kubernetes.io/audit-version": "v1.025",
        });
        let (policy, errors) = Policy::of(&labels);
        assert_eq!(policy.enforce.to_string(), "restricted:latest");
        assert_eq!([policy.warn.to_string(), policy.audit.to_string()], ["privileged:latest", "baseline:latest"]);
        let told: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.025\": must be \"latest\" or \"v1.x\"",
                "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"\": must be one of privileged, baseline, restricted",
            ]
        );
    }

    #[test]
    fn versions_are_latest_or_a_release() {
        for (text, minor) in [("latest", Some(u64::MAX)), ("v1.0", Some(0)), ("v1.36", Some(36)), ("v1.999", Some(999))]
        {
            assert_eq!(Version::parse(text).map(Version::minor), minor, "{text}");
        }
        for text in ["", "1.36", "v1", "v1.", "v1.01", "v2.0", "v1.x", "v1.-1", "v1.+1", "Latest"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
