//! The protocols between a kubelet and the plugins of its node, messages and stubs, each in a module named after its package.
//!
//! The definitions in `proto/` are wire compatible with the Container Storage Interface 1.x (its Identity and Node services, as
//! far as a kubelet calls them) and with the kubelet's `pluginregistration`, device plugin `v1beta1` and pod-resources `v1`.

mod redact;

/// Container Storage Interface.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// How a plugin that listens in the registry directory makes itself known.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}

/// Device plugins.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod device {
    tonic::include_proto!("v1beta1");
}

/// Which pod holds which resource.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod podresources {
    tonic::include_proto!("v1");
}
