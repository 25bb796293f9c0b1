//! The table of checks: which apply at which level, from which version of the standards on.

use super::policy::{Level, Standard};
use super::subject::{Subject, Violation};
use super::{baseline, restricted};

/// Looks at a pod by the rules of one minor version.
type Run = fn(&Subject<'_>, u64) -> Option<Violation>;

/// A check of the baseline, which the restricted level shares unless it has a stricter one.
struct Shared {
    since: u64,
    /// From which version on the restricted level has its own in its place.
    stricter_since: Option<u64>,
    run: Run,
}

const fn shared(since: u64, run: Run) -> Shared {
    Shared { since, stricter_since: None, run }
}

const fn replaced(since: u64, stricter_since: u64, run: Run) -> Shared {
    Shared { since, stricter_since: Some(stricter_since), run }
}

/// The baseline's checks by upstream's names for them, which is the order in which violations are told.
const BASELINE: &[Shared] = &[
    shared(0, baseline::app_armor),
    replaced(0, 22, baseline::capabilities),
    shared(0, baseline::host_namespaces),
    replaced(0, 0, baseline::host_path_volumes),
    shared(0, baseline::host_ports),
    shared(34, baseline::probe_hosts),
    shared(0, baseline::privileged),
    replaced(0, 35, baseline::proc_mount),
    shared(0, baseline::selinux),
    replaced(0, 19, baseline::seccomp),
    shared(0, baseline::sysctls),
    shared(0, baseline::host_process),
];

/// The restricted level's own checks, in the same order, each with the version that brought it.
const RESTRICTED: &[(u64, Run)] = &[
    (8, restricted::privilege_escalation),
    (22, restricted::capabilities),
    (35, restricted::proc_mount),
    (0, restricted::volumes),
    (0, restricted::run_as_non_root),
    (23, restricted::run_as_user),
    (19, restricted::seccomp),
];

/// What a pod breaks of a standard.
pub(super) fn judge(standard: Standard, subject: &Subject<'_>) -> Vec<Violation> {
    let Standard { level, version } = standard;
    let minor = version.minor();
    if level == Level::Privileged {
        return Vec::new();
    }
    let strict = level == Level::Restricted;
    let applies = |check: &&Shared| {
        let replaced = strict && check.stricter_since.is_some_and(|since| since <= minor);
        check.since <= minor && !replaced
    };
    let mut broken: Vec<Violation> =
        BASELINE.iter().filter(applies).filter_map(|check| (check.run)(subject, minor)).collect();
    if strict {
        let own = RESTRICTED.iter().filter(|(since, _)| *since <= minor);
        broken.extend(own.filter_map(|(_, run)| run(subject, minor)));
    }
    broken
}

/// The names of the broken rules: what warnings about many pods say.
pub(super) fn reasons(broken: &[Violation]) -> String {
    broken.iter().map(|violation| violation.rule).collect::<Vec<_>>().join(", ")
}

/// The names of the broken rules with what breaks them.
pub(super) fn describe(broken: &[Violation]) -> String {
    broken.iter().map(|violation| format!("{} ({})", violation.rule, violation.detail)).collect::<Vec<_>>().join(", ")
}
