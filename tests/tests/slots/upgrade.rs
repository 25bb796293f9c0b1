//! An upgrade from its first refusal to the way back: signed, not too old, drained, tried, good, undone, forgotten.

use super::{API, BOOT, Installed, built, image};
use rk_qemu::vm::Firmware;
use rk_tests::exit::{PRECONDITION, REFUSED};
use rk_tests::{Kubectl, admin, artifacts, eventually, limit, registry};
use std::fs::OpenOptions;
use std::os::unix::fs::symlink;

pub(super) const IMAGE: &str = "rk.local/busybox:demo";
pub(super) const GUARDED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]
      containers: [{name: c, image: IMAGE, command: [sleep, '3600']}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
";

/// kubectl against the control plane in the guest.
pub(super) fn kubectl(machine: &Installed) -> Kubectl {
    admin(&machine.dir, machine.api, limit(BOOT), || machine.rkctl(&["node", "kubeconfig"]))
}

fn patched(machine: &Installed, patch: &str) {
    std::fs::write(machine.dir.join("patch.yaml"), patch).expect("patch");
    machine.rkctl(&["node", "config", "patch", "@patch.yaml"]).good();
    machine.answers();
}

#[test]
fn an_upgrade_is_good_once_the_node_is_ready_and_a_rollback_returns() {
    let mut machine = Installed::new("upgrade", |_| Firmware::Bios);
    machine.spec.memory_mib = 1536;
    let (_registry, mirror) = registry(&machine.dir);
    machine.operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    machine.operator.run(&["image", "key", "release"]).good();
    machine.start();
    machine.says(&["slot a runs", "the machine's state is on /dev/vda5", "/var is on /dev/vda6"]);
    let fingerprint = machine.fingerprint();
    machine.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "control-plane.yaml"]).good();
    machine.answers();
    let refused = |machine: &Installed, args: &[&str], code: i32, word: &str| {
        let outcome = machine.rkctl(&[&["node", "upgrade"], args].concat());
        assert!(outcome.code == code && outcome.err.contains(word), "{args:?}: {outcome:?}");
    };
    let same = artifacts().media.join("rk.raw").display().to_string();
    refused(&machine, &[&same], PRECONDITION, "runs just this already");
    let key = std::fs::read_to_string(machine.dir.join("release.pub")).expect("key");
    patched(
        &machine,
        &format!("upgrade: {{keys: [{key:?}], minimumVersion: 9.0.0}}\nregistries: {{mirrors: [{mirror}]}}\n"),
    );
    // Beside a link in our own folder, where the signature goes.
    symlink(image("next"), machine.dir.join("next.raw")).expect("link");
    refused(&machine, &["next.raw"], REFUSED, "takes signed images alone");
    machine.operator.run(&["image", "sign", "--key", "release.key", "next.raw"]).good();
    refused(&machine, &["next.raw"], PRECONDITION, "is older than 9.0.0");
    patched(&machine, "upgrade: {minimumVersion: null}\n");
    let kubectl = kubectl(&machine);
    kubectl.apply(&GUARDED.replace("IMAGE", IMAGE));
    eventually("the guarded pod to run", limit(BOOT), || {
        let answer = kubectl.run(&["rollout", "status", "deployment/guarded", "--timeout=5s"]);
        if answer.success { Ok(()) } else { Err(answer.out + &answer.err) }
    });
    refused(&machine, &["next.raw", "--drain-timeout", "20s"], PRECONDITION, "disruption budget");
    let cordoned = kubectl.ok(&["get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"]);
    assert_eq!(cordoned.trim(), "", "it stayed cordoned");
    kubectl.ok(&["delete", "poddisruptionbudget", "guarded"]);
    machine.starts_again_by(&["node", "upgrade", "next.raw"]);
    machine.says(&[
        "slot b is on trial",
        "config accepted from the machine's state",
        "slot b is good: the node is Ready",
        "takes pods again",
    ]);
    machine.answers();
    // A slot that was good leaves its own minimum behind, whatever the config says.
    let older = built(&machine, "older", |inputs| inputs.version = "0.0.1".to_owned());
    machine.operator.run(&["image", "sign", "--key", "release.key", &older]).good();
    refused(&machine, &[&older], PRECONDITION, "version 0.0.1 is older than");
    machine.starts_again_by(&["node", "rollback"]);
    machine.says(&["slot a is on trial", "slot a is good: the node is Ready"]);
    machine.answers();
    machine.forgets_its_config();
}

#[test]
fn a_config_that_is_built_in_outlives_an_upgrade_to_an_image_without_one_and_is_forgotten_by_a_reset() {
    let mut machine = Installed::bare("built-in", |_| Firmware::Bios);
    machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    let (raw, tools) = (artifacts().media.join("rk.raw"), artifacts().closures.clone());
    let (raw, tools) = (raw.display().to_string(), tools.display().to_string());
    let words = ["image", "build", "--from", &raw, "--format", "raw", "--config", "worker.yaml", "--output", "."];
    machine.operator.run(&[words.as_slice(), &["--tools", &tools]].concat()).good();
    let disk = machine.dir.join("rk.raw");
    OpenOptions::new().write(true).open(&disk).and_then(|file| file.set_len(2 << 30)).expect("size");
    machine.spec = machine.spec.clone().drive(&disk, false);
    machine.start();
    machine.says(&["slot a runs", "config accepted from the image: "]);
    machine.answers();
    machine.starts_again_by(&["node", "upgrade", &image("next")]);
    machine.says(&["slot b is on trial", "config accepted from the image before the upgrade: "]);
    machine.answers();
    machine.forgets_its_config();
}
