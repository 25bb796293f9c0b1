//! Compiles the definitions with protox, so that no `protoc` is needed on the build machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // What a file imports is compiled with it.
    for file in [
        "csi.proto",
        "registration.proto",
        "device.proto",
        "podresources.proto",
        "dra_v1beta1.proto",
        "dra_health.proto",
    ] {
        let descriptors = protox::compile([file], ["proto"])?;
        tonic_prost_build::configure()
            .emit_rerun_if_changed(false)
            // Secrets are never shown, not even in a trace.
            .skip_debug([
                ".csi.v1.NodeStageVolumeRequest",
                ".csi.v1.NodePublishVolumeRequest",
                ".csi.v1.NodeExpandVolumeRequest",
            ])
            .compile_fds(descriptors)?;
    }
    Ok(())
}
