//! What `rkctl` is to somebody at a terminal: a page about a node, and words that the shell completes.

use super::running;
use rk_tests::{Operator, artifacts, folder, limit};
use std::path::Path;
use std::process::Command;

#[test]
fn a_dashboard_fills_the_terminal_and_leaves_it_as_it_was() {
    let guest = running("dashboard");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/terminal.py");
    let output = Command::new("python3")
        .arg("-B")
        .arg(script)
        .arg(limit(60).as_secs().to_string())
        .args(["services", "memory", "processors", "health", "events", "netd", "WRONG", "ends", "--"])
        .arg(artifacts().binaries.join("rkctl"))
        .args(["--timeout", "120", "-n", &guest.node, "dashboard"])
        .current_dir(&guest.dir)
        .env_remove("RKCTL_CONFIG")
        .env("HOME", &guest.dir)
        .output()
        .expect("python3");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    // The other screen while it runs, and back at its end.
    let (there, back) = (shown.find("\u{1b}[?1049h"), shown.rfind("\u{1b}[?1049l"));
    assert!(there.is_some() && there < back, "{shown:?}");
}

#[test]
fn the_shell_completes_verbs() {
    /// As bash calls it when somebody types the first letters of a verb and the tabulator.
    const ASK: &str = "source ./rkctl.bash; complete -p rkctl; COMP_WORDS=(rkctl node reb); COMP_CWORD=2; \
                       _rkctl rkctl reb node; echo \"completed: ${COMPREPLY[*]}\"";
    let dir = folder("machine", "completion");
    let operator = Operator::new(&artifacts(), &dir);
    std::fs::write(dir.join("rkctl.bash"), operator.run(&["completion", "bash"]).good()).expect("script");
    let output = Command::new("bash").args(["-c", ASK]).current_dir(&dir).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("_rkctl") && said.contains("completed: reboot"), "{said}{why}");
    for shell in ["zsh", "fish"] {
        assert!(operator.run(&["completion", shell]).good().contains("reboot"), "{shell}");
    }
}
