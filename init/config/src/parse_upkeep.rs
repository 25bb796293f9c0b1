//! YAML of the sections `disks`, `upgrade`, `metrics` and `logging`.

use crate::reader::{Findings, Section, quote};
use crate::upkeep::{Disks, Encryption, LogFormat, LogTarget, Logging, Metrics, Unlock, Upgrade};
use crate::validate;

/// Keys in use at once: the old one and the new one, and some more.
const MOST_KEYS: usize = 8;
/// Registers of a TPM.
const PCRS: usize = 24;
/// As long as `cryptsetup` takes it from a terminal.
const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=512;
/// MiB; a terabyte.
const MOST_SWAP: u32 = 1 << 20;
/// Each costs a buffer and a connection.
const MOST_TARGETS: usize = 4;

pub(crate) fn upgrade(mut s: Section, out: &mut Findings) -> Upgrade {
    let keys = s.strings("keys", MOST_KEYS, out);
    for (path, key) in &keys {
        validate::pem(path, key, "PUBLIC KEY", out);
    }
    let path = s.path_of("minimumVersion");
    let minimum_version = s.string("minimumVersion", out);
    if let Some(version) = minimum_version.as_ref().filter(|version| !is_version(version)) {
        out.refuse(path, format!("must be a version such as 0.1.0, not {}", quote(version)));
    }
    s.finish(out);
    Upgrade { keys: keys.into_iter().map(|(_, key)| key).collect(), minimum_version }
}

pub(crate) fn disks(mut s: Section, out: &mut Findings) -> Disks {
    let encryption = s.section("encryption", out).map(|section| encryption(section, out)).unwrap_or_default();
    let path = s.path_of("swapMiB");
    let swap_mib = s.parsed("swapMiB", "a number of MiB such as 1024", out).unwrap_or_default();
    if swap_mib > MOST_SWAP {
        out.refuse(path, format!("must be at most {MOST_SWAP}"));
    }
    s.finish(out);
    Disks { encryption, swap_mib }
}

fn encryption(mut s: Section, out: &mut Findings) -> Encryption {
    let (state, data) = (unlock(&mut s, "state", out), unlock(&mut s, "data", out));
    let (pcrs_path, path) = (s.path_of("pcrs"), s.path_of("passphrase"));
    let mut pcrs: Vec<u8> = s.parsed_list("pcrs", PCRS, "a number of a PCR such as 7", out);
    pcrs.sort_unstable();
    pcrs.dedup();
    if pcrs.iter().any(|pcr| usize::from(*pcr) >= PCRS) {
        out.refuse(pcrs_path, "must be numbers of PCRs, 0 to 23");
    }
    let passphrase = s.string("passphrase", out);
    let wanted = [state, data].contains(&Some(Unlock::Passphrase));
    match &passphrase {
        // The value itself is a secret and stays out of the message.
        Some(text) if !PASSPHRASE.contains(&text.len()) => out.refuse(path, "must have 8 to 512 characters"),
        None if wanted => out.refuse(path, "is missing; state or data are to be opened by it"),
        _ => {}
    }
    s.finish(out);
    if pcrs.is_empty() {
        pcrs = Encryption::default().pcrs;
    }
    Encryption { state, data, pcrs, passphrase }
}

fn unlock(s: &mut Section, key: &str, out: &mut Findings) -> Option<Unlock> {
    let path = s.path_of(key);
    match s.string(key, out).as_deref() {
        None => None,
        Some("tpm") => Some(Unlock::Tpm),
        Some("passphrase") => Some(Unlock::Passphrase),
        Some(other) => {
            out.refuse(path, format!("must be tpm or passphrase, not {}", quote(other)));
            None
        }
    }
}

pub(crate) fn metrics(mut s: Section, out: &mut Findings) -> Metrics {
    let bind = s.parsed("bind", "an address and port such as 0.0.0.0:9100", out);
    s.finish(out);
    bind.map_or_else(Metrics::default, |bind| Metrics { bind })
}

pub(crate) fn logging(mut s: Section, out: &mut Findings) -> Logging {
    let mut targets = Vec::new();
    for mut t in s.sections("targets", MOST_TARGETS, out) {
        let (url_path, format_path) = (t.path_of("url"), t.path_of("format"));
        let url = t.string("url", out).unwrap_or_default();
        if !is_target(&url) {
            let reason = format!("must be tcp://host:port or udp://host:port, not {}", quote(&url));
            out.refuse(url_path, reason);
        }
        let format = match t.string("format", out).as_deref() {
            None | Some("json") => LogFormat::Json,
            Some("syslog") => LogFormat::Syslog,
            Some(other) => {
                out.refuse(format_path, format!("must be json or syslog, not {}", quote(other)));
                LogFormat::Json
            }
        };
        t.finish(out);
        targets.push(LogTarget { url, format });
    }
    s.finish(out);
    Logging { targets }
}

fn is_version(text: &str) -> bool {
    let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
    numbers.split('.').count() == 3 && numbers.split('.').all(|part| part.parse::<u32>().is_ok())
}

fn is_target(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("tcp://").or_else(|| url.strip_prefix("udp://")) else { return false };
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let named = host.parse::<std::net::IpAddr>().is_ok() || validate::is_dns_subdomain(host);
    named && port.parse::<u16>().is_ok_and(|port| port != 0)
}
