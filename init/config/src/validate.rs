//! What each field must satisfy beyond its type. Findings carry the path an operator wrote.

use crate::network::Network;
use crate::reader::{Findings, quote};
use crate::types::{Cluster, MachineConfig, Role};
use crate::{validate_ranges, validate_vip};

/// Checks a config that has been read field by field. What a role demands is checked when the role is known.
pub(crate) fn machine(config: &MachineConfig, role_known: bool, out: &mut Findings) {
    if let Some(hostname) = &config.hostname
        && (hostname.len() > 63 || !is_dns_subdomain(hostname))
    {
        out.refuse(
            "hostname",
            format!("must be a lower-case DNS name of at most 63 characters, not {}", quote(hostname)),
        );
    }
    network(&config.network, out);
    validate_vip::vips(config, role_known, out);
    cluster(&config.cluster, out);
    validate_ranges::ranges(config, out);
    if let Some(advertise) = config.control_plane.as_ref().and_then(|c| c.advertise.as_ref()) {
        host("controlPlane.advertise", advertise, out);
    }
    let mirrors = config.registries.mirrors.iter().enumerate().map(|(i, m)| (format!("mirrors[{i}]"), &m.matches));
    let tls = config.registries.tls.iter().enumerate().map(|(i, t)| (format!("tls[{i}]"), &t.matches));
    for (entry, host) in mirrors.chain(tls).filter(|(_, host)| *host != "*" && !is_registry(host)) {
        let reason = format!("must be a registry host with an optional port, or \"*\", not {}", quote(host));
        out.refuse(format!("registries.{entry}.match"), reason);
    }
    for (i, auth) in config.registries.auth.iter().enumerate().filter(|(_, auth)| !is_registry(&auth.matches)) {
        let reason = format!("must be a registry host with an optional port, not {}", quote(&auth.matches));
        out.refuse(format!("registries.auth[{i}].match"), reason);
    }
    match config.role {
        Role::Worker if role_known => worker(config, out),
        Role::Worker | Role::ControlPlane => {}
    }
}

fn worker(config: &MachineConfig, out: &mut Findings) {
    if config.control_plane.is_some() {
        out.refuse("controlPlane", "is for role control-plane only; remove it or change role");
    }
    let needed = [
        ("cluster.endpoint", config.cluster.endpoint.is_some(), "the URL of the API server"),
        ("cluster.token", config.cluster.token.is_some(), "a bootstrap token"),
        ("cluster.caHash", config.cluster.ca_hash.is_some(), "sha256: and the hash of the cluster CA's public key"),
    ];
    for (path, given, what) in needed {
        if !given && !out.errors.iter().any(|e| e.path == path) {
            out.refuse(path, format!("is missing; a worker needs {what}"));
        }
    }
}

fn network(network: &Network, out: &mut Findings) {
    for (i, interface) in network.interfaces.iter().enumerate() {
        let at = format!("network.interfaces[{i}]");
        if let Some(name) = interface.name.as_ref().filter(|name| !is_link_name(name)) {
            let reason = format!("must be 1 to 15 letters, digits, '-', '_' or '.', not {}", quote(name));
            out.refuse(format!("{at}.name"), reason);
        }
        if network.interfaces.iter().take(i).any(|before| interface.name.is_some() && before.name == interface.name) {
            out.refuse(format!("{at}.name"), "is taken by an entry before; names of links are unique");
        }
        for (j, route) in interface.routes.iter().enumerate() {
            if let Some(via) = route.via
                && via.is_ipv4() != route.to.addr().is_ipv4()
            {
                out.refuse(format!("{at}.routes[{j}].via"), "must be of the same IP family as the destination");
            }
        }
        for (j, address) in interface.addresses.iter().enumerate() {
            if address.addr().is_unspecified() || address.addr().is_multicast() || address.addr().is_loopback() {
                out.refuse(format!("{at}.addresses[{j}]"), "must be an address that a host can own");
            }
        }
    }
    for (i, domain) in network.search_domains.iter().enumerate() {
        if !is_dns_subdomain(domain) {
            out.refuse(format!("network.searchDomains[{i}]"), format!("must be a DNS name, not {}", quote(domain)));
        }
    }
    for (i, server) in network.ntp.servers.iter().enumerate() {
        host(&format!("network.ntp.servers[{i}]"), server, out);
    }
}

fn cluster(cluster: &Cluster, out: &mut Findings) {
    if !is_dns_subdomain(&cluster.name) {
        out.refuse("cluster.name", format!("must be a DNS name, not {}", quote(&cluster.name)));
    }
    if let Some(endpoint) = &cluster.endpoint {
        url("cluster.endpoint", endpoint, &["https"], out);
    }
    if let Some(token) = &cluster.token
        && !is_bootstrap_token(token)
    {
        // The value itself is a secret and stays out of the message.
        out.refuse(
            "cluster.token",
            "must be a bootstrap token: six and sixteen characters of a-z0-9 with a dot between",
        );
    }
    if let Some(hash) = &cluster.ca_hash
        && !hash.strip_prefix("sha256:").is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        out.refuse("cluster.caHash", format!("must be sha256: and 64 hex digits, not {}", quote(hash)));
    }
    if !is_dns_subdomain(&cluster.dns_domain) {
        out.refuse("cluster.dnsDomain", format!("must be a DNS name, not {}", quote(&cluster.dns_domain)));
    }
}

fn host(path: &str, value: &str, out: &mut Findings) {
    if value.parse::<std::net::IpAddr>().is_err() && !is_dns_subdomain(value) {
        out.refuse(path, format!("must be a host name or an IP address, not {}", quote(value)));
    }
}

/// Checks a base URL: one of `schemes`, a host, an optional port, no user, query or fragment.
pub(crate) fn url(path: &str, value: &str, schemes: &[&str], out: &mut Findings) {
    let wanted =
        format!("must be a URL such as {}://host:port, not {}", schemes.first().unwrap_or(&"https"), quote(value));
    let Some((scheme, rest)) = value.split_once("://") else { return out.refuse(path, wanted) };
    let authority = rest.split('/').next().unwrap_or_default();
    let odd = value.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) || rest.contains(['?', '#', '@']);
    if !schemes.contains(&scheme) || odd || !is_registry(authority) {
        out.refuse(path, wanted);
    }
}

/// Checks that a PEM block of this label is there; certificates are read in full by who uses them.
pub(crate) fn pem(path: &str, value: &str, label: &str, out: &mut Findings) {
    let block = value.find("-----BEGIN ").is_some_and(|start| {
        let head = value.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        head.trim_end().ends_with(&format!("{label}-----")) && value.contains(&format!("{label}-----\n"))
    });
    if !block || !value.contains("-----END ") {
        out.refuse(path, format!("must be a PEM block of type {label}"));
    }
}

/// Checks a label or taint: qualified name and value as Kubernetes defines them.
pub(crate) fn label(path: &str, key: &str, value: &str, out: &mut Findings) {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    if prefix.is_some_and(|p| !is_dns_subdomain(p)) || name.is_empty() || !is_qualified(name) {
        out.refuse(path, format!("{} is not a label key: [DNS prefix/]name of at most 63 characters", quote(key)));
    }
    if !is_qualified(value) {
        out.refuse(path, format!("{} is not a label value: at most 63 of A-Za-z0-9, '-', '_', '.'", quote(value)));
    }
}

fn is_qualified(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// Whether `text` is a DNS label as RFC 1123 has it, lower case.
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Whether `text` is a DNS subdomain as RFC 1123 has it, lower case.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn is_bootstrap_token(text: &str) -> bool {
    let plain = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split_once('.').is_some_and(|(id, secret)| plain(id, 6) && plain(secret, 16))
}

/// What the kernel takes as the name of a link, without what needs quoting.
fn is_link_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

pub(crate) fn is_mac(text: &str) -> bool {
    let mut pairs = 0;
    text.split(':').all(|pair| {
        pairs += 1;
        pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit())
    }) && pairs == 6
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, "")) => (v6, None),
            Some((v6, port)) => (v6, Some(port.strip_prefix(':').unwrap_or("?"))),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p))),
    };
    let host_ok =
        if text.starts_with('[') { host.parse::<std::net::Ipv6Addr>().is_ok() } else { is_dns_subdomain(host) };
    host_ok && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p != 0))
}
