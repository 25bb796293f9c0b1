//! Whether the node is well, check by check, each with what to do about it.

use super::certificates;
use rk_machine_proto::v1::{Certificate, Check, HealthReply};
use rk_slots::Layout;
use rk_supervise::control::Status;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the node agent tells whether it is Ready: `True` or `False`, then why.
pub const NODE_STATUS: &str = "/run/rk/node-status";
const KUBELET: &str = "127.0.0.1:10248";
const PATIENCE: Duration = Duration::from_secs(3);
/// Less than this much of the data disk left is told.
const LEAST_FREE_PERCENT: u64 = 10;
/// With fewer days left of the machine API's certificate the node is not well: once it has ended no operator gets in.
const LEAST_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// Looks at everything; `api` is the machine API of the config, if there is one, and `layout` the slots, where the machine has some.
pub async fn check(status: &Status, api: Option<&rk_config::MachineApi>, layout: Option<&Layout>) -> HealthReply {
    let mut checks = services(status);
    checks.extend(slot(layout));
    if !status.maintenance {
        checks.push(kubelet().await);
        checks.push(node_ready(&fs::read_to_string(NODE_STATUS).unwrap_or_default()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    checks.extend(certificate(&certificates::of_api(api), i64::try_from(now).unwrap_or(i64::MAX)));
    checks.push(time(&crate::facts::clock::read()));
    checks.push(disk());
    HealthReply { healthy: checks.iter().all(|check| check.ok), checks }
}

fn made(name: impl Into<String>, ok: bool, message: impl Into<String>) -> Check {
    Check { name: name.into(), ok, message: message.into() }
}

fn services(status: &Status) -> Vec<Check> {
    let mut checks = Vec::new();
    if status.maintenance {
        checks.push(made("config", false, "the node has no config; give it one with rkctl node apply"));
    } else {
        checks.push(made("config", true, format!("from {}", status.source)));
    }
    // Until its services end all else may be well: who waits for a restart must not take the machine before it for the one after it.
    if !status.going_down.is_empty() {
        checks.push(made("machine", false, format!("on its way down: {}", status.going_down)));
    }
    if status.reverts_in > 0 {
        let message = format!("on trial, reverts in {} s; keep it with rkctl node config confirm", status.reverts_in);
        checks.push(made("trial", true, message));
    }
    for service in &status.services {
        let ok = service.state == "running";
        let message = match (ok, service.last_exit.as_str()) {
            (true, _) => format!("running for {} s", service.uptime_millis / 1000),
            (false, "") => service.state.clone(),
            (false, exit) => format!("{}, ended {exit}; see rkctl node logs {}", service.state, service.name),
        };
        checks.push(made(format!("service {}", service.name), ok, message));
    }
    checks
}

/// Of a slot on trial: who waits for an upgrade waits for its verdict.
fn slot(layout: Option<&Layout>) -> Option<Check> {
    let layout = layout.filter(|layout| layout.trial)?;
    let message = format!("{} is on trial until the node is Ready; else the other one runs again", layout.booted);
    Some(made("slot", false, message))
}

/// The kubelet's own word, on loopback.
async fn kubelet() -> Check {
    let asked = async {
        let mut stream = TcpStream::connect(KUBELET).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) if answer.get(8..12) == Some(b" 200") => made("kubelet", true, "answers on 127.0.0.1:10248"),
        Ok(Ok(_)) => made("kubelet", false, "says that it is not well; see rkctl node logs node"),
        Ok(Err(err)) => {
            made("kubelet", false, format!("does not answer on {KUBELET}: {err}; see rkctl node logs node"))
        }
        Err(_) => made("kubelet", false, "does not answer in time; see rkctl node logs node"),
    }
}

fn node_ready(text: &str) -> Check {
    let (ready, why) = text.split_once('\n').unwrap_or((text, ""));
    match ready {
        "True" => made("node", true, "Ready"),
        "False" => made("node", false, format!("not Ready: {}", why.trim())),
        _ => made("node", false, "has not told the cluster anything yet; see rkctl node logs node"),
    }
}

fn time(clock: &rk_machine_proto::v1::TimeReply) -> Check {
    match (clock.synchronized, clock.server.as_str()) {
        (true, "") => made("time", true, "not asked for"),
        (true, server) => made("time", true, format!("by {server}, off by {} µs", clock.offset_micros)),
        (false, _) => made("time", false, "no time server has answered; certificates may seem invalid"),
    }
}

/// Of the machine API's own certificates, which an operator renews, the one that ends first; `now` is in seconds since 1970.
fn certificate(own: &[Certificate], now: i64) -> Option<Check> {
    let end = own.iter().map(|one| one.not_after).min()?;
    let days = end.saturating_sub(now).div_euclid(DAY);
    let message = format!("the machine API's lasts for {days} days");
    Some(match days >= LEAST_DAYS {
        true => made("certificate", true, message),
        false => made("certificate", false, format!("{message}; renew it with rkctl node certificates rotate")),
    })
}

fn disk() -> Check {
    let Ok(stat) = rustix::fs::statvfs("/var") else { return made("disk", false, "/var cannot be looked at") };
    let (free, all) = (stat.f_bavail.saturating_mul(100), stat.f_blocks.max(1));
    let percent = free / all;
    let message = format!("{percent} % of /var is free");
    if percent >= LEAST_FREE_PERCENT {
        made("disk", true, message)
    } else {
        made("disk", false, format!("{message}; pods are evicted when it runs out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_supervise::control::ServiceStatus;

    #[test]
    fn a_service_that_does_not_run_tells_how_it_ended_and_where_to_look() {
        let service = |state: &str, exit: &str| ServiceStatus {
            name: "node".to_owned(),
            state: state.to_owned(),
            last_exit: exit.to_owned(),
            ..ServiceStatus::default()
        };
        let status = Status {
            services: vec![service("running", ""), service("waiting", "with code 1")],
            source: "a drive".to_owned(),
            ..Status::default()
        };
        let checks = services(&status);
        assert_eq!(checks.iter().map(|check| check.ok).collect::<Vec<_>>(), [true, true, false]);
        assert!(checks.last().unwrap().message.contains("with code 1; see rkctl node logs node"));
    }

    #[test]
    fn a_machine_on_its_way_down_is_not_well() {
        let service =
            ServiceStatus { name: "node".to_owned(), state: "running".to_owned(), ..ServiceStatus::default() };
        let up = Status { services: vec![service], ..Status::default() };
        assert!(services(&up).iter().all(|check| check.ok));
        let down = Status { going_down: "reboot".to_owned(), ..up };
        let wrong: Vec<Check> = services(&down).into_iter().filter(|check| !check.ok).collect();
        assert!(matches!(wrong.as_slice(), [only] if only.message == "on its way down: reboot"), "{wrong:?}");
    }

    #[test]
    fn a_slot_on_trial_is_not_well_until_it_is_good() {
        let text = "booted b\nhash ab\ndisk /dev/vda\nother /dev/vda3\nesp \ntrial 1\n";
        let trial = Layout::decode(text).unwrap();
        assert!(slot(Some(&trial)).is_some_and(|check| !check.ok && check.message.starts_with("b is on trial")));
        assert_eq!(slot(Some(&Layout { trial: false, ..trial })), None);
        assert_eq!(slot(None), None);
    }

    #[test]
    fn a_certificate_that_soon_ends_is_told_while_there_is_time_to_renew_it() {
        let own = |days: i64| [Certificate { not_after: 1000 + days * DAY, ..Certificate::default() }];
        assert_eq!(certificate(&[], 1000), None);
        assert!(certificate(&own(LEAST_DAYS), 1000).is_some_and(|check| check.ok));
        let soon = certificate(&[own(300), own(3)].concat(), 1000).unwrap();
        assert!(!soon.ok && soon.message.contains("lasts for 3 days; renew it with"), "{soon:?}");
        assert!(certificate(&own(-1), 1000).is_some_and(|check| !check.ok));
    }

    #[test]
    fn readiness_is_what_the_node_agent_wrote() {
        assert!(node_ready("True\n").ok);
        let not = node_ready("False\nnetwork plugin not ready\n");
        assert!(!not.ok && not.message.ends_with("network plugin not ready"), "{not:?}");
        assert!(!node_ready("").ok);
    }
}
