//! A config from the network: the URL on the kernel command line, or the cloud's metadata service. Asked again and again until
//! there is one, while the machine API stands open for an operator.

pub(crate) mod http;

use super::config::write_private;
use super::control::Pid1;
use super::platform::{METADATA, Platform, dmi};
use crate::log;
use http::{FetchError, fetch};
use rk_config::{CmdlineConfig, cmdline_value};
use rk_supervise::control::Request;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;

/// First and longest pause between looks.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Url { url: String, sha256: Option<String> },
    Cloud { platform: Platform, base: String },
}

impl Place {
    fn of(cmdline: &str) -> Option<Place> {
        if let Some(Ok(CmdlineConfig::Url(url))) = rk_config::from_cmdline(cmdline) {
            let sha256 = cmdline_value(cmdline, "rk.config.sha256").map(str::to_ascii_lowercase);
            return Some(Place::Url { url, sha256 });
        }
        let platform = match cmdline_value(cmdline, "rk.platform") {
            Some(name) => Platform::named(name),
            None => Platform::detect(&dmi()),
        }?;
        let base = cmdline_value(cmdline, "rk.metadata").unwrap_or(METADATA).trim_end_matches('/').to_owned();
        Some(Place::Cloud { platform, base })
    }

    fn name(&self) -> String {
        match self {
            Place::Url { url, .. } => url.chars().filter(|c| !c.is_control()).take(80).collect(),
            Place::Cloud { platform, .. } => format!("{platform:?} metadata"),
        }
    }
}

/// Looks until a good config was found and PID 1 has it. Returns at once when there is no place to look at.
pub async fn look_for_config(pid1: &Pid1, offered: &Path, cmdline: &str) {
    let Some(place) = Place::of(cmdline) else { return };
    let (mut pause, mut told) = (PAUSE.0, String::new());
    loop {
        let failure = match ask(&place).await.and_then(|text| judge(&text)) {
            Ok(yaml) => match hand_over(pid1, offered, &yaml, &place.name()).await {
                Ok(()) => return,
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        if failure != told {
            log::news(format_args!("no config from {} yet: {failure}", place.name()));
            told = failure;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn ask(place: &Place) -> Result<(String, Option<String>), String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "the config is not UTF-8 text".to_owned());
    let failed = |err: FetchError| log::chain(&err);
    match place {
        Place::Url { url, sha256 } => {
            let body = fetch("GET", url, &[]).await.map_err(failed)?;
            if let Some(wanted) = sha256
                && *wanted != hex::encode(Sha256::digest(&body))
            {
                return Err("the config does not have the hash of rk.config.sha256".to_owned());
            }
            Ok((text(body)?, None))
        }
        Place::Cloud { platform, base } => {
            let mut token = String::new();
            if let Some(question) = platform.token() {
                let url = format!("{base}{}", question.path);
                let answer = fetch(question.method, &url, &question.headers).await.map_err(failed)?;
                token = text(answer)?.trim().to_owned();
                if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err("the metadata service gave a token that is none".to_owned());
                }
            }
            let question = platform.user_data(&token);
            let url = format!("{base}{}", question.path);
            let mut body = text(fetch(question.method, &url, &question.headers).await.map_err(failed)?)?;
            if platform.encoded() {
                body = decode(&body)?;
            }
            let question = platform.hostname(&token);
            let url = format!("{base}{}", question.path);
            // A machine without a name there takes one from its config or from DHCP.
            let hostname = fetch(question.method, &url, &question.headers).await.ok().and_then(|body| text(body).ok());
            Ok((body, hostname.map(|name| name.trim().to_owned())))
        }
    }
}

fn decode(body: &str) -> Result<String, String> {
    match rk_config::from_cmdline(&format!("rk.config=base64:{}", body.split_whitespace().collect::<String>())) {
        Some(Ok(CmdlineConfig::Text(text))) => Ok(text),
        _ => Err("the config is not valid base64".to_owned()),
    }
}

/// Parses, and puts in the name that the cloud gave where the config has none.
fn judge((text, hostname): &(String, Option<String>)) -> Result<String, String> {
    let mut parsed = rk_config::parse(text).map_err(|err| err.to_string())?;
    if parsed.config.hostname.is_none() {
        parsed.config.hostname = hostname.clone().filter(|name| name.len() <= 63 && rk_config::is_dns_subdomain(name));
    }
    for key in &parsed.warnings {
        log::news(format_args!("config key {key} is unknown and has no effect"));
    }
    rk_config::to_yaml(&parsed.config).map_err(|err| err.to_string())
}

async fn hand_over(pid1: &Pid1, offered: &Path, yaml: &str, source: &str) -> Result<(), String> {
    write_private(offered, yaml.as_bytes()).map_err(|err| format!("writing {}: {err}", offered.display()))?;
    let source: String = source.chars().take(100).collect();
    pid1.ask(&Request::Offer(source)).await.map(drop).map_err(|err| log::chain(&err))
}

#[cfg(test)]
mod tests;
