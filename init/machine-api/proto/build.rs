//! Compiles the machine API's definitions with protox, so that no `protoc` is needed on the build machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["machine.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        // Answers are printed as JSON and YAML by their own field names.
        .type_attribute(".", "#[derive(serde::Serialize)]")
        // These carry secrets and stay out of logs.
        .skip_debug([
            ".rk.machine.v1.ConfigReply",
            ".rk.machine.v1.ApplyRequest",
            ".rk.machine.v1.PatchRequest",
            ".rk.machine.v1.KubeconfigReply",
            ".rk.machine.v1.InstallRequest",
            ".rk.machine.v1.UnlockRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
