//! The watchdog bites: a node agent that is there and does nothing costs the machine a restart, and no more.

use super::plane::{Plane, control_plane};
use rk_qemu::vm::Machine;
use rk_tests::{eventually, limit, registry};

/// A minute of patience, half a minute of the device, and a start of machine and control plane.
const BITE: u64 = 240;
/// A privileged pod may do this to its node: the agent keeps its process and gets no turn any more.
const HANG: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hang}
spec:
  restartPolicy: Never
  hostPID: true
  hostNetwork: true
  tolerations: [{operator: Exists}]
  containers:
  - name: c
    image: rk.local/busybox:demo
    command: [sh, -c, 'kill -STOP $(pidof rk-node)']
    securityContext: {privileged: true}
";

#[test]
fn a_machine_whose_agent_hangs_is_restarted_by_its_watchdog_and_comes_back_ready() {
    let mut kept = None;
    let mirrors = |dir: &std::path::Path| {
        let (registry, mirror) = registry(dir);
        kept = Some(registry);
        format!("registries: {{mirrors: [{mirror}]}}\n")
    };
    let Plane { mut guest, kubectl, .. } = control_plane("watchdog", mirrors, |spec| {
        spec.cmdline.push("rk.watchdog=60".to_owned());
        (spec.machine, spec.watchdog, spec.restarts) = (Machine::Q35, true, true);
    });
    let mark = guest.vm.console().mark();
    kubectl.apply(HANG);
    let mut says =
        |words: &str| guest.vm.wait_console_from(mark, words, limit(BITE)).unwrap_or_else(|err| panic!("{err}"));
    says("the node agent gives no sign of life: the watchdog is not fed and restarts the machine");
    let said = says("ready for its config");
    // It was no orderly end: nobody asked for one.
    assert!(!said.contains("reboot asked by") && !said.contains("unmounting"), "{said}");
    says("config accepted");
    eventually("a node that says that it is Ready", limit(BITE), || {
        let out = guest.rkctl(&["health"]);
        let line = out.out.lines().find(|line| line.starts_with("node ")).unwrap_or_default().to_owned();
        if line.split_whitespace().nth(1) == Some("yes") { Ok(()) } else { Err(format!("{out:?}")) }
    });
    assert!(guest.vm.ended().is_none(), "the machine went down");
    drop(kept);
}
