//! DNS settings of a pod: its policy and config over the cluster's and the node's.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use rk_cri_api::v1::DnsConfig as DNSConfig;

use crate::pod::spec;

/// Limits of what resolvers of all libcs take.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
/// The longest name of a domain.
const MAX_DOMAIN: usize = 253;

/// The node's own resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostResolver {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The last `search` line.
    pub searches: Vec<String>,
    /// The last `options` line.
    pub options: Vec<String>,
}

impl HostResolver {
    /// Reads the text of a resolv.conf.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            let keyword = words.next();
            let rest = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => resolver.servers.extend(rest.take(1)),
                Some("search") => resolver.searches = rest.filter(|d| d != ".").collect(),
                Some("options") => resolver.options = rest.collect(),
                _ => {}
            }
        }
        resolver
    }
}

/// What of a pod's resolver settings is not as it asked: the reason and the message of an event.
pub type Shortfall = (&'static str, String);

/// The resolver settings of a pod, and what of them could not be as it asked.
pub fn pod_dns(pod: &Pod, host: &HostResolver, cluster_dns: &[IpAddr], domain: &str) -> (DNSConfig, Vec<Shortfall>) {
    let mut shortfalls = Vec::new();
    let spec_of = spec::spec(pod);
    let policy = match spec_of.dns_policy.as_deref() {
        // In the host's network, ClusterFirst would break the host's own names.
        None | Some("ClusterFirst") if spec::host_network(pod) => "Default",
        None => "ClusterFirst",
        Some(policy) => policy,
    };
    let mut dns = match policy {
        "None" => DNSConfig::default(),
        "ClusterFirst" | "ClusterFirstWithHostNet" if !cluster_dns.is_empty() => {
            cluster_first(pod, host, cluster_dns, domain)
        }
        other => {
            if other.starts_with("ClusterFirst") {
                let what = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.";
                shortfalls.push(("MissingClusterDNS", format!("pod: \"{}\". {what}", spec::describe(pod))));
            }
            DNSConfig { servers: host.servers.clone(), searches: host.searches.clone(), options: host.options.clone() }
        }
    };
    if let Some(own) = &spec_of.dns_config {
        extend(&mut dns.servers, own.nameservers.as_deref().unwrap_or_default());
        extend(&mut dns.searches, own.searches.as_deref().unwrap_or_default());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            let same = |o: &String| o.split(':').next() == Some(name);
            dns.options.retain(|o| !same(o));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    shortfalls.extend(fit(&mut dns).into_iter().map(|message| ("DNSConfigForming", message)));
    (dns, shortfalls)
}

/// Leaves out what resolvers do not take, and tells it.
fn fit(dns: &mut DNSConfig) -> Vec<String> {
    let mut told = Vec::new();
    if dns.servers.len() > MAX_SERVERS {
        dns.servers.truncate(MAX_SERVERS);
        let applied = dns.servers.join(" ");
        told.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {applied}"
        ));
    }
    let asked = dns.searches.len();
    dns.searches.truncate(MAX_SEARCHES);
    // Some versions of glibc abort on a longer one.
    dns.searches.retain(|search| search.len() <= MAX_DOMAIN);
    while dns.searches.join(" ").len() > MAX_SEARCH_CHARS {
        dns.searches.pop();
    }
    if dns.searches.len() < asked {
        let applied = dns.searches.join(" ");
        told.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {applied}"
        ));
    }
    told
}

fn cluster_first(pod: &Pod, host: &HostResolver, cluster_dns: &[IpAddr], domain: &str) -> DNSConfig {
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", spec::namespace(pod)));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.to_owned());
    }
    extend(&mut searches, &host.searches);
    DNSConfig {
        servers: cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".into()],
    }
}

fn extend(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_choose_between_the_cluster_the_node_and_the_pod() {
        let host = HostResolver::parse("# x\nnameserver 10.0.2.3\nsearch lan .\noptions edns0\n");
        let cluster: Vec<IpAddr> = vec!["10.96.0.10".parse().unwrap()];
        let dns = |spec: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "n"}, "spec": spec})).unwrap();
            let (dns, told) = pod_dns(&pod, &host, &cluster, "cluster.local");
            assert!(told.is_empty(), "{told:?}");
            (dns.servers.join(","), dns.searches.join(","), dns.options.join(","))
        };
        let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        let first = text("10.96.0.10", "n.svc.cluster.local,svc.cluster.local,cluster.local,lan", "ndots:5");
        assert_eq!(dns(json!({"containers": []})), first);
        assert_eq!(dns(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})), first);
        let node = text("10.0.2.3", "lan", "edns0");
        assert_eq!(dns(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirst"})), node);
        assert_eq!(dns(json!({"containers": [], "dnsPolicy": "Default"})), node);
        let own = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["1.1.1.1"], "searches": ["my.dns"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        assert_eq!(dns(own), text("1.1.1.1", "my.dns", "ndots:2,edns0"));
    }

    #[test]
    fn what_resolvers_do_not_take_is_left_out_and_told() {
        let host = HostResolver::parse("nameserver 10.0.2.3\n");
        let dns = |config: serde_json::Value, cluster: &[IpAddr]| {
            let spec = json!({"containers": [], "dnsConfig": config});
            let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec});
            pod_dns(&serde_json::from_value(pod).unwrap(), &host, cluster, "c")
        };
        let cluster: Vec<IpAddr> = vec!["10.96.0.10".parse().unwrap()];
        let (found, told) = dns(json!({"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3"]}), &cluster);
        assert_eq!(found.servers, ["10.96.0.10", "1.1.1.1", "2.2.2.2"]);
        let words = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 1.1.1.1 2.2.2.2";
        assert_eq!(told, [("DNSConfigForming", words.to_owned())]);
        let many: Vec<String> = (0..40).map(|i| format!("d{i}")).collect();
        let (found, told) = dns(json!({"searches": many}), &cluster);
        assert_eq!((found.searches.len(), told.len()), (MAX_SEARCHES, 1));
        assert!(told[0].1.ends_with(" d27 d28"), "{told:?}");
        let (found, told) = dns(json!({"searches": ["x".repeat(254), "y"]}), &cluster);
        assert_eq!((found.searches.last().map(String::as_str), told.len()), (Some("y"), 1));
        let wide: Vec<String> = (0..20).map(|i| format!("{i}{}", "w".repeat(120))).collect();
        let (found, told) = dns(json!({"searches": wide}), &cluster);
        assert!(found.searches.join(" ").len() <= MAX_SEARCH_CHARS && told.len() == 1, "{told:?}");
        let (found, told) = dns(json!({}), &[]);
        assert_eq!((found.servers, told[0].0), (vec!["10.0.2.3".to_owned()], "MissingClusterDNS"));
    }
}
