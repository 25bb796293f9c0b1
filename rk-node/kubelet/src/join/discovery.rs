//! Finding the cluster's CA: read `cluster-info` over unverified TLS, accept only the pinned key, then read it again verified.

use base64::Engine;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize;

use super::link::{ApiLink, LinkError};
use super::pki;
use crate::options::Cluster;

/// Why the CA is not known or not trusted.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The API server did not answer as it should.
    #[error("reading ConfigMap kube-public/cluster-info")]
    Api(#[source] Box<kube::Error>),
    /// The connection cannot be built.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The ConfigMap does not hold a kubeconfig with a CA.
    #[error("ConfigMap kube-public/cluster-info holds no usable kubeconfig: {0}")]
    Malformed(String),
    /// Some other CA answered.
    #[error("the cluster's CA does not match cluster.caHash {0}: this is another cluster, or someone is in between")]
    Pin(String),
    /// Neither a pin nor a CA file is there.
    #[error("cluster.caHash is not set: without it the cluster cannot be trusted")]
    NoPin,
}

#[derive(Deserialize)]
struct KubeConfig {
    clusters: Vec<NamedCluster>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: ClusterEntry,
}

#[derive(Deserialize)]
struct ClusterEntry {
    #[serde(rename = "certificate-authority-data")]
    certificate_authority_data: String,
}

/// The cluster's CA bundle (PEM), checked against the pin.
pub async fn discover(cluster: &Cluster) -> Result<String, DiscoveryError> {
    let Some(pin) = cluster.ca_hash.as_deref() else {
        // On a control-plane node the CA made on first start lies on our own disk: no network is involved.
        let file = cluster.ca_file.as_deref().ok_or(DiscoveryError::NoPin)?;
        return std::fs::read_to_string(file)
            .map_err(|e| DiscoveryError::Malformed(format!("the CA file {} cannot be read: {e}", file.display())));
    };
    let candidate = read(&ApiLink::unverified(&cluster.endpoint)?).await?;
    if !pki::ca_matches(&candidate, pin) {
        return Err(DiscoveryError::Pin(pin.to_owned()));
    }
    // The pinned CA must also be what this endpoint's certificate comes from.
    let verified = read(&ApiLink::new(&cluster.endpoint, &candidate, None, None)?).await?;
    if verified != candidate {
        return Err(DiscoveryError::Pin(pin.to_owned()));
    }
    Ok(verified)
}

async fn read(link: &ApiLink) -> Result<String, DiscoveryError> {
    let api: Api<ConfigMap> = Api::namespaced(link.client(), "kube-public");
    let map = api.get("cluster-info").await.map_err(|e| DiscoveryError::Api(Box::new(e)))?;
    let text = map
        .data
        .unwrap_or_default()
        .remove("kubeconfig")
        .ok_or_else(|| DiscoveryError::Malformed("the key kubeconfig is absent".into()))?;
    parse(&text)
}

fn parse(kubeconfig: &str) -> Result<String, DiscoveryError> {
    let config: KubeConfig =
        serde_yaml_ng::from_str(kubeconfig).map_err(|e| DiscoveryError::Malformed(e.to_string()))?;
    let entry = config.clusters.first().ok_or_else(|| DiscoveryError::Malformed("it names no cluster".into()))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(entry.cluster.certificate_authority_data.trim())
        .map_err(|e| DiscoveryError::Malformed(format!("certificate-authority-data: {e}")))?;
    String::from_utf8(bytes).map_err(|e| DiscoveryError::Malformed(format!("certificate-authority-data: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_is_taken_from_the_first_cluster_and_nonsense_is_named() {
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: ''\n  cluster:\n    server: https://x\n    certificate-authority-data: UEVN\n";
        assert_eq!(parse(text).unwrap(), "PEM");
        for (bad, word) in [
            ("clusters: []", "no cluster"),
            ("a: b", "clusters"),
            (": :", ""),
            ("clusters:\n- cluster:\n    certificate-authority-data: '*'\n", "certificate-authority-data"),
        ] {
            assert!(parse(bad).unwrap_err().to_string().contains(word), "{bad}");
        }
    }
}
