//! `/etc/hosts`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that the text gives a host, IPv4 before IPv6. `localhost` and names below it need no line (RFC 6761, 6.3).
pub(crate) fn find(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut found: Vec<IpAddr> = text.lines().filter_map(|line| address(line, host)).collect();
    if found.is_empty() && is_local(host) {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// The address of a line that names the host.
fn address(line: &str, host: &str) -> Option<IpAddr> {
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
}

fn is_local(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_hosts_by_any_of_their_names() {
        let text = "# a comment\n::1 node\n10.0.0.1 Node node.example # also\n10.0.0.2 other #node\nnonsense node\n\n";
        let cases: [(&str, &[&str]); 6] = [
            ("node", &["10.0.0.1", "::1"]),
            ("NODE.example.", &["10.0.0.1"]),
            ("other", &["10.0.0.2"]),
            ("also", &[]),
            ("localhost", &["127.0.0.1", "::1"]),
            ("a.localhost", &["127.0.0.1", "::1"]),
        ];
        for (host, wanted) in cases {
            let found: Vec<String> = find(text, host).iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted, "{host}");
        }
    }
}
