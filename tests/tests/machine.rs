//! One machine and its operator: `rkctl` against the machine API of a booted guest.

#[path = "machine/clouds.rs"]
mod clouds;
#[path = "machine/forms.rs"]
mod forms;
#[path = "machine/hardening.rs"]
mod hardening;
#[path = "machine/hostile.rs"]
mod hostile;
#[path = "machine/links.rs"]
mod links;
#[path = "machine/plane.rs"]
mod plane;
#[path = "machine/restart.rs"]
mod restart;
#[path = "machine/router.rs"]
mod router;
#[path = "machine/screen.rs"]
mod screen;
#[path = "machine/telemetry.rs"]
mod telemetry;
#[path = "machine/terminal.rs"]
mod terminal;
#[path = "machine/trial.rs"]
mod trial;
#[path = "machine/watchdog.rs"]
mod watchdog;

use rk_qemu::vm::{Vm, VmSpec};
use rk_qemu::{cidata, disk};
use rk_tests::exit::{NOT_FOUND, PRECONDITION, REFUSED, WRONG};
use rk_tests::{MACHINE_API, Operator, artifacts, eventually, free_address, limit, uplink};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Port of the guest's figures, once they are asked for.
const FIGURES: u16 = 9100;

/// A machine, its folder, and the address at which its machine API is reached.
struct Guest {
    vm: Vm,
    dir: PathBuf,
    node: String,
    figures: SocketAddr,
    operator: Operator,
}

fn folder(name: &str) -> PathBuf {
    let dir = rk_tests::folder("machine", name);
    disk::create_data(&dir.join("data.img"), 1024).expect("data disk");
    dir
}

/// Boots in a folder; `config` goes on a config drive.
fn boot(name: &str, dir: &Path, config: Option<&str>, words: &[&str]) -> Guest {
    boot_as(name, dir, config, words, |_| {})
}

/// As [`boot`], on a machine that is changed before.
fn boot_as(name: &str, dir: &Path, config: Option<&str>, words: &[&str], change: impl FnOnce(&mut VmSpec)) -> Guest {
    let artifacts = artifacts();
    let mut spec = VmSpec::new(name, dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs));
    spec.cmdline.extend(words.iter().map(|word| (*word).to_owned()));
    if let Some(config) = config {
        let seed = dir.join("cidata.img");
        cidata::create(&seed, config, "instance-id: machine\n").expect("config drive");
        spec = spec.drive(&seed, true);
    }
    let (node, figures) = (free_address(), free_address());
    spec = spec.drive(&dir.join("data.img"), false).nic(uplink(&[(node, MACHINE_API), (figures, FIGURES)]));
    change(&mut spec);
    let vm = Vm::start(&spec).expect("QEMU");
    Guest { vm, dir: dir.to_owned(), node: node.to_string(), figures, operator: Operator::new(&artifacts, dir) }
}

/// A cluster on paper whose API server is nowhere; the worker's config.
fn paper(operator: &Operator, dir: &Path) -> String {
    operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    std::fs::read_to_string(dir.join("worker.yaml")).expect("worker.yaml")
}

impl Guest {
    fn says(&mut self, text: &str) -> String {
        self.vm.wait_console(text, limit(30)).unwrap_or_else(|err| panic!("{err}"))
    }

    /// The fingerprint on the console of a machine that waits for a config.
    fn fingerprint(&mut self) -> String {
        let text = self.says("--fingerprint sha256:");
        let digits: String = text.rsplit("--fingerprint sha256:").next().unwrap_or_default().chars().take(64).collect();
        format!("sha256:{digits}")
    }

    /// rkctl against this guest.
    fn rkctl(&self, args: &[&str]) -> rk_tests::Outcome {
        let mut all = vec!["--timeout", "120", "-n", &self.node];
        all.extend(args);
        self.operator.run(&all)
    }

    fn answers(&self) {
        eventually("the machine API to answer", limit(30), || {
            let outcome = self.rkctl(&["node", "version"]);
            if outcome.code == 0 && outcome.out.contains("running") { Ok(()) } else { Err(outcome.err) }
        });
    }
}

/// A worker that runs with a config from a drive, and whose machine API answers.
fn running(name: &str) -> Guest {
    let dir = folder(name);
    let config = paper(&Operator::new(&artifacts(), &dir), &dir);
    let guest = boot(name, &dir, Some(&config), &[]);
    guest.answers();
    guest
}

#[test]
fn without_a_config_the_console_shows_a_fingerprint_by_which_one_is_given_and_kept() {
    let dir = folder("maintenance");
    let mut guest = boot("maintenance", &dir, None, &[]);
    guest.says("rkctl node apply --insecure");
    let fingerprint = guest.fingerprint();
    let digits = fingerprint.trim_start_matches("sha256:").to_owned();
    // Whoever reaches the port may send anything; a machine that waits for its config goes on waiting.
    noise(guest.node.parse().expect("address"));
    paper(&guest.operator, &dir);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let apply = |fingerprint: &str, file: &str| {
        guest.rkctl(&["node", "apply", "--insecure", "--fingerprint", fingerprint, file])
    };
    let refused = apply(&wrong, "worker.yaml");
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.err.contains(&digits), "{refused:?}");
    std::fs::write(dir.join("bad.yaml"), "role: boss\n").expect("file");
    assert_eq!(apply(&fingerprint, "bad.yaml").code, WRONG);
    let disks = guest.rkctl(&["node", "disks", "--insecure", "--fingerprint", &fingerprint]).good();
    assert!(disks.contains("RK-DATA"), "{disks}");
    apply(&fingerprint, "worker.yaml").good();
    guest.answers();
    // Kept: the next start needs no operator.
    assert_eq!(guest.rkctl(&["node", "reboot"]).code, 0);
    assert!(guest.vm.wait_end(limit(60)), "it did not go down:\n{}", guest.vm.console().tail());
    drop(guest);
    let mut guest = boot("again", &dir, None, &[]);
    guest.says("config accepted from the machine's state");
    guest.answers();
}

#[test]
fn roles_are_held_and_secrets_are_not_read() {
    let guest = running("roles");
    let make = |role: &str| {
        let args = ["config", "client", "--secrets", "secrets.yaml", "--role", role, "--name", "ann"];
        std::fs::write(guest.dir.join(format!("{role}.yaml")), guest.operator.run(&args).good()).expect("file");
        format!("{role}.yaml")
    };
    let (reader, handler) = (make("reader"), make("operator"));
    let by = |who: &str, args: &[&str]| guest.rkctl(&[&["--rkctl-config", who], args].concat());
    for verb in [
        vec!["reboot"],
        vec!["kubeconfig"],
        vec!["config", "patch", "kubelet: {maxPods: 9}"],
        vec!["read", "/etc/hosts"],
    ] {
        let refused = by(&reader, &[&["node"], verb.as_slice()].concat());
        assert_eq!(refused.code, REFUSED, "{verb:?}: {refused:?}");
    }
    assert!(by(&handler, &["node", "read", "/etc/hosts"]).good().contains("localhost"));
    // Only a config that was applied is kept.
    guest.rkctl(&["node", "config", "patch", "kubelet: {maxPods: 100}"]).good();
    for secret in
        ["/run/rk/machine.json", "/var/lib/rk/state/machine.yaml", "/proc/1/environ", "/proc/1/root/etc/hosts"]
    {
        let refused = by(&handler, &["node", "read", secret]);
        assert!([REFUSED, PRECONDITION].contains(&refused.code), "{secret}: {refused:?}");
    }
    let shown = by(&reader, &["node", "config", "get"]).good();
    assert!(shown.contains("<secret>") && !shown.contains("PRIVATE KEY"), "{shown}");
    assert!(guest.rkctl(&["node", "config", "get"]).good().contains("PRIVATE KEY"));
    std::fs::create_dir(guest.dir.join("other")).expect("folder");
    guest.operator.run(&["config", "gen", "other", "https://10.0.2.2:1", "--output", "other"]).good();
    assert_eq!(by("other/rkctl.yaml", &["node", "version"]).code, REFUSED);
}

#[test]
fn a_config_on_trial_is_taken_back_and_a_confirmed_one_stays() {
    let mut guest = running("trial");
    // Longer than two calls of the operator's take.
    let trial = limit(20).max(Duration::from_secs(40));
    let seconds = trial.as_secs().to_string();
    let pods = |guest: &Guest| {
        let config = guest.rkctl(&["node", "config", "get"]).good();
        config.lines().find_map(|line| line.trim().strip_prefix("maxPods: ").map(str::to_owned)).unwrap_or_default()
    };
    let patch = |guest: &Guest, pods: u32, mode: &str| {
        guest.rkctl(&[
            "node",
            "config",
            "patch",
            &format!("kubelet: {{maxPods: {pods}}}"),
            "--mode",
            mode,
            "--seconds",
            &seconds,
        ])
    };
    let told = patch(&guest, 7, "dry-run").good();
    let line = told.lines().find(|line| line.starts_with("kubelet.maxPods")).unwrap_or_default();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["kubelet.maxPods", "110", "7", "no"], "{told}");
    assert_eq!(pods(&guest), "110");
    patch(&guest, 8, "try").good();
    assert_eq!(pods(&guest), "8");
    guest.vm.wait_console("taken back", trial + limit(30)).unwrap_or_else(|err| panic!("{err}"));
    assert_eq!(pods(&guest), "110");
    patch(&guest, 9, "try").good();
    guest.rkctl(&["node", "config", "confirm"]).good();
    assert_eq!(guest.rkctl(&["node", "config", "confirm"]).code, PRECONDITION);
    assert_eq!(pods(&guest), "9");
    let refused = guest.rkctl(&["node", "config", "patch", "hostname: other", "--mode", "no-reboot"]);
    assert_eq!(refused.code, PRECONDITION, "{refused:?}");
    let wrong = guest.rkctl(&["node", "config", "patch", "kubelet: {maxPods: many}"]);
    assert!(wrong.code == WRONG && wrong.err.contains("kubelet.maxPods"), "{wrong:?}");
}

#[test]
fn every_question_has_an_answer_and_every_missing_verb_says_so() {
    let guest = running("questions");
    let table: [(&[&str], &str); 15] = [
        (&["services"], "netd"),
        (&["ps"], "rk-machine-api"),
        (&["mounts"], "/sys/fs/cgroup"),
        (&["disks"], "RK-DATA"),
        (&["memory"], "RESERVED"),
        (&["cpu"], "CORES"),
        (&["netstat", "--listening"], "0.0.0.0:50000"),
        (&["interfaces"], "10.0.2.15/24"),
        (&["routes"], "0.0.0.0/0"),
        (&["time"], "SYNCHRONIZED"),
        (&["certificates", "list"], "machine API"),
        (&["list", "/var/log/rk"], "init.log"),
        (&["dmesg", "--tail", "2000"], "Linux version"),
        (&["logs", "init"], "config accepted"),
        (&["events"], "machine started"),
    ];
    for (verb, wanted) in table {
        let out = guest.rkctl(&[&["node"], verb].concat()).good();
        assert!(out.contains(wanted), "{verb:?} does not tell {wanted}:\n{out}");
    }
    forms::are_documents(&guest);
    let json = guest.rkctl(&["node", "services", "-o", "json"]).good();
    assert!(json.contains("\"state\": \"running\""), "{json}");
    let config = guest.rkctl(&["node", "config", "get", "-o", "json"]).good();
    assert!(config.contains("\"role\": \"worker\""), "{config}");
    assert_eq!(guest.rkctl(&["node", "logs", "nothing"]).code, NOT_FOUND);
    assert_eq!(guest.rkctl(&["node", "reset"]).code, WRONG);
    let judged = guest.rkctl(&["node", "config", "validate", "worker.yaml"]).good();
    assert!(judged.ends_with("the config is good\n"), "{judged}");
    std::fs::write(guest.dir.join("wrong.yaml"), "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: boss\n")
        .expect("file");
    let wrong = guest.rkctl(&["node", "config", "validate", "wrong.yaml"]);
    assert!(wrong.code == WRONG && wrong.out.contains("role"), "{wrong:?}");
    guest.rkctl(&["node", "capture", "eth0", "--seconds", "2", "--file", "net.pcap"]).good();
    let captured = std::fs::read(guest.dir.join("net.pcap")).expect("a capture");
    assert!(captured.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()), "no pcap: {captured:?}");
    telemetry::captures(&guest);
    // It runs from memory: there is nothing to go back to.
    assert_eq!(guest.rkctl(&["node", "rollback"]).code, PRECONDITION);
    assert_eq!(guest.rkctl(&["node", "restart", "nothing"]).code, PRECONDITION);
    guest.rkctl(&["node", "restart", "netd"]).good();
    eventually("netd to run again", limit(60), || {
        let out = guest.rkctl(&["node", "services"]).good();
        let line = out.lines().find(|line| line.starts_with("netd")).unwrap_or_default();
        if line.contains("running") && line.contains("with") || line.contains("by signal") { Ok(()) } else { Err(out) }
    });
    // Its cluster is nowhere.
    let health = guest.rkctl(&["health"]);
    let node = health.out.lines().find(|line| line.starts_with("node ")).unwrap_or_default();
    assert!(health.code == 7 && node.split_whitespace().nth(1) == Some("no"), "{health:?}");
    guest.rkctl(&["support", "--file", "support.tar.gz", "--lines", "50"]).good();
    assert!(std::fs::metadata(guest.dir.join("support.tar.gz")).is_ok_and(|meta| meta.len() > 1000));
}

#[test]
fn certificates_rotate_and_the_machine_goes_down_when_told() {
    let mut guest = running("rotate");
    let until = |guest: &Guest| guest.rkctl(&["node", "certificates", "list", "-o", "json"]).good();
    let before = until(&guest);
    guest.rkctl(&["node", "certificates", "rotate", "--secrets", "secrets.yaml"]).good();
    guest.answers();
    assert_ne!(until(&guest), before);
    assert_eq!(guest.rkctl(&["node", "shutdown"]).code, 0);
    assert!(guest.vm.wait_end(limit(60)), "it did not go down:\n{}", guest.vm.console().tail());
    let text = guest.vm.console().text();
    assert!(text.contains("poweroff asked by the machine API") && !text.contains("Kernel panic"), "{text}");
}

#[test]
fn figures_and_logs_are_told_and_noise_on_the_ports_harms_nobody() {
    let guest = running("noise");
    telemetry::tells(&guest);
    noise(guest.node.parse().expect("address"));
    noise(guest.figures);
    guest.answers();
    eventually("figures", limit(30), || telemetry::figures(&guest));
    let services = guest.rkctl(&["node", "services"]).good();
    let machine = services.lines().find(|line| line.starts_with("machine")).unwrap_or_default();
    // Its second start was for the config that asked for figures.
    assert!(machine.split_whitespace().any(|word| word == "2"), "{services}");
}

fn noise(address: SocketAddr) {
    use std::io::{Read, Write};
    for noise in [vec![0xff; 100_000], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x16, 3, 1, 0xff, 0xff], Vec::new()] {
        for _ in 0..20 {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            let _ = stream.write_all(&noise);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

#[test]
fn a_config_comes_from_a_url_on_the_command_line_before_one_of_a_drive() {
    let dir = folder("url");
    let config = paper(&Operator::new(&artifacts(), &dir), &dir);
    let other = format!("{config}\nhostname: other\n");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{config}", config.len());
        }
    });
    let word = format!("rk.config=http://10.0.2.2:{port}/worker.yaml");
    let mut guest = boot("url", &dir, Some(&other), &[&word]);
    guest.says("config accepted from http://10.0.2.2");
    guest.answers();
}
