//! Command line and environment of a container.

use rk_cri_api::v1::ContainerConfig;
use rk_images::ImageConfig;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// CRI's `command` replaces the image's entrypoint and drops its arguments; `args` alone replaces the image's arguments.
pub(super) fn args(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, String> {
    // An image takes back the entrypoint of the one that it is made from by a single empty word.
    let entrypoint: &[String] = if image.entrypoint == [""] { &[] } else { &image.entrypoint };
    let (head, tail) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (config.command.as_slice(), config.args.as_slice()),
        (true, false) => (entrypoint, config.args.as_slice()),
        (true, true) => (entrypoint, image.cmd.as_slice()),
    };
    let args: Vec<String> = head.iter().chain(tail).cloned().collect();
    if args.is_empty() { Err("no command specified".into()) } else { Ok(args) }
}

/// The image's environment, changed by the pod's, with `PATH`, `HOSTNAME`, `HOME` and, on a terminal, `TERM` when nobody sets them.
pub(super) fn env(config: &ContainerConfig, image: &ImageConfig, hostname: &str, home: &str) -> Vec<String> {
    let mut out: Vec<(String, Vec<u8>)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("HOSTNAME".into(), hostname.into())];
    if config.tty {
        out.push(("TERM".into(), "xterm".into()));
    }
    let image = image.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let image = image.map(|(key, value)| (key, value.as_bytes()));
    let pod = config.envs.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice()));
    for (key, value) in image.chain(pod) {
        match out.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value.to_owned(),
            None => out.push((key.to_owned(), value.to_owned())),
        }
    }
    if !out.iter().any(|(key, value)| key == "HOME" && !value.is_empty()) {
        out.retain(|(key, _)| key != "HOME");
        out.push(("HOME".into(), home.into()));
    }
    // The shim takes them for bytes again.
    out.into_iter().map(|(key, value)| format!("{key}={}", rk_sys::bytes_as_text(&value))).collect()
}
