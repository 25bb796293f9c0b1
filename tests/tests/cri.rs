//! The node's CRI socket as a client finds it that shares no code with the node: Python's gRPC, with stubs of the definitions that CRI's own
//! project keeps. What it expects is in `tests/cri`, a class for each section, in the manner of cri-tools' critest.

use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, push, write_layout};
use rk_tests::{Shared, artifacts, folder, limit, python_with, shared, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PACKAGES: [&str; 4] = ["grpcio==1.80.0", "grpcio-tools==1.80.0", "protobuf==6.33.6", "websocket-client==1.8.0"];
/// Where the relay listens on the node: for the socket, and for other places of the node.
const RELAY: [u16; 2] = [7100, 7101];
/// Users and groups of the relay's image, for containers that ask for them by name.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\npeer:x:1000:1000:peer:/home/peer:/bin/sh\n";
const GROUP: &str = "root:x:0:\npeer:x:1000:\npeers:x:50000:peer\n";

/// The client, and the way to the node.
struct Peer {
    python: PathBuf,
    stubs: PathBuf,
    /// Of the host, in the order of [`RELAY`].
    ports: [u16; 2],
}

fn peer() -> &'static Peer {
    static PEER: OnceLock<Peer> = OnceLock::new();
    PEER.get_or_init(start)
}

fn start() -> Peer {
    let python = python_with("grpcio-1.80.0", &PACKAGES, "import grpc, grpc_tools.protoc, websocket");
    let stubs = stubs(&python);
    let mut shared = shared("cri", 0);
    push_relay(&shared);
    push_named(&shared);
    let kubectl = shared.kubectl.new_namespace("cri");
    let [socket, place] = RELAY;
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: relay}}\nspec:\n  hostNetwork: true\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  volumes: [{{name: run, hostPath: {{path: /run/rk}}}}]\n  containers:\n  - name: main\n    \
         image: rk.local/relay:test\n    args: ['{socket}', '{place}']\n    securityContext: {{privileged: true}}\n    \
         volumeMounts: [{{name: run, mountPath: /run/rk}}]\n    readinessProbe: {{tcpSocket: {{port: {socket}}}, periodSeconds: 1}}\n"
    ));
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/relay", &format!("--timeout={}s", limit(60).as_secs())]);
    let ports = RELAY.map(|port| shared.cluster.forward("control-plane", port).expect("a forwarded port"));
    Peer { python, stubs, ports }
}

/// Python that speaks CRI, generated anew.
fn stubs(python: &Path) -> PathBuf {
    let (api, out) = (artifacts().cri_api, folder("cri-peer", "stubs"));
    let mut command = Command::new(python);
    command.args(["-m", "grpc_tools.protoc", "-I"]).arg(&api);
    for kind in ["--python_out", "--grpc_python_out"] {
        command.arg(kind).arg(&out);
    }
    succeed(command.arg("api.proto"), "CRI's definitions are no longer understood");
    out
}

/// Puts the relay, which is one static program, into the cluster's registry, with users and groups beside it.
fn push_relay(shared: &Shared) {
    let program = std::fs::read(env!("CARGO_BIN_EXE_relay")).expect("the relay");
    let files = [
        Entry::file("relay", 0o755, program),
        Entry::file("etc/passwd", 0o644, PASSWD),
        Entry::file("etc/group", 0o644, GROUP),
    ];
    let config =
        ImageConfig { entrypoint: vec!["/relay".into()], volumes: vec!["/data".into()], ..ImageConfig::default() };
    push_image(shared, "rk.local/relay:test", &files, &config);
}

/// Puts images into the registry whose names, users and IDs the cases compare. Nothing of them ever runs.
fn push_named(shared: &Shared) {
    let file = |text: &str| [Entry::file("word", 0o644, text)];
    // One image under several names, of which one is another registry's.
    for name in ["rk.local/same:1", "rk.local/same:2", "rk.local/same:3", "other.local/same:1"] {
        push_image(shared, name, &file("same"), &ImageConfig::default());
    }
    for name in ["rk.local/one:latest", "rk.local/two:latest", "rk.local/three:latest"] {
        push_image(shared, name, &file(name), &ImageConfig::default());
    }
    for (tag, user) in
        [("uid", "1002"), ("uid-group", "1003:users"), ("name", "www-data"), ("name-group", "www-data:100")]
    {
        let config = ImageConfig { user: Some(user.into()), ..ImageConfig::default() };
        push_image(shared, &format!("rk.local/user:{tag}"), &file(tag), &config);
    }
}

fn push_image(shared: &Shared, name: &str, files: &[Entry], config: &ImageConfig) {
    let layout = folder("cri-peer", "image");
    let name: ImageName = name.parse().expect("name");
    write_layout(&layout, &name, files, config).expect("layout");
    let archive = Archive::open(&layout, None).expect("archive");
    push(&shared.cluster.registry().client(), &archive).expect("push");
}

/// Runs the cases of a class.
fn section(class: &str) {
    let peer = peer();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = std::env::join_paths([&tests.join("tests/cri"), &peer.stubs]).expect("folders without colons");
    let [socket, place] = peer.ports.map(|port| port.to_string());
    let mut command = Command::new(&peer.python);
    command.args(["-B", "-m", "unittest", "--verbose", class]).env("PYTHONPATH", paths);
    command.env("CRI_PORT", socket).env("NODE_PORT", place).env("PATIENCE", limit(20).as_secs().to_string());
    command.env("OUR_PROTO", tests.join("../rk-node/cri/api/proto")).env("THEIR_PROTO", artifacts().cri_api);
    succeed(&mut command, "the runtime serves otherwise than a client of CRI expects");
}

#[test]
fn our_definitions_are_those_of_others_on_the_wire() {
    section("definitions.Wire");
}

#[test]
fn the_runtime_tells_versions_conditions_and_what_is_not_there() {
    section("status.Status");
}

#[test]
fn events_tell_the_life_of_pods_and_containers() {
    section("status.Events");
}

#[test]
fn pods_are_run_listed_stopped_and_removed_more_than_once() {
    section("sandboxes.Life");
}

#[test]
fn a_pod_whose_shim_dies_is_lost_and_told_so() {
    section("sandboxes.Loss");
}

#[test]
fn pods_have_namespaces_of_their_own_or_the_node_s() {
    section("sandboxes.Namespaces");
}

#[test]
fn ports_of_the_node_lead_to_pods() {
    section("sandboxes.Ports");
}

#[test]
fn containers_are_made_started_stopped_and_removed_more_than_once() {
    section("containers.Life");
}

#[test]
fn containers_end_with_codes_and_reasons() {
    section("containers.Ends");
}

#[test]
fn containers_are_asked_to_stop_by_the_signal_that_they_or_their_images_name() {
    section("containers.Signals");
}

#[test]
fn limits_of_containers_are_changed_while_they_run() {
    section("containers.Updates");
}

#[test]
fn commands_answer_output_and_codes_and_are_cut_off_in_time() {
    section("streams.Commands");
}

#[test]
fn sessions_carry_input_output_and_how_they_ended() {
    section("streams.Sessions");
}

#[test]
fn logs_are_where_they_were_asked_for_and_are_opened_again() {
    section("streams.Logs");
}

#[test]
fn mounts_are_passed_on_as_far_as_was_asked() {
    section("mounts.Propagation");
}

#[test]
fn mounts_are_read_only_all_the_way_when_that_was_asked() {
    section("mounts.ReadOnly");
}

#[test]
fn containers_may_do_what_they_were_given() {
    section("security.Confinement");
}

#[test]
fn containers_have_the_users_and_groups_that_were_asked_for() {
    section("security.Identity");
}

#[test]
fn pods_have_ids_of_their_own_or_the_node_s() {
    section("security.Users");
}

#[test]
fn images_are_pulled_told_listed_and_removed_more_than_once() {
    section("images.Images");
}

#[test]
fn usage_and_metrics_of_what_runs_are_told() {
    section("figures.Figures");
}
