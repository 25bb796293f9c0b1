//! What the proxy tells of itself, by upstream's ports and paths: to load balancers whether new connections may come to this node,
//! to who is on the node the mode of the proxy.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::pages::{everywhere, page, serve};

/// Where load balancers ask (upstream's `healthzBindAddress`).
const HEALTH_PORT: u16 = 10256;
/// Where the mode is told, on loopback alone (upstream's `metricsBindAddress`).
const MODE_PORT: u16 = 10249;
/// A change that has not reached the rules by then is late; upstream's figure, twice its period.
const LATE: Duration = Duration::from_secs(60);
/// Pause before a port that cannot be had is tried again.
const RETRY: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// How far the proxy is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    /// Since when changes wait that the rules do not have; `None` when they have all.
    waiting: Option<Instant>,
    /// When the rules were brought up to date last.
    updated: Option<Timestamp>,
    /// The node is being deleted, or about to be: load balancers are to send connections elsewhere.
    pub leaving: bool,
}

impl Pace {
    /// There are changes.
    pub fn wait(&mut self, now: Instant) {
        self.waiting.get_or_insert(now);
    }

    /// The rules have them all.
    pub fn done(&mut self, at: Timestamp) {
        self.waiting = None;
        self.updated = Some(at);
    }

    /// Whether no change is late. Before the first one that is so as well.
    pub fn keeps_up(&self, now: Instant) -> bool {
        self.waiting.is_none_or(|since| now.saturating_duration_since(since) < LATE)
    }
}

/// Serves both ports for as long as the answer lives.
pub(crate) fn start(pace: watch::Receiver<Pace>) -> JoinSet<()> {
    let mut servers = JoinSet::new();
    servers.spawn(tell_health(pace).boxed());
    servers.spawn(tell_mode().boxed());
    servers
}

async fn tell_health(pace: watch::Receiver<Pace>) {
    loop {
        let pace = pace.clone();
        let answer = move |path: &str| health(path, &pace.borrow(), Instant::now(), Timestamp::now());
        let server = async { serve(everywhere(HEALTH_PORT).await?, answer).await };
        rest(HEALTH_PORT, server.await).await;
    }
}

async fn tell_mode() {
    loop {
        let server = async { serve(TcpListener::bind((Ipv4Addr::LOCALHOST, MODE_PORT)).await?, mode).await };
        rest(MODE_PORT, server.await).await;
    }
}

/// Says why a server ended, which nobody wants, and pauses.
async fn rest(port: u16, ended: std::io::Result<()>) {
    if let Err(error) = ended {
        tracing::warn!(port, %error, "the proxy cannot tell of itself; trying again");
    }
    tokio::time::sleep(RETRY).await;
}

/// The pages for load balancers.
fn health(path: &str, pace: &Pace, now: Instant, time: Timestamp) -> Response<Full<Bytes>> {
    let keeps_up = pace.keeps_up(now);
    let (well, eligible) = match path {
        "/healthz" => (keeps_up && !pace.leaving, Some(!pace.leaving)),
        "/livez" => (keeps_up, None),
        _ => return unknown(),
    };
    // A proxy that is well is up to date now, also where nothing has changed for long.
    let updated = if well { Some(time) } else { pace.updated };
    let mut told = serde_json::json!({"lastUpdated": written(updated), "currentTime": written(Some(time))});
    if let Some(eligible) = eligible {
        told["nodeEligible"] = eligible.into();
    }
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(status, JSON, told.to_string())
}

/// A time as Go prints it, which is what this page has elsewhere.
fn written(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        None => "0001-01-01 00:00:00 +0000 UTC".to_owned(),
    }
}

/// The pages for who is on the node.
fn mode(path: &str) -> Response<Full<Bytes>> {
    match path {
        "/proxyMode" => page(StatusCode::OK, TEXT, "nftables".to_owned()),
        "/healthz" => page(StatusCode::OK, TEXT, "ok".to_owned()),
        _ => unknown(),
    }
}

fn unknown() -> Response<Full<Bytes>> {
    page(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    fn told(response: Response<Full<Bytes>>) -> (u16, String) {
        let status = response.status().as_u16();
        let body = futures::executor::block_on(response.into_body().collect()).expect("bytes").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[test]
    fn load_balancers_hear_whether_the_rules_are_up_to_date_and_the_node_stays() {
        let start = Instant::now();
        let (early, late) = (start + Duration::from_secs(59), start + Duration::from_secs(60));
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().expect("time");
        let ask = |path: &str, pace: &Pace, now: Instant| {
            let (status, text) = told(health(path, pace, now, time));
            (status, serde_json::from_str::<Value>(&text).expect("JSON"))
        };
        let now = "2026-01-02 03:04:05 +0000 UTC";
        let mut pace = Pace::default();
        let well = json!({"lastUpdated": now, "currentTime": now, "nodeEligible": true});
        assert_eq!(ask("/healthz", &pace, late), (200, well.clone()), "it has only begun");
        pace.done("2026-01-01T00:00:00.5Z".parse().expect("time"));
        pace.wait(start);
        pace.wait(late);
        assert_eq!(ask("/healthz", &pace, early), (200, well.clone()), "the change is new");
        let before = "2026-01-01 00:00:00.5 +0000 UTC";
        let ill = json!({"lastUpdated": before, "currentTime": now, "nodeEligible": true});
        assert_eq!(ask("/healthz", &pace, late), (503, ill), "the first of the changes counts");
        assert_eq!(ask("/livez", &pace, late).0, 503);
        pace.done(time);
        assert_eq!(ask("/healthz", &pace, late), (200, well));
        pace.leaving = true;
        let (status, page) = ask("/healthz", &pace, late);
        assert_eq!((status, &page["nodeEligible"]), (503, &json!(false)));
        assert_eq!(
            ask("/livez", &pace, late),
            (200, json!({"lastUpdated": now, "currentTime": now})),
            "the proxy works"
        );
        assert_eq!(told(health("/metrics", &pace, late, time)).0, 404);
    }

    #[test]
    fn the_mode_of_the_proxy_is_told_in_one_word() {
        assert_eq!(told(mode("/proxyMode")), (200, "nftables".to_owned()));
        assert_eq!(told(mode("/healthz")), (200, "ok".to_owned()));
        assert_eq!(told(mode("/")), (404, "404 page not found\n".to_owned()));
    }
}
