//! What a machine is not asked about beforehand: wrong clocks, cables that flap, networks that come late, from others or lose packets,
//! full disks, little memory, storms of orphans, registries out of reach. One control plane serves all of it; each test adds a worker with
//! its own trouble.

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/installed.rs"]
mod installed;
#[path = "faults/link.rs"]
mod link;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/registry.rs"]
mod registry;
#[path = "faults/shutdown.rs"]
mod shutdown;

use rk_config::MachineConfig;
use rk_qemu::cluster::{API_PORT, NodePlan, Surroundings, address_of, machine_config};
use rk_qemu::vm::{Forward, Nic, Vm, VmSpec};
use rk_qemu::{cidata, disk as disks};
use rk_tests::{Kubectl, MACHINE_API, Operator, Outcome, Shared, eventually, free_address, limit, shared_with};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::MutexGuard;

/// From power-on to Ready under KVM.
const READY: u64 = 120;
/// A busybox that stays.
const IMAGE: &str = "rk.local/busybox:demo";

/// A control plane of 1.5 GB, without workers.
fn plane() -> MutexGuard<'static, Shared> {
    shared_with("faults", 0, |spec| spec.memory_mib = 1536)
}

/// A worker to be, of 1 GB.
struct Worker {
    name: String,
    address: Ipv4Addr,
    dir: PathBuf,
    config: MachineConfig,
    spec: VmSpec,
    node: SocketAddr,
    operator: Operator,
    kubectl: Kubectl,
    vm: Option<Vm>,
}

impl Worker {
    /// `worker-<index>`; each test has its own.
    fn new(shared: &Shared, index: u8) -> Worker {
        let (plan, artifacts) = (NodePlan::of(index), &shared.artifacts);
        let dir = rk_tests::folder("faults-of-workers", &plan.name);
        let operator = Operator::new(artifacts, &dir);
        let around = Surroundings {
            cluster: "faults".into(),
            control_plane: address_of(0).ip,
            registry: shared.cluster.registry().url_from_guest(),
            time_servers: Vec::new(),
            kubelet: serde_json::Value::Null,
            node_mask: None,
            dual_stack: false,
            swap_mib: 0,
        };
        let yaml = machine_config(&plan, &around, shared.cluster.pki()).expect("config");
        let mut config = rk_config::parse(&yaml).expect("config").config;
        let endpoint = format!("https://{}:{API_PORT}", address_of(0).ip);
        operator.run(&["config", "gen", "faults", &endpoint]).good();
        let made = std::fs::read_to_string(dir.join("worker.yaml")).expect("worker.yaml");
        // Nobody waits five minutes to see that there is room again.
        config.kubelet.config = serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "evictionPressureTransitionPeriod": "60s"});
        config.machine_api = rk_config::parse(&made).expect("worker.yaml").config.machine_api;
        let node = free_address();
        let (_, socket) = shared.cluster.switch().add_port().expect("port");
        let forwards = vec![Forward { host: node, guest: MACHINE_API }];
        let mut spec = VmSpec::new(&plan.name, &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
            .nic(Nic::Uplink { mac: plan.address.uplink_mac.clone(), forwards })
            .nic(Nic::Switch { mac: plan.address.mac.clone(), socket });
        spec.memory_mib = 1024;
        let address = plan.address.ip;
        Worker {
            name: plan.name,
            address,
            dir,
            config,
            spec,
            node,
            operator,
            kubectl: shared.kubectl.clone(),
            vm: None,
        }
    }

    /// Makes its disks, the data disk of so many MiB, and switches it on.
    fn start(&mut self, data_mib: u64) {
        let (seed, data) = (self.dir.join("cidata.img"), self.dir.join("data.img"));
        let config = rk_config::to_yaml(&self.config).expect("config");
        cidata::create(&seed, &config, "instance-id: faults\n").expect("config drive");
        disks::create_data(&data, data_mib).expect("data disk");
        self.spec = self.spec.clone().drive(&seed, true).drive(&data, false);
        self.start_again();
    }

    /// Switches it on with the disks that it has.
    fn start_again(&mut self) {
        self.vm = None;
        self.vm = Some(Vm::start(&self.spec).expect("QEMU"));
    }

    fn vm(&mut self) -> &mut Vm {
        self.vm.as_mut().expect("a running machine")
    }

    /// Waits for words on its console.
    fn says(&mut self, text: &str) -> String {
        self.vm().wait_console(text, limit(READY)).unwrap_or_else(|err| panic!("{err}"))
    }

    /// What a condition of its node says: `True`, `False` or `Unknown`.
    fn condition(&self, name: &str) -> Result<String, String> {
        let path = format!("{{.status.conditions[?(@.type==\"{name}\")].status}}");
        self.kubectl.try_path(&["node", &self.name], &path)
    }

    /// Waits for a condition of its node.
    fn wait_condition(&self, name: &str, wanted: &str, seconds: u64) {
        eventually(&format!("{name}={wanted} of {}", self.name), limit(seconds), || match self.condition(name)? {
            seen if seen == wanted => Ok(()),
            seen => Err(format!("{seen}\n{}", self.vm.as_ref().map(|vm| vm.console().tail()).unwrap_or_default())),
        });
    }

    fn wait_ready(&self) {
        self.wait_condition("Ready", "True", READY);
    }

    /// Since when its node is as Ready as it is.
    fn ready_since(&self) -> String {
        let path = "{.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
        self.kubectl.path(&["node", &self.name], path)
    }

    /// `rkctl` against it.
    fn rkctl(&self, args: &[&str]) -> Outcome {
        let node = self.node.to_string();
        self.operator.run(&[&["--timeout", "120", "-n", &node], args].concat())
    }

    fn answers(&self) {
        eventually("the machine API to answer", limit(60), || {
            let outcome = self.rkctl(&["node", "version"]);
            if outcome.code == 0 && outcome.out.contains("running") { Ok(()) } else { Err(outcome.err) }
        });
    }

    /// A pod on it; waits until it is Ready, and sees that its logs are read, by the machine API as well, and programs run in it.
    fn runs_a_pod(&self, name: &str) {
        let kubectl = self.kubectl.new_namespace(name);
        pod(&kubectl, name, &self.name, "echo here; exec sleep 36000", "");
        let said = eventually("the pod's log", limit(60), || {
            let answer = kubectl.run(&["logs", name]);
            if answer.success && !answer.out.is_empty() { Ok(answer.out) } else { Err(answer.err) }
        });
        assert_eq!(said.trim(), "here");
        let logged = self.rkctl(&["node", "logs", &format!("{name}/{name}/main")]).good();
        assert!(logged.trim_end().ends_with("here"), "{logged}");
        assert_eq!(sh(&kubectl, name, "echo inside").expect("exec").trim(), "inside");
        kubectl.ok(&["delete", "pod", name, "--wait=true", &format!("--timeout={}s", limit(60).as_secs())]);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.vm = None;
        self.kubectl.run(&["delete", "node", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

/// A busybox pod on a node, Ready. `more` is YAML of the pod's spec.
fn pod(kubectl: &Kubectl, name: &str, node: &str, command: &str, more: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n{more}  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sh, -c, {command:?}]\n    securityContext: {{privileged: {}}}\n",
        more.contains("hostPID")
    ));
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{name}"), &timeout]);
}

fn sh(kubectl: &Kubectl, pod: &str, script: &str) -> Result<String, String> {
    let answer = kubectl.run(&["exec", pod, "--", "sh", "-c", script]);
    if answer.success { Ok(answer.out) } else { Err(format!("{}{}", answer.out, answer.err)) }
}
