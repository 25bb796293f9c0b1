//! What is left of a crash: the kernel's last words outlive the restart, and an operator reads them.

use super::upgrade::{IMAGE, kubectl};
use super::{API, BOOT, Installed, uefi};
use rk_qemu::vm::Firmware;
use rk_tests::{eventually, limit, registry};
use std::path::Path;
use std::process::Command;

/// A privileged pod may end its node: the kernel panics at once, whatever the keys of sysrq may do.
const CRASH: &str = "
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  restartPolicy: Never
  tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, 'echo c > /proc/sysrq-trigger']
    securityContext: {privileged: true}
";

fn leaves_evidence(name: &str, firmware: fn(&Path) -> Firmware, backend: &str) {
    let mut machine = Installed::new(name, firmware);
    machine.spec.memory_mib = 1536;
    machine.spec.restarts = true;
    let (_registry, mirror) = registry(&machine.dir);
    machine.operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    let path = machine.dir.join("control-plane.yaml");
    let config = std::fs::read_to_string(&path).expect("a config");
    std::fs::write(&path, format!("{config}\nregistries: {{mirrors: [{mirror}]}}\n")).expect("a config");
    machine.start();
    let fingerprint = machine.fingerprint();
    machine.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "control-plane.yaml"]).good();
    machine.answers();
    let folder = crash(&mut machine);
    let listed = machine.rkctl(&["node", "list", &folder]).good();
    let records: Vec<&str> = listed.split_whitespace().filter(|word| word.contains("dmesg-")).collect();
    assert!(!records.is_empty() && records.iter().all(|record| record.contains(backend)), "{listed}");
    // A record begins anew in each variable where these are small.
    let texts: String = records
        .iter()
        .filter_map(|record| record.rsplit('/').next())
        .map(|record| machine.rkctl(&["node", "read", &format!("{folder}/{record}")]).good())
        .collect();
    assert!(texts.contains("sysrq triggered crash"), "{listed}\n{texts}");
    assert!(texts.contains(">rk: "), "nothing of what PID 1 said: {texts}");
    machine.rkctl(&["support", "--file", "support.tar.gz", "--lines", "100"]).good();
    let bundle = Command::new("tar").arg("-tzf").arg(machine.dir.join("support.tar.gz")).output().expect("tar");
    let bundled = String::from_utf8_lossy(&bundle.stdout);
    assert!(bundled.lines().any(|name| name.contains("/crash/") && name.contains("dmesg-")), "{bundled}");
    eventually("the event", limit(BOOT), || {
        let outcome = machine.rkctl(&["node", "events"]);
        if outcome.out.contains("the last run left") { Ok(()) } else { Err(outcome.out + &outcome.err) }
    });
}

/// Ends the kernel; where its last words are kept after the restart.
fn crash(machine: &mut Installed) -> String {
    machine.turn_page();
    kubectl(machine).apply(&CRASH.replace("IMAGE", IMAGE));
    let said = machine.says(&["sysrq triggered crash", "crash records, kept in "]);
    machine.answers();
    let folder = said.split_once("crash records, kept in ").and_then(|(_, rest)| rest.split_whitespace().next());
    folder.expect("a folder").to_owned()
}

#[test]
fn the_kernel_s_last_words_are_kept_in_memory_and_read_after_the_restart_on_bios() {
    leaves_evidence("evidence-bios", |_| Firmware::Bios, "ramoops");
}

#[test]
fn the_kernel_s_last_words_are_kept_in_variables_and_read_after_the_restart_on_uefi() {
    leaves_evidence("evidence-uefi", uefi, "efi");
}
