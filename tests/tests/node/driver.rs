//! Drivers that run in pods, and what their users see.

use super::folder;
use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, push, write_layout};
use rk_tests::{Kubectl, Shared, limit};

/// Puts a driver, which is one static program, into the cluster's registry as `rk.local/<name>:test`.
pub fn push_driver(shared: &Shared, name: &str, program: &str) {
    let layout = folder(name).join("image");
    let image: ImageName = format!("rk.local/{name}:test").parse().expect("name");
    let program = std::fs::read(program).expect("the driver");
    let config = ImageConfig { entrypoint: vec![format!("/{name}")], ..ImageConfig::default() };
    write_layout(&layout, &image, &[Entry::file(name, 0o755, program)], &config).expect("layout");
    let archive = Archive::open(&layout, None).expect("archive");
    push(&shared.cluster.registry().client(), &archive).expect("push");
}

/// Waits until a pod is ready.
pub fn wait_ready(kubectl: &Kubectl, pod: &str) {
    let timeout = format!("--timeout={}s", limit(120).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), &timeout]);
}

/// What a script says in the first container of a pod.
pub fn sh(kubectl: &Kubectl, pod: &str, script: &str) -> Result<String, String> {
    let answer = kubectl.run(&["exec", pod, "--", "sh", "-c", script]);
    if answer.success { Ok(answer.out.trim().to_owned()) } else { Err(format!("{}{}", answer.out, answer.err)) }
}
