//! The Python client of the Kubernetes project, which shares no code with kubectl or kube-rs.

use crate::control::control;
use rk_tests::{python_with, succeed};
use std::path::Path;
use std::process::Command;

/// The version that is installed from PyPI.
const VERSION: &str = "37.0.2";

#[test]
fn the_python_client_reads_writes_patches_applies_and_watches() {
    let (name, package) = (format!("kubernetes-{VERSION}"), format!("kubernetes=={VERSION}"));
    let python = python_with(&name, &[package.as_str()], "import kubernetes.client");
    let control = control();
    control.kubectl.new_namespace("python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/client.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).arg("-v").env("KUBECONFIG", control.kubeconfig());
    succeed(&mut command, "the client was served otherwise than it expects");
}
