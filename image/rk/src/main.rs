//! One program for the agent, the control plane, the machine API and the CNI plugins: the name that it is called by tells which.
//!
//! They share the runtime, HTTP, TLS and the types of the Kubernetes API, which would lie in the image three times otherwise. PID 1 and
//! `rk-shim` stay programs of their own: the one must not hold a network parser, the other runs once per pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.as_str() {
        "rk-node" => rk_node::main(),
        "rk-control" => rk_control::main(),
        "rk-machine-api" => rk_machine_api::main(),
        plugin if rk_cni::plugin::NAMES.contains(&plugin) => rk_cni::plugin::main(plugin),
        other => {
            let plugins = rk_cni::plugin::NAMES.join(", ");
            eprintln!(
                "rk: {other:?} names no program of this file; call it as rk-node, rk-control, rk-machine-api, {plugins}"
            );
            ExitCode::FAILURE
        }
    }
}
