//! `/statusz` (KEP-4827): since when this kubelet runs and which version it is, for people to read.

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;

use super::body::{Body, Refusal, refuse, text};
use super::process;
use crate::KUBELET_VERSION;

/// What this server answers.
const PATHS: &str = "/attach /checkpoint /configz /containerLogs /exec /flagz /healthz /logs /metrics /metrics/cadvisor \
    /metrics/probes /metrics/resource /metrics/slis /pods /portForward /run /runningpods /stats /statusz";

/// Whether a client takes plain text, of which there is one encoding.
fn takes_text(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return true };
    accept.split(',').any(is_plain_text)
}

/// Whether a media type stands for plain text, as it is told here.
pub(super) fn is_plain_text(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let plain = matches!(parts.next(), Some("*/*" | "text/*" | "text/plain"));
    plain && parts.all(|rest| rest.starts_with("q=") || rest.eq_ignore_ascii_case("charset=utf-8"))
}

/// The page of a process that began then.
fn page(began: Timestamp, now: Timestamp) -> String {
    let version = KUBELET_VERSION.trim_start_matches('v');
    let emulated = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    let up = now.as_second().saturating_sub(began.as_second()).max(0);
    let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
    let began = began.strftime("%a %b %e %H:%M:%S UTC %Y");
    format!(
        "\nkubelet statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
        guarantees and is for debugging purposes only.\n\nStarted: {began}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\n\
        Go version: none\nBinary version: {version}\nEmulation version: {emulated}\nPaths: {PATHS}\n"
    )
}

/// Answers a request for it.
pub(super) fn statusz(headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    if !takes_text(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok())) {
        return Err(refuse(StatusCode::NOT_ACCEPTABLE, "media type not acceptable, must be: text/plain\n"));
    }
    let now = Timestamp::now();
    let began = process::began().and_then(|seconds| Timestamp::from_second(seconds as i64).ok());
    Ok(text(StatusCode::OK, page(began.unwrap_or(now), now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_since_when_it_runs_and_which_version_to_whom_takes_text() {
        let (began, now) = ("2026-03-05T07:08:09Z".parse().unwrap(), "2026-03-06T09:09:10Z".parse().unwrap());
        let page = page(began, now);
        assert!(page.starts_with("\nkubelet statusz\nWarning: This endpoint is not meant"), "{page}");
        for line in ["Started: Thu Mar  5 07:08:09 UTC 2026", "Up: 26 hr 01 min 01 sec", "Emulation version: 1.36"] {
            assert!(page.lines().any(|told| told == line), "{line}: {page}");
        }
        assert!(!page.contains("  /") && !page.contains("v1.36"), "{page}");
        for (accept, want) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("application/json, text/plain; charset=UTF-8; q=0.5"), true),
            (Some("text/plain; charset=latin1"), false),
            (Some("application/json"), false),
        ] {
            assert_eq!(takes_text(accept), want, "{accept:?}");
        }
        assert_eq!(statusz(&HeaderMap::new()).ok().map(|answer| answer.status()), Some(StatusCode::OK));
        assert!(process::began().is_some_and(|began| began > 1e9));
    }
}
