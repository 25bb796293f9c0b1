//! The config: shown, checked, compared, and handed to PID 1.

use super::control::Pid1;
use rk_config::{ConfigError, MachineConfig, Parsed};
use rk_machine_proto::v1::{ApplyMode, ApplyReply, Change, FieldError, ValidateReply};
use rk_supervise::control::{MOST_TRIAL, Request};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tonic::Status;

/// A trial without a stated length.
const TRIAL: u32 = 60;

/// What became of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It was only compared.
    Compared,
    /// It is in effect.
    Live,
    /// It is in effect for so many seconds.
    OnTrial(u32),
    /// The machine restarts with it.
    Rebooting,
}

/// The config in effect; in maintenance mode there is none.
///
/// # Errors
/// PID 1's file is torn.
pub fn current(path: &Path) -> Result<MachineConfig, Status> {
    rk_config::load_accepted(path).map_err(|err| Status::internal(crate::log::chain(&err)))
}

/// Checks a text.
pub fn validate(text: &str) -> ValidateReply {
    match rk_config::parse(text) {
        Ok(parsed) => ValidateReply { valid: true, errors: Vec::new(), unknown_keys: parsed.warnings },
        Err(err) => ValidateReply { valid: false, errors: fields(&err), unknown_keys: rk_config::unknown_keys(text) },
    }
}

/// The YAML of the current config with a merge patch applied.
///
/// # Errors
/// The patch is no YAML mapping.
pub fn patched(config: &MachineConfig, patch: &str) -> Result<String, Status> {
    if patch.len() > rk_config::MAX_CONFIG_BYTES {
        return Err(Status::invalid_argument(format!(
            "the patch is larger than {} bytes",
            rk_config::MAX_CONFIG_BYTES
        )));
    }
    let patch: serde_json::Value = serde_yaml_ng::from_str(patch)
        .map_err(|err| Status::invalid_argument(format!("the patch is not valid YAML: {err}")))?;
    if !patch.is_object() {
        return Err(Status::invalid_argument("the patch must be a mapping of keys to values"));
    }
    let mut whole = serde_json::to_value(config).map_err(|err| Status::internal(err.to_string()))?;
    rk_config::merge_patch(&mut whole, patch);
    serde_yaml_ng::to_string(&whole).map_err(|err| Status::internal(err.to_string()))
}

/// Checks `text` whole, compares it with `before`, and makes PID 1 apply it as `mode` says. Nothing changes when anything is wrong.
///
/// # Errors
/// Every wrong field by its path; a change that the mode does not allow; PID 1's refusal.
pub async fn apply(
    pid1: &Pid1,
    offered: &Path,
    before: Option<&MachineConfig>,
    text: &str,
    mode: ApplyMode,
    seconds: u32,
) -> Result<(ApplyReply, Applied), Status> {
    let Parsed { config, warnings } = rk_config::parse(text).map_err(|err| refusal(&err))?;
    let changes = rk_config::diff(before.unwrap_or(&MachineConfig::default()), &config);
    // The first config of a machine needs no reboot: nothing has started with another.
    let late: Vec<&str> =
        changes.iter().filter(|c| c.needs_reboot && before.is_some()).map(|c| c.path.as_str()).collect();
    let applied = match mode {
        ApplyMode::DryRun => Applied::Compared,
        ApplyMode::Auto if late.is_empty() => Applied::Live,
        ApplyMode::Auto => Applied::Rebooting,
        ApplyMode::NoReboot if late.is_empty() => Applied::Live,
        ApplyMode::Try if late.is_empty() => {
            Applied::OnTrial(if seconds == 0 { TRIAL } else { seconds.min(MOST_TRIAL) })
        }
        ApplyMode::NoReboot | ApplyMode::Try => {
            return Err(Status::failed_precondition(format!(
                "{} can only change with a reboot; apply with mode auto, or leave it as it is",
                late.join(", ")
            )));
        }
    };
    if applied != Applied::Compared {
        // What PID 1 reads is what was checked here, written anew, not the caller's text.
        let yaml = rk_config::to_yaml(&config).map_err(|err| Status::internal(err.to_string()))?;
        write_private(offered, yaml.as_bytes())
            .map_err(|err| Status::internal(format!("writing {}: {err}", offered.display())))?;
    }
    match applied {
        Applied::Compared => {}
        Applied::Live => drop(pid1.ask(&Request::Apply).await?),
        Applied::OnTrial(seconds) => drop(pid1.ask(&Request::Try(seconds)).await?),
        Applied::Rebooting => {
            pid1.ask(&Request::Stage).await?;
            pid1.ask(&Request::Reboot).await?;
        }
    }
    let reply = ApplyReply {
        reboot: !late.is_empty(),
        reverts_in_seconds: if let Applied::OnTrial(seconds) = applied { seconds } else { 0 },
        unknown_keys: warnings,
        changes: changes.into_iter().map(message).collect(),
    };
    Ok((reply, applied))
}

fn message(change: rk_config::Change) -> Change {
    Change { path: change.path, before: change.before, after: change.after, needs_reboot: change.needs_reboot }
}

fn fields(err: &ConfigError) -> Vec<FieldError> {
    err.fields().into_iter().map(|field| FieldError { path: field.path, reason: field.reason }).collect()
}

fn refusal(err: &ConfigError) -> Status {
    let lines: Vec<String> = err.fields().iter().map(ToString::to_string).collect();
    Status::invalid_argument(format!("the config is refused and nothing changed:\n{}", lines.join("\n")))
}

/// Writes a file that root alone reads: new name, fsync, rename.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n";

    fn run(before: Option<&str>, text: &str, mode: ApplyMode) -> Result<(ApplyReply, Applied), Status> {
        let dir = tempfile::tempdir().unwrap();
        let before = before.map(|text| rk_config::parse(text).unwrap().config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody listens: what needs PID 1 fails as unavailable.
        let pid1 = Pid1::at(&dir.path().join("none"));
        runtime.block_on(apply(&pid1, &dir.path().join("offered"), before.as_ref(), text, mode, 0))
    }

    #[test]
    fn a_dry_run_tells_the_changes_and_asks_nobody() {
        let (reply, applied) =
            run(Some(YAML), &format!("{YAML}kubelet: {{maxPods: 9}}\nodd: 1\n"), ApplyMode::DryRun).unwrap();
        assert_eq!(applied, Applied::Compared);
        assert_eq!(reply.changes.len(), 1);
        assert_eq!(reply.unknown_keys, ["odd"]);
    }

    #[test]
    fn what_needs_a_reboot_is_not_tried_and_a_wrong_field_changes_nothing() {
        for mode in [ApplyMode::Try, ApplyMode::NoReboot] {
            let refused = run(Some(YAML), &format!("{YAML}hostname: other\n"), mode).unwrap_err();
            assert!(refused.message().contains("hostname"), "{refused:?}");
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        }
        let wrong = run(Some(YAML), &format!("{YAML}hostname: A_B\n"), ApplyMode::Auto).unwrap_err();
        assert_eq!(wrong.code(), tonic::Code::InvalidArgument);
        assert!(wrong.message().contains("hostname: "), "{wrong:?}");
        let gone = run(None, YAML, ApplyMode::Auto).unwrap_err();
        assert_eq!(gone.code(), tonic::Code::Unavailable);
    }

    #[test]
    fn a_config_that_is_refused_tells_its_unknown_keys_as_well() {
        let told = validate(&format!("{YAML}hostnme: a\nhostname: A_B\n"));
        assert!(!told.valid && told.errors.iter().any(|field| field.path == "hostname"), "{told:?}");
        assert_eq!(told.unknown_keys, ["hostnme"]);
    }

    #[test]
    fn a_patch_is_merged_and_still_a_config() {
        let config = rk_config::parse(YAML).unwrap().config;
        let text = patched(&config, "kubelet: {maxPods: 42}").unwrap();
        assert_eq!(rk_config::parse(&text).unwrap().config.kubelet.max_pods, 42);
        assert!(patched(&config, "[1]").is_err());
        assert!(patched(&config, "a: [").is_err());
    }
}
