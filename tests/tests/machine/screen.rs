//! The page on the screen of a machine: who it is, how it is reached, how it gets a config, whether it is Ready, what went wrong.

use super::{Guest, boot_as, folder, paper};
use rk_qemu::vm::Machine;
use rk_tests::{eventually, limit};

/// Waits until the page shows all of these.
fn shows(guest: &Guest, words: &[&str]) {
    let file = guest.dir.join("screen");
    eventually("the page on the screen", limit(60), || {
        let text = guest.vm.qmp().and_then(|mut qmp| qmp.screen(&file)).map_err(|err| err.to_string())?;
        if words.iter().all(|word| text.contains(*word)) { Ok(()) } else { Err(format!("{words:?} in\n{text}")) }
    });
}

#[test]
fn the_screen_shows_the_fingerprint_then_name_addresses_role_and_why_the_node_is_not_ready() {
    let dir = folder("screen");
    let mut guest = boot_as("screen", &dir, None, &[], |spec| (spec.machine, spec.screen) = (Machine::Q35, true));
    let fingerprint = guest.fingerprint();
    shows(&guest, &["waiting for a config", "10.0.2.15/24", "rkctl node apply --insecure", fingerprint.as_str()]);
    let config = paper(&guest.operator, &dir) + "hostname: visible\n";
    std::fs::write(dir.join("worker.yaml"), config).expect("worker.yaml");
    guest.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "worker.yaml"]).good();
    guest.answers();
    shows(&guest, &["visible", "10.0.2.15/24", "worker", "not Ready: ", "There is no login here"]);
    guest.rkctl(&["node", "restart", "netd"]).good();
    shows(&guest, &["latest troubles", "netd exited"]);
}
