//! Which rule the names of a kind follow.

use crate::meta::{dns1035_label, dns1123_label, dns1123_subdomain, path_segment};
use crate::resources::Resource;

/// Longest name of a CronJob: its jobs append a timestamp.
const CRON_JOB_MAX: usize = 52;

/// The rules that a name of this kind breaks.
pub(super) fn rules(resource: &Resource, name: &str) -> Vec<String> {
    match (&*resource.gvk.group, &*resource.gvk.kind) {
        ("", "Namespace") | ("apps", "StatefulSet") => dns1123_label(name),
        ("", "Service") => dns1035_label(name),
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _)
        | ("certificates.k8s.io", "CertificateSigningRequest") => path_segment(name),
        ("batch", "CronJob") => {
            let mut broken = dns1123_subdomain(name);
            if name.len() > CRON_JOB_MAX {
                broken.push(format!("must be no more than {CRON_JOB_MAX} characters"));
            }
            broken
        }
        ("networking.k8s.io", "IPAddress") => match name.parse::<std::net::IpAddr>() {
            Ok(ip) if ip.to_string() == name => Vec::new(),
            Ok(_) => vec!["must be in canonical form".into()],
            Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
        },
        _ => dns1123_subdomain(name),
    }
}
