//! `/etc/hosts` of a pod.

use k8s_openapi::api::core::v1::Pod;

use crate::pod::spec;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HOST_HEADER: &str = "# Kubernetes-managed hosts file (host network).\n";

/// The file of a pod in its own network.
pub fn managed_hosts(pod: &Pod, pod_ips: &[String], hostname: &str, fqdn: Option<&str>) -> String {
    let mut text = String::from(HEADER);
    text.push_str("127.0.0.1\tlocalhost\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    for ip in pod_ips {
        match fqdn {
            Some(fqdn) => text.push_str(&format!("{ip}\t{fqdn}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    text.push_str(&aliases(pod));
    text
}

/// The file of a pod in the host's network: the host's own, and the aliases.
pub fn host_network_hosts(pod: &Pod, host_file: &str) -> String {
    let mut text = String::from(HOST_HEADER);
    text.push_str(host_file);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&aliases(pod));
    text
}

fn aliases(pod: &Pod) -> String {
    let spec_of = spec::spec(pod);
    let list = spec_of.host_aliases.as_deref().unwrap_or_default();
    if list.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in list {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}
