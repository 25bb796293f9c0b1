//! Compiles the CRI definitions with protox, so that no `protoc` is needed on the build machine.

use std::error::Error;

/// Messages kept on disk by the runtime as JSON; the rest never leaves the wire.
const STORED: &[&str] = &[
    "Int64Value",
    "KeyValue",
    "DNSConfig",
    "PortMapping",
    "Mount",
    "IDMapping",
    "UserNamespace",
    "NamespaceOption",
    "SecurityProfile",
    "SELinuxOption",
    "Capability",
    "HugepageLimit",
    "LinuxContainerResources",
    "ImageSpec",
    "PodSandboxMetadata",
    "ContainerMetadata",
    "LinuxSandboxSecurityContext",
    "LinuxPodSandboxConfig",
    "PodSandboxConfig",
    "LinuxContainerSecurityContext",
    "LinuxContainerConfig",
    "LinuxContainerUser",
    "Device",
    "CDIDevice",
    "ContainerConfig",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["runtime.proto", "image.proto"], ["proto"])?;
    let mut builder =
        tonic_prost_build::configure().emit_rerun_if_changed(false).skip_debug([".runtime.v1.AuthConfig"]);
    for name in STORED {
        builder = builder.message_attribute(
            format!(".runtime.v1.{name}"),
            "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]",
        );
    }
    builder = builder.field_attribute(".runtime.v1.KeyValue.value", "#[serde(with = \"crate::text\")]");
    builder.compile_fds(descriptors)?;
    Ok(())
}
