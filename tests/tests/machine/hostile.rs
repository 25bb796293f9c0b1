//! Strangers within TLS: a machine that waits for its config speaks with anyone, and goes on waiting whatever they say.

use super::{boot, folder};
use rk_tests::succeed;
use std::path::Path;
use std::process::Command;

#[test]
fn garbage_within_tls_harms_no_machine_that_waits_for_its_config() {
    let dir = folder("hostile");
    let mut guest = boot("hostile", &dir, None, &[]);
    let fingerprint = guest.fingerprint();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stranger = Command::new("python3");
    stranger.arg("-B").arg(root.join("tests/machine/hostile.py")).arg(&guest.node);
    stranger.arg(root.join("../init/machine-api/proto/proto/machine.proto"));
    succeed(&mut stranger, "the machine API answered a stranger otherwise than it should");
    // The certificate is of this start alone: the process is the one of before, and it waits as before.
    let disks = guest.rkctl(&["node", "disks", "--insecure", "--fingerprint", &fingerprint]).good();
    assert!(disks.contains("RK-DATA"), "{disks}");
    let said = guest.vm.console().text();
    assert!(guest.vm.ended().is_none() && !said.contains("machine exited") && !said.contains("asked by"), "{said}");
}
