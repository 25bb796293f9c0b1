//! The Python client of the Kubernetes project, which shares no code with kubectl or kube-rs.

use crate::control::control;
use rk_tests::artifacts;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that is installed from PyPI, so that a test means the same tomorrow.
const VERSION: &str = "37.0.2";

/// A virtual environment with the client, made on first use beside the other caches.
fn environment() -> PathBuf {
    let home = artifacts().registry_storage.with_file_name("python").join(format!("kubernetes-{VERSION}"));
    let python = home.join("bin/python");
    // Python 3 names `kubernetes` only once it is whole.
    if Command::new(&python).args(["-c", "import kubernetes"]).output().is_ok_and(|output| output.status.success()) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&home);
    run(Command::new("python3").args(["-m", "venv"]).arg(&home), "needs the package python3-venv");
    let wanted = format!("kubernetes=={VERSION}");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", &wanted]), "needs PyPI or a mirror of it");
    python
}

fn run(command: &mut Command, advice: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed; {advice}:\n{}{said}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn the_python_client_reads_writes_patches_applies_and_watches() {
    let python = environment();
    let control = control();
    control.kubectl.new_namespace("python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/client.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).arg("-v").env("KUBECONFIG", control.kubeconfig());
    run(&mut command, "the client was served otherwise than it expects");
}
