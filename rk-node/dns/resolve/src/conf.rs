//! `/etc/resolv.conf`, as resolv.conf(5) describes it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Servers that are used, as the C library does.
const SERVERS: usize = 3;
/// Search domains that are used, as many as a pod may have.
const DOMAINS: usize = 32;
/// What options may ask for at most.
const MOST_DOTS: usize = 15;
const MOST_ATTEMPTS: usize = 5;
const MOST_SECONDS: usize = 30;

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conf {
    pub(crate) servers: Vec<SocketAddr>,
    /// Domains that names without enough dots are looked for in.
    pub(crate) search: Vec<String>,
    /// Dots from which on a name is tried as it is first.
    pub(crate) dots: usize,
    /// How often all servers are asked.
    pub(crate) attempts: usize,
    /// How long a server may take.
    pub(crate) patience: Duration,
}

impl Conf {
    pub(crate) fn parse(text: &str) -> Self {
        let servers = nameservers(text).take(SERVERS).collect();
        let mut conf = Self { servers, search: Vec::new(), dots: 1, attempts: 2, patience: Duration::from_secs(5) };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // The last line counts.
                Some("search" | "domain") => conf.search = words.map(str::to_owned).take(DOMAINS).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let Some((name, Ok(value))) = option.split_once(':').map(|(name, value)| (name, value.parse::<usize>())) else {
            return;
        };
        match name {
            "ndots" => self.dots = value.min(MOST_DOTS),
            "attempts" => self.attempts = value.clamp(1, MOST_ATTEMPTS),
            "timeout" => self.patience = Duration::from_secs(value.clamp(1, MOST_SECONDS) as u64),
            _ => {}
        }
    }

    /// The full names that a host may have, in the order in which they are tried.
    pub(crate) fn names(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_owned()];
        }
        let mut names: Vec<String> =
            self.search.iter().map(|domain| format!("{host}.{}.", domain.trim_matches('.'))).collect();
        // The root as a search domain is the name as it is.
        names.retain(|name| !name.ends_with(".."));
        let dots = host.bytes().filter(|byte| *byte == b'.').count();
        let place = if dots >= self.dots { 0 } else { names.len() };
        names.insert(place, format!("{host}."));
        names
    }
}

/// The servers of the `nameserver` lines of a `resolv.conf`.
pub fn nameservers(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_lines() {
        let text = "# comment\nsearch example.com\nnameserver 10.0.2.3\n  nameserver fd00::3 \nnameserver nonsense\n";
        let servers: Vec<String> = nameservers(text).map(|server| server.to_string()).collect();
        assert_eq!(servers, ["10.0.2.3:53", "[fd00::3]:53"]);
    }

    #[test]
    fn options_are_bounded_and_what_is_not_known_is_passed_over() {
        let empty = Conf::parse("# netd writes this file once it knows a resolver\n");
        assert_eq!((empty.servers.len(), empty.search.len(), empty.dots, empty.attempts), (0, 0, 1, 2));
        let text = "domain old.example\nsearch a.example b.example\n\
                    nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n\
                    options ndots:99 rotate attempts:0 timeout:x timeout:600 edns0\n";
        let full = Conf::parse(text);
        assert_eq!(full.search, ["a.example", "b.example"]);
        assert_eq!((full.servers.len(), full.dots, full.attempts), (3, 15, 1));
        assert_eq!(full.patience, Duration::from_secs(30));
    }

    #[test]
    fn names_with_enough_dots_are_tried_as_they_are_first() {
        let conf = Conf::parse("search a.example b.example. .\n");
        let cases: [(&str, &[&str]); 3] = [
            ("host", &["host.a.example.", "host.b.example.", "host."]),
            ("host.c", &["host.c.", "host.c.a.example.", "host.c.b.example."]),
            ("host.", &["host."]),
        ];
        for (host, wanted) in cases {
            assert_eq!(conf.names(host), wanted);
        }
    }
}
