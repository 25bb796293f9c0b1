//! The audit log as the command line wants it.

use crate::args::AuditArgs;
use anyhow::Context;
use rk_apiserver::{AuditConfig, AuditLogConfig, AuditPolicy};
use std::time::Duration;

const MEGABYTE: u64 = 1 << 20;
const DAY: u64 = 86_400;

/// What is logged of requests, and where; `None` without a log.
pub fn config(args: &AuditArgs) -> anyhow::Result<Option<AuditConfig>> {
    let Some(path) = &args.audit_log_path else { return Ok(None) };
    let policy = match &args.audit_policy_file {
        None => AuditPolicy::standard().context("loading the standard audit policy")?,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("failed to read audit policy file {}", file.display()))?;
            AuditPolicy::parse(&text).with_context(|| format!("loading audit policy file {}", file.display()))?
        }
    };
    let log = AuditLogConfig {
        path: path.clone(),
        max_bytes: args.audit_log_maxsize.saturating_mul(MEGABYTE),
        max_backups: args.audit_log_maxbackup,
        max_age: (args.audit_log_maxage > 0).then(|| Duration::from_secs(u64::from(args.audit_log_maxage) * DAY)),
    };
    Ok(Some(AuditConfig { policy, log }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    fn parsed(more: &[&str]) -> anyhow::Result<Option<AuditConfig>> {
        let line = ["rk-control", "--data-dir", "d"].into_iter().chain(more.iter().copied());
        config(&Args::try_parse_from(line).expect("parses").audit)
    }

    #[test]
    fn the_log_is_as_the_flags_say() {
        assert!(parsed(&[]).expect("no log").is_none());
        let all = parsed(&["--audit-log-path", "a", "--audit-log-maxsize", "10", "--audit-log-maxage", "2"]);
        let log = all.expect("a log").expect("a log").log;
        assert_eq!((log.max_bytes, log.max_backups), (10 << 20, 10));
        assert_eq!(log.max_age, Some(Duration::from_secs(172_800)));
    }

    #[test]
    fn a_policy_that_cannot_be_used_is_refused_with_its_name() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("policy.yaml");
        let name = file.display().to_string();
        let failure = || format!("{:#}", parsed(&["--audit-log-path", "a", "--audit-policy-file", &name]).unwrap_err());
        assert!(failure().starts_with("failed to read audit policy file"));
        std::fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n").expect("writable");
        assert!(failure().ends_with("policy.yaml: loaded illegal policy with 0 rules"), "{}", failure());
    }
}
