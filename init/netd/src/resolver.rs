//! `/etc/resolv.conf`.

use std::fs;
use std::io;
use std::net::IpAddr;

const PATH: &str = "/etc/resolv.conf";
/// As many as resolvers read.
const MOST_SERVERS: usize = 3;

/// The text: each server and domain once, in order of preference.
pub fn text(servers: &[IpAddr], domains: &[String]) -> String {
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for domain in domains {
        if !seen.contains(&domain.as_str()) {
            seen.push(domain);
        }
    }
    if !seen.is_empty() {
        text.push_str(&format!("search {}\n", seen.join(" ")));
    }
    for server in unique(servers) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// The servers that the file names now.
pub fn servers() -> Vec<IpAddr> {
    let text = fs::read_to_string(PATH).unwrap_or_default();
    let named = text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    named.take(MOST_SERVERS).collect()
}

/// The first few servers, each once.
pub fn unique(servers: &[IpAddr]) -> Vec<IpAddr> {
    let mut unique = Vec::new();
    for server in servers {
        if !unique.contains(server) && unique.len() < MOST_SERVERS {
            unique.push(*server);
        }
    }
    unique
}

/// Puts the text in place, by rename: pods' resolvers read it at any moment. Writes nothing when nothing changed.
///
/// # Errors
/// `/etc` cannot be written.
pub fn write(text: &str) -> io::Result<bool> {
    if fs::read_to_string(PATH).is_ok_and(|have| have == text) {
        return Ok(false);
    }
    let new = format!("{PATH}.new");
    fs::write(&new, text)?;
    fs::rename(&new, PATH)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_domains_come_once_and_in_order() {
        let servers = ["10.0.2.3", "1.1.1.1", "10.0.2.3", "8.8.8.8", "9.9.9.9"].map(|ip| ip.parse().unwrap());
        let domains = ["a.example", "b.example", "a.example"].map(str::to_owned);
        let wanted = "search a.example b.example\nnameserver 10.0.2.3\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n";
        assert_eq!(text(&servers, &domains), wanted);
        assert_eq!(text(&[], &[]), "");
    }
}
