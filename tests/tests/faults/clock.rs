//! Clocks that are ten years off, either way: with a time server the node joins as if nothing were; without one it says what is wrong.

use super::{Worker, plane};
use rk_config::Ntp;
use rk_qemu::cluster::{Cluster, ClusterSpec, wait_ready};
use rk_qemu::switch::time_server;
use rk_tests::{Kubectl, artifacts, eventually, limit};
use std::net::Ipv4Addr;
use std::process::Command;

const TIME_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 250);
/// A time server that is named first and never answers.
const SILENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 249);

/// What QEMU is told of a clock that is so far off, such as `-10 years`.
fn off_by(distance: &str) -> String {
    let date = Command::new("date").args(["--utc", "--date", distance, "+%Y-%m-%dT%H:%M:%S"]).output().expect("date");
    String::from_utf8(date.stdout).expect("text").trim().to_owned()
}

fn joins(index: u8, distance: &str) {
    let shared = plane();
    let server = time_server(shared.cluster.switch(), TIME_SERVER).expect("a time server");
    let mut worker = Worker::new(&shared, index);
    worker.spec.clock = Some(off_by(distance));
    worker.config.network.ntp = Ntp { enabled: true, servers: vec![SILENT.to_string(), TIME_SERVER.to_string()] };
    worker.start(1024);
    worker.says(&format!("clock set by {TIME_SERVER}"));
    worker.wait_ready();
    assert!(server.answered() > 0);
    worker.runs_a_pod(&format!("clock-{index}"));
    // What it got with its right clock serves a second start with the wrong one.
    let mark = worker.vm().console().mark();
    worker.start_again();
    worker.vm().wait_console_from(mark, "clock set by", limit(60)).unwrap_or_else(|err| panic!("{err}"));
    eventually("the node's own word that it is Ready again", limit(90), || {
        let text = worker.vm().console().text_since(mark);
        if text.contains("worker, Ready") { Ok(()) } else { Err(text) }
    });
    worker.answers();
}

#[test]
fn a_worker_whose_clock_is_ten_years_behind_asks_the_time_and_joins() {
    joins(1, "-10 years");
}

#[test]
fn a_worker_whose_clock_is_ten_years_ahead_asks_the_time_and_joins() {
    joins(2, "+10 years");
}

#[test]
fn a_worker_with_a_wrong_clock_and_no_time_server_says_what_is_wrong() {
    let shared = plane();
    for (index, distance) in [(3, "-10 years"), (4, "+10 years")] {
        let mut worker = Worker::new(&shared, index);
        let clock = off_by(distance);
        let year = clock.get(..4).expect("a year").to_owned();
        worker.spec.clock = Some(clock);
        worker.start(1024);
        let line = worker.says("this node's clock says");
        assert!(line.contains(&year) && line.contains("network.ntp"), "{line}");
        assert!(worker.vm().ended().is_none(), "the machine went down");
        if distance.starts_with('-') {
            // Its operator is not locked out: the clock goes on from the image's own day, when their certificate is valid.
            worker.answers();
        }
    }
}

fn born(name: &str, distance: &str) {
    let artifacts = artifacts();
    let mut spec = ClusterSpec::new(name, &artifacts.work.join(name), &artifacts);
    (spec.workers, spec.memory_mib) = (0, 1536);
    (spec.clock, spec.time_servers) = (Some(off_by(distance)), vec![TIME_SERVER]);
    let cluster = Cluster::start(&spec).expect("cluster");
    let api = cluster.api().expect("api");
    // Its certificates are of the wrong year before it hears the time.
    eventually("an API server whose certificate is of no use", limit(60), || match api.ready() {
        Err(err) if format!("{err:?}").contains("ertificate") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let _server = time_server(cluster.switch(), TIME_SERVER).expect("a time server");
    wait_ready(&api, 1, limit(120), |_| {}, || Ok(())).unwrap_or_else(|err| {
        panic!("{err}\n{}", cluster.console("control-plane").map(|console| console.tail()).unwrap_or_default())
    });
    let kubectl = Kubectl::new(&artifacts.kubectl, cluster.kubeconfig());
    let kubectl = kubectl.new_namespace("born");
    super::pod(&kubectl, "here", "control-plane", "echo here; exec sleep 36000", "");
    assert_eq!(super::sh(&kubectl, "here", "echo inside").expect("exec").trim(), "inside");
    let until = kubectl.ok(&["create", "token", "default"]);
    assert!(!until.trim().is_empty());
}

#[test]
fn a_control_plane_born_ten_years_ago_serves_once_it_hears_the_time() {
    born("born-behind", "-10 years");
}

#[test]
fn a_control_plane_born_in_ten_years_serves_once_it_hears_the_time() {
    born("born-ahead", "+10 years");
}
