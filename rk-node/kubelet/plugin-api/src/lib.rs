//! The protocols between a kubelet and the plugins of its node, messages and stubs, each in a module named after its package.
//!
//! The definitions in `proto/` are wire compatible with the Container Storage Interface 1.x (its Identity and Node services, as
//! far as a kubelet calls them) and with the kubelet's `pluginregistration`, device plugin `v1beta1`, dynamic resource allocation `v1`
//! and `v1beta1` with its `v1alpha1` of health, and pod-resources `v1`.

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

/// Drivers of dynamic resource allocation: one set of messages, under two names of the service.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod dra {
    pub mod v1 {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
    }
    pub mod v1beta1 {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1beta1");
    }
}

/// How the devices of such drivers are.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod dra_health {
    tonic::include_proto!("v1alpha1");
}

/// Which pod holds which resource.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod podresources {
    tonic::include_proto!("v1");
}
