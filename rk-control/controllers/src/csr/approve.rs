//! Which requests of nodes are approved without a human.

use super::request::{KUBELET_CLIENT, KUBELET_SERVING, Request};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::Node;
use std::net::IpAddr;

/// What is known about a pending request before anyone is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing for us: a human decides.
    NotOurs,
    /// Approve if the requester may create the first permitted of these subresources of certificatesigningrequests.
    AskFor(Vec<(&'static str, &'static str)>),
    /// The node's addresses do not cover the names yet.
    WaitForNode(String),
    /// The node asks for its own addresses.
    Approve(&'static str),
}

/// Decides about a request that already satisfies its signer's rules.
pub(super) fn judge(spec: &CertificateSigningRequestSpec, request: &Request, node: Option<&Node>) -> Verdict {
    let own = spec.username.as_deref() == Some(&request.common_name);
    match spec.signer_name.as_str() {
        KUBELET_CLIENT => {
            let mut asks = Vec::new();
            if own {
                asks.push((
                    "selfnodeclient",
                    "Auto approving self kubelet client certificate after SubjectAccessReview.",
                ));
            }
            asks.push(("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."));
            Verdict::AskFor(asks)
        }
        KUBELET_SERVING if own => match foreign_names(request, node) {
            names if names.is_empty() => {
                Verdict::Approve("Auto approving kubelet serving certificate for the node's own addresses.")
            }
            names => Verdict::WaitForNode(names.join(", ")),
        },
        _ => Verdict::NotOurs,
    }
}

/// Names in the request that the Node does not have.
fn foreign_names(request: &Request, node: Option<&Node>) -> Vec<String> {
    let addresses = node.and_then(|n| n.status.as_ref()).and_then(|s| s.addresses.as_ref());
    let known = |name: &str| addresses.is_some_and(|all| all.iter().any(|a| a.address == name));
    let known_ip = |ip: &IpAddr| addresses.is_some_and(|all| all.iter().any(|a| a.address.parse() == Ok(*ip)));
    let dns = request.dns.iter().filter(|name| !known(name) && request.node() != Some(name.as_str())).cloned();
    dns.chain(request.ips.iter().filter(|ip| !known_ip(ip)).map(ToString::to_string)).collect()
}

/// The question whether the requester may create a subresource of certificate requests.
pub(super) fn review(csr: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: csr.spec.username.clone(),
            groups: csr.spec.groups.clone(),
            uid: csr.spec.uid.clone(),
            extra: csr.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                subresource: Some(subresource.to_owned()),
                verb: Some("create".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_gets_a_serving_certificate_for_its_own_addresses_only() {
        let node: Node = serde_json::from_value(json!({"status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.5"}, {"type": "Hostname", "address": "n1"}]}}))
        .expect("valid");
        let spec = CertificateSigningRequestSpec {
            signer_name: KUBELET_SERVING.to_owned(),
            username: Some("system:node:n1".to_owned()),
            ..CertificateSigningRequestSpec::default()
        };
        let request = |dns: &str, ip: &str| Request {
            common_name: "system:node:n1".to_owned(),
            dns: vec![dns.to_owned()],
            ips: vec![ip.parse().expect("ip")],
            ..Request::default()
        };
        assert!(matches!(judge(&spec, &request("n1", "10.0.0.5"), Some(&node)), Verdict::Approve(_)));
        assert_eq!(judge(&spec, &request("n1", "10.0.0.9"), Some(&node)), Verdict::WaitForNode("10.0.0.9".to_owned()));
        assert_eq!(judge(&spec, &request("api", "10.0.0.5"), Some(&node)), Verdict::WaitForNode("api".to_owned()));
        assert!(matches!(judge(&spec, &request("n1", "10.0.0.5"), None), Verdict::WaitForNode(_)));
        let stranger = CertificateSigningRequestSpec { username: Some("system:node:n2".to_owned()), ..spec };
        assert_eq!(judge(&stranger, &request("n1", "10.0.0.5"), Some(&node)), Verdict::NotOurs);
    }
}
