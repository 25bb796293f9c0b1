//! Which rule the names of a kind follow.

use crate::meta::{dns1123_label, dns1123_subdomain, path_segment};
use crate::resources::Resource;

/// The rules that a name of this kind breaks.
pub(super) fn rules(resource: &Resource, name: &str) -> Vec<String> {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        // A Service's name may begin with a digit (KEP-5311).
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => dns1123_label(name),
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _)
        | ("certificates.k8s.io", "CertificateSigningRequest") => path_segment(name),
        // Judged with the driver: it may have letters of any case.
        ("storage.k8s.io", "CSIDriver") => path_segment(name),
        ("networking.k8s.io", "IPAddress") => match name.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => {
                vec!["must not be an IPv4-mapped IPv6 address".into()]
            }
            Ok(ip) if ip.to_string() == name => Vec::new(),
            Ok(ip) => vec![format!("must be in canonical form ({:?})", ip.to_string())],
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
        },
        _ => dns1123_subdomain(name),
    }
}
