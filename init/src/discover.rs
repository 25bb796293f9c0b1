//! Where the machine config comes from, of the places that need no network: what an operator applied, the image itself, the
//! kernel command line, the image before an upgrade, an attached config drive, the hypervisor. Others are the machine API's to ask.

use crate::console::{Journal, chain};
use crate::datadisk;
use crate::services;
use crate::slots::DEVICE;
use rk_config::{CmdlineConfig, MAX_CONFIG_BYTES, MachineConfig, Parsed};
use rk_sys::{BlockDevice, MountFlags};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Labels of config drives, in either case, and the file that is the config: NoCloud, OpenStack.
const DRIVES: [(&str, &str); 2] = [("cidata", "user-data"), ("config-2", "openstack/latest/user_data")];
/// What QEMU was given by `-fw_cfg name=opt/rk/config,…`.
const FIRMWARE: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/rk/config/raw";
/// Below [`rk_config::STATE_DIR`].
pub const KEPT: &str = "machine.yaml";
/// Below [`rk_config::STATE_DIR`]: what the last good image of this disk had built in or on its command line.
const BEFORE: &str = "built-in.yaml";
const ELSEWHERE: &str =
    "no machine config yet: it is at the address that rk.config= tells, and is fetched once there is a network";
const DRIVE_MOUNT: &str = "/run/rk/cidata";
/// A config that the image has, or that the initramfs brings, see `stage1`; empty when neither does.
pub const BUILT_IN: &str = "/usr/share/rk/machine.yaml";

/// A place that gave a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// What an operator applied.
    State,
    /// QEMU's `fw_cfg`.
    Firmware,
    /// `rk.config=` on the kernel command line.
    CommandLine,
    /// `user-data` on a drive labelled `CIDATA`.
    Drive(String),
    /// The image.
    BuiltIn,
    /// The image before an upgrade, see [`keep_built_in`].
    Before,
}

impl Source {
    /// Whether it comes and goes with the image.
    pub fn is_of_the_image(&self) -> bool {
        matches!(self, Source::BuiltIn | Source::CommandLine)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::State => f.write_str("the machine's state"),
            Source::Firmware => f.write_str("fw_cfg"),
            Source::CommandLine => f.write_str("the kernel command line"),
            Source::Drive(device) => write!(f, "config drive {device}"),
            Source::BuiltIn => f.write_str("the image"),
            Source::Before => f.write_str("the image before the upgrade"),
        }
    }
}

/// What a look around found.
#[derive(Debug)]
pub enum Found {
    /// A good config.
    Accepted {
        /// Where.
        source: Source,
        /// What.
        config: Box<MachineConfig>,
        /// Keys that had no effect.
        unknown: Vec<String>,
    },
    /// No good config, and why, line by line.
    Refused(Vec<String>),
}

/// Where an applied config is kept.
pub fn kept_path() -> PathBuf {
    Path::new(rk_config::STATE_DIR).join(KEPT)
}

/// Where the config of the image before is kept. A machine that was started from a CD or the network has none: what it is started from
/// says what it is.
fn before_path() -> Option<PathBuf> {
    std::env::var_os(DEVICE).map(|_| Path::new(rk_config::STATE_DIR).join(BEFORE))
}

/// Keeps what the image had for an image without a config, once its slot is good: a slot on trial leaves nothing to the one that the machine
/// goes back to.
///
/// # Errors
/// In words.
pub fn keep_built_in(yaml: &str) -> Result<(), String> {
    let Some(path) = before_path() else { return Ok(()) };
    services::write_new(&path, yaml, 0o600).map_err(|err| format!("writing {}: {err}", path.display()))
}

/// Looks at all places; the first that has a config decides, good or bad, so that an operator's mistake is told and not
/// papered over by a lesser source.
pub fn look(journal: &mut Journal, cmdline: &str) -> Found {
    if let Ok(text) = read_bounded(&kept_path()) {
        return judge(Source::State, Ok(text), None);
    }
    if let Some(text) = read_bounded(Path::new(BUILT_IN)).ok().filter(|text| !text.is_empty()) {
        return judge(Source::BuiltIn, Ok(text), None);
    }
    match rk_config::from_cmdline(cmdline) {
        Some(Ok(CmdlineConfig::Text(text))) => return judge(Source::CommandLine, Ok(text), None),
        Some(Err(err)) => return judge(Source::CommandLine, Err(err.to_string()), None),
        // It takes a network, and whoever wrote it there means no drive that somebody plugs in.
        Some(Ok(CmdlineConfig::Url(_))) => return Found::Refused(vec![ELSEWHERE.to_owned()]),
        None => {}
    }
    if let Some(text) = before_path().and_then(|path| read_bounded(&path).ok()) {
        return judge(Source::Before, Ok(text), None);
    }
    let is_drive = |label: &str| DRIVES.iter().any(|(name, _)| label.eq_ignore_ascii_case(name));
    let drives = datadisk::find(journal, |found| ["vfat", "iso9660"].contains(&found.fstype) && is_drive(&found.label));
    if let Some(drive) = drives.first() {
        let source = Source::Drive(drive.path.display().to_string());
        return match read_drive(drive) {
            Ok((text, hostname)) => judge(source, Ok(text), hostname),
            Err(reason) => judge(source, Err(reason), None),
        };
    }
    match read_bounded(Path::new(FIRMWARE)) {
        Ok(text) => judge(Source::Firmware, Ok(text), None),
        Err(_) => Found::Refused(vec![
            "no machine config: attach a drive labelled CIDATA whose file user-data is the config, boot with rk.config=base64:…, \
             or use rkctl node apply"
                .to_owned(),
        ]),
    }
}

fn judge(source: Source, text: Result<String, String>, hostname: Option<String>) -> Found {
    let text = match text {
        Ok(text) => text,
        Err(reason) => return Found::Refused(vec![format!("config from {source}: {reason}")]),
    };
    match rk_config::parse(&text) {
        Ok(Parsed { mut config, warnings }) => {
            if config.hostname.is_none() {
                config.hostname = hostname.filter(|name| rk_config::is_dns_subdomain(name));
            }
            Found::Accepted { source, config: Box::new(config), unknown: warnings }
        }
        Err(err) => {
            let mut lines = vec![format!("config from {source} is refused:")];
            lines.extend(err.fields().iter().map(|field| format!("  {field}")));
            // One of them may be the one that is missing, misspelt.
            lines.extend(
                rk_config::unknown_keys(&text).iter().map(|key| format!("  {key}: is unknown and has no effect")),
            );
            Found::Refused(lines)
        }
    }
}

/// Mounts the drive for a moment and reads `user-data`, and `local-hostname` out of `meta-data` when that is there.
fn read_drive(drive: &BlockDevice) -> Result<(String, Option<String>), String> {
    let device = drive.path.display().to_string();
    fs::create_dir_all(DRIVE_MOUNT).map_err(|err| format!("making {DRIVE_MOUNT}: {err}"))?;
    let flags = MountFlags { read_only: true, nosuid: true, nodev: true, noexec: true, noatime: false };
    let mounted = ["vfat", "iso9660"].into_iter().map(|fstype| rk_sys::mount(&device, DRIVE_MOUNT, fstype, flags, ""));
    let mut failure = String::new();
    let mut done = false;
    for result in mounted {
        match result {
            Ok(()) => {
                done = true;
                break;
            }
            Err(err) => failure = chain(&err),
        }
    }
    if !done {
        return Err(failure);
    }
    let dir = Path::new(DRIVE_MOUNT);
    let texts = DRIVES.map(|(_, file)| read_bounded(&dir.join(file)));
    let text = texts.into_iter().reduce(|found, next| found.or(next)).unwrap_or_else(|| Ok(String::new()));
    let meta = read_bounded(&dir.join("meta-data")).unwrap_or_default();
    let unmounted = rk_sys::unmount(dir);
    let text = text.map_err(|err| format!("user-data: {err}"))?;
    unmounted.map_err(|err| chain(&err))?;
    Ok((text, local_hostname(&meta)))
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than is allowed, so that the parser can tell that there was too much.
    File::open(path)?.take(MAX_CONFIG_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn local_hostname(meta: &str) -> Option<String> {
    let value = meta.lines().find_map(|line| line.strip_prefix("local-hostname:"))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_the_command_line_leaves_no_turn_to_drives() {
        let found = look(&mut Journal::default(), "quiet rk.config=https://a/b rk.config.sha256=00");
        assert!(matches!(&found, Found::Refused(lines) if *lines == [ELSEWHERE]), "{found:?}");
    }

    #[test]
    fn a_refused_config_is_told_field_by_field() {
        let text =
            "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: boss\nhostname: A_B\ncolour: blue\n".to_owned();
        let Found::Refused(lines) = judge(Source::Drive("/dev/vdb".to_owned()), Ok(text), None) else {
            panic!("accepted");
        };
        assert_eq!(lines.first().map(String::as_str), Some("config from config drive /dev/vdb is refused:"));
        assert!(lines.iter().any(|line| line.starts_with("  role: ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("  hostname: ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("  colour: ")), "{lines:?}");
    }

    #[test]
    fn the_config_drives_meta_data_may_name_the_machine() {
        let text = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n";
        for (yaml, wanted) in [(text.to_owned(), "from-meta"), (format!("{text}hostname: own\n"), "own")] {
            let hostname = local_hostname("instance-id: x\nlocal-hostname: \"from-meta\"\n");
            let Found::Accepted { config, .. } = judge(Source::BuiltIn, Ok(yaml), hostname) else { panic!("refused") };
            assert_eq!(config.hostname.as_deref(), Some(wanted));
        }
    }
}
