//! What a certificate request asks for, read once and checked against the rules of each signer.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::CertificateSigningRequestParams;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

pub(super) const NODE_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";

/// Why a request is refused; the text is shown in its `Failed` condition.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refusal {
    #[error("request is not a PEM certificate request: {0}")]
    Unreadable(String),
    #[error("organization is not {NODES_GROUP}")]
    Organization,
    #[error("subject common name does not begin with {NODE_PREFIX}")]
    CommonName,
    #[error("DNS, IP, email or URI names are not allowed")]
    NamesNotAllowed,
    #[error("at least one DNS or IP name is required, and no email or URI names")]
    NamesRequired,
    #[error("usages do not match the signer {0}")]
    Usages(String),
    #[error("signing failed: {0}")]
    Signing(String),
}

/// The parts of a certificate request that rules speak about.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) ips: Vec<std::net::IpAddr>,
    /// Email addresses, URIs and anything else.
    pub(super) other_names: usize,
    pub(super) usages: Vec<String>,
}

/// Reads the request and verifies its own signature.
pub(super) fn parse(csr: &CertificateSigningRequest) -> Result<(Request, CertificateSigningRequestParams), Refusal> {
    let unreadable = |e: &dyn std::fmt::Display| Refusal::Unreadable(e.to_string());
    let block = pem::parse(&csr.spec.request.0).map_err(|e| unreadable(&e))?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(Refusal::Unreadable(format!("PEM block is {:?}", block.tag())));
    }
    let params = CertificateSigningRequestParams::from_der(&block.contents().into()).map_err(|e| unreadable(&e))?;
    let (_, parsed) = X509CertificationRequest::from_der(block.contents()).map_err(|e| unreadable(&e))?;
    let subject = &parsed.certification_request_info.subject;
    let texts = |values: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
        values.filter_map(|v| v.as_str().ok().map(str::to_owned)).collect()
    };
    let mut request = Request {
        common_name: texts(&mut subject.iter_common_name()).into_iter().next().unwrap_or_default(),
        organizations: texts(&mut subject.iter_organization()),
        usages: csr.spec.usages.clone().unwrap_or_default(),
        ..Request::default()
    };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            names.general_names.iter().for_each(|name| request.add_name(name));
        }
    }
    Ok((request, params))
}

impl Request {
    fn add_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(dns) => self.dns.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes)
                .map(Into::into)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(Into::into))
            {
                Ok(ip) => self.ips.push(ip),
                Err(_) => self.other_names += 1,
            },
            _ => self.other_names += 1,
        }
    }

    /// The node that the subject names.
    pub(super) fn node(&self) -> Option<&str> {
        self.common_name.strip_prefix(NODE_PREFIX).filter(|n| !n.is_empty())
    }

    fn usages_are(&self, required: &str, optional: &[&str]) -> bool {
        self.usages.iter().any(|u| u == required)
            && self.usages.iter().all(|u| u == required || optional.contains(&u.as_str()))
    }

    fn subject_is_node(&self) -> Result<(), Refusal> {
        if self.organizations != [NODES_GROUP] {
            return Err(Refusal::Organization);
        }
        self.node().map(|_| ()).ok_or(Refusal::CommonName)
    }

    /// The rules that the signer enforces, whoever approved the request.
    pub(super) fn check(&self, signer: &str) -> Result<(), Refusal> {
        let usages = || Refusal::Usages(signer.to_owned());
        let no_names = self.dns.is_empty() && self.ips.is_empty() && self.other_names == 0;
        match signer {
            CLIENT if !self.usages_are("client auth", &["digital signature", "key encipherment"]) => Err(usages()),
            CLIENT => Ok(()),
            KUBELET_CLIENT => {
                self.subject_is_node()?;
                let exact = self.usages_are("client auth", &["digital signature", "key encipherment"])
                    && self.usages.iter().any(|u| u == "digital signature");
                if !no_names {
                    return Err(Refusal::NamesNotAllowed);
                }
                if exact { Ok(()) } else { Err(usages()) }
            }
            KUBELET_SERVING => {
                self.subject_is_node()?;
                let exact = self.usages_are("server auth", &["digital signature", "key encipherment"])
                    && self.usages.iter().any(|u| u == "digital signature");
                if self.other_names > 0 || (self.dns.is_empty() && self.ips.is_empty()) {
                    return Err(Refusal::NamesRequired);
                }
                if exact { Ok(()) } else { Err(usages()) }
            }
            _ => Err(usages()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_request(usage: &str, dns: &[&str]) -> Request {
        Request {
            common_name: "system:node:n1".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            dns: dns.iter().map(|d| (*d).to_owned()).collect(),
            usages: vec!["digital signature".to_owned(), usage.to_owned()],
            ..Request::default()
        }
    }

    #[test]
    fn each_signer_holds_its_rules() {
        let foreign = Request { common_name: "root".to_owned(), ..node_request("client auth", &[]) };
        let group = Request { organizations: vec!["system:masters".to_owned()], ..node_request("client auth", &[]) };
        let mail = Request { other_names: 1, ..node_request("server auth", &["n1"]) };
        let cases = [
            (KUBELET_CLIENT, node_request("client auth", &[]), Ok(())),
            (KUBELET_CLIENT, node_request("client auth", &["n1"]), Err(Refusal::NamesNotAllowed)),
            (KUBELET_CLIENT, node_request("server auth", &[]), Err(Refusal::Usages(KUBELET_CLIENT.to_owned()))),
            (KUBELET_CLIENT, foreign, Err(Refusal::CommonName)),
            (KUBELET_CLIENT, group, Err(Refusal::Organization)),
            (KUBELET_SERVING, node_request("server auth", &["n1"]), Ok(())),
            (KUBELET_SERVING, node_request("server auth", &[]), Err(Refusal::NamesRequired)),
            (KUBELET_SERVING, mail, Err(Refusal::NamesRequired)),
            (CLIENT, node_request("client auth", &[]), Ok(())),
            (CLIENT, node_request("server auth", &[]), Err(Refusal::Usages(CLIENT.to_owned()))),
        ];
        for (signer, request, expected) in cases {
            assert_eq!(request.check(signer), expected, "{signer} {request:?}");
        }
    }
}
