//! `up`: from a bare machine to a cluster whose nodes are Ready.

use super::interrupt::Interrupt;
use super::{UpArgs, option};
use crate::paths::Paths;
use crate::report::{Report, Step};
use crate::run::tail;
use crate::setup::{self, Profile};
use anyhow::{Context, Result, bail};
use rk_qemu::cluster::{ClusterState, NODE_PORT, Progress, label_control_plane, wait_ready};
use rk_qemu::http::Client;
use rk_qemu::kube::Api;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starting QEMU and the registry takes a second; a host that swaps takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// From power-on to Ready under KVM; scaled for TCG.
const READY_LIMIT: Duration = Duration::from_secs(120);

pub fn run(paths: &Paths, args: &UpArgs) -> Result<()> {
    let name = &args.name.name;
    if let Some(state) = ClusterState::load(&paths.cluster(name))? {
        say!("cluster {name} runs already (stop it by `cargo xtask down{}`)\n", option(name));
        print_next(paths, &state);
        return Ok(());
    }
    let interrupt = Interrupt::watch()?;
    let report = Report::new();
    let start = Instant::now();
    let artifacts = setup::prepare(paths, &report, args.setup.install(), args.setup.accel, Profile::Release)?;
    let state = report.step("machines", |_| {
        let state = launch(paths, args, &interrupt)?;
        let note =
            format!("1 control plane, {} worker(s), registry on port {}", args.shape.workers, state.registry_port);
        Ok((state, note))
    })?;
    let registry = Client::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, state.registry_port)));
    report.step("registry", |_| {
        let names = setup::push_demo(&registry, &artifacts.images)?;
        Ok(((), names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
    })?;
    report.step("nodes ready", |step| wait(paths, &state, step))?;
    interrupt.over();
    say!("{:<28} {:>8}\n", "all", crate::report::duration(start.elapsed()));
    print_next(paths, &state);
    Ok(())
}

/// Starts the process that owns the cluster and waits until the machines run.
fn launch(paths: &Paths, args: &UpArgs, interrupt: &Interrupt) -> Result<ClusterState> {
    let name = &args.name.name;
    let log = paths.supervisor_log(name);
    let file = std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let twin = file.try_clone().context("log of the supervisor")?;
    let dir = paths.cluster(name);
    let mut command = Command::new(std::env::current_exe().context("where this program lies")?);
    command
        .args(["supervise", "--name", name, "--workers", &args.shape.workers.to_string()])
        .args(["--memory", &args.shape.memory.to_string()])
        .args(args.shape.cpus.map(|cpus| format!("--cpus={cpus}")))
        .args(["--port", &args.port.to_string()])
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(twin);
    let mut child = command.spawn().context("cannot start the supervisor")?;
    interrupt.guard(child.id());
    wait_state(&mut child, &dir, &log)
}

fn wait_state(child: &mut Child, dir: &std::path::Path, log: &std::path::Path) -> Result<ClusterState> {
    let start = Instant::now();
    loop {
        if let Some(state) = ClusterState::load(dir)?.filter(|s| s.pid == child.id()) {
            return Ok(state);
        }
        let said = || tail(&std::fs::read_to_string(log).unwrap_or_default());
        if let Some(status) = child.try_wait().context("the supervisor")? {
            bail!("the supervisor ended ({status}):\n{}", said());
        }
        if start.elapsed() > START_LIMIT {
            let _ = child.kill();
            bail!("the machines did not start within {START_LIMIT:?}:\n{}", said());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait(paths: &Paths, state: &ClusterState, step: &Step) -> Result<((), String)> {
    let api = Api::from_kubeconfig(&state.kubeconfig)?;
    let wanted = state.nodes.len();
    let dir = paths.cluster(&state.name);
    let limit = state.accel.scale(READY_LIMIT);
    let tell = |progress: Progress| match progress {
        Progress::NoApi(_) => step.say("waiting for the API"),
        Progress::Nodes { ready, wanted } => step.at(ready as u64, wanted as u64),
    };
    let alive = || match ClusterState::load(&dir)? {
        Some(_) => Ok(()),
        None => Err(rk_qemu::Error::State(
            "the process that owns the machines has ended; see its log beside the cluster".into(),
        )),
    };
    wait_ready(&api, wanted, limit, tell, alive).with_context(|| {
        let logs: Vec<String> = state.nodes.iter().map(|n| paths.show(&n.console_log)).collect();
        format!("the cluster runs on for you to look at; consoles: {}", logs.join(" "))
    })?;
    label_control_plane(&api)?;
    Ok(((), format!("{wanted} of {wanted}")))
}

/// What to type next.
fn print_next(paths: &Paths, state: &ClusterState) {
    let option = option(&state.name);
    let node_port = state.nodes.iter().flat_map(|n| n.forwards.iter()).find(|f| f.guest == NODE_PORT);
    say!("  export KUBECONFIG={}", state.kubeconfig.display());
    if let Some(file) = &state.operator {
        say!("  export RKCTL_CONFIG={}", file.display());
    }
    say!("  export PATH={}:$PATH        # rkctl, and a kubectl that fits", paths.rk.join("bin").display());
    say!("  kubectl get nodes -o wide");
    say!("  kubectl create deployment web --image rk.local/nginx:demo --replicas 3");
    say!("  kubectl expose deployment web --port 80 --type NodePort \\");
    say!("      --overrides '{{\"spec\":{{\"ports\":[{{\"port\":80,\"nodePort\":{NODE_PORT}}}]}}}}'");
    if let Some(forward) = node_port {
        say!("  curl http://127.0.0.1:{}/", forward.host);
    }
    if state.operator.is_some() {
        say!("  rkctl health                             # the machines themselves; rkctl --help");
    }
    say!("");
    say!("  cargo xtask load{option} IMAGE.tar        # put an image into the cluster's registry");
    say!("  cargo xtask forward{option} NODEPORT      # reach another NodePort from here");
    say!(
        "  cargo xtask console{option} worker-1      # consoles are logged in {}",
        paths.show(&paths.cluster(&state.name))
    );
    say!("  cargo xtask status");
    say!("  cargo xtask down{option}");
}
