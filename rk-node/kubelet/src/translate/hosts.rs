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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_knows_itself_by_all_of_its_addresses_and_others_by_their_aliases() {
        let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["a", "b.c"]}, {"ip": "fd00::1", "hostnames": ["d"]}]);
        let pod = |spec: serde_json::Value| -> Pod { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let (plain, with) = (pod(json!({"containers": []})), pod(json!({"containers": [], "hostAliases": aliases})));
        let ips = ["10.0.0.7".to_owned(), "fd00::7".to_owned()];
        let added = "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb.c\nfd00::1\td\n";
        let own = managed_hosts(&plain, &ips, "web", None);
        assert!(own.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{own}");
        assert!(own.ends_with("ip6-allrouters\n10.0.0.7\tweb\nfd00::7\tweb\n"), "{own}");
        assert_eq!(managed_hosts(&with, &ips, "web", None), format!("{own}{added}"));
        let named = managed_hosts(&plain, &ips[..1], "web", Some("web.sub.n.svc.c"));
        assert!(named.ends_with("\n10.0.0.7\tweb.sub.n.svc.c\tweb\n"), "{named}");
        let header = "# Kubernetes-managed hosts file (host network).\n";
        assert_eq!(host_network_hosts(&plain, "127.0.0.1 me\n"), format!("{header}127.0.0.1 me\n"));
        assert_eq!(host_network_hosts(&with, "127.0.0.1 me"), format!("{header}127.0.0.1 me\n{added}"));
    }
}
