//! Where a request of a probe goes, and where a redirect leads. Values only.

use hyper::StatusCode;

/// Where on its host a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// With TLS.
    pub tls: bool,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// The host with the port.
    pub fn authority(&self, host: &str) -> String {
        authority(host, self.port)
    }

    /// The scheme of its URL.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Where a redirect leads that stays on this host. Others end the probe with the redirect itself.
    pub fn follow(&self, location: &str, host: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()), host);
        }
        if location.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?'])) {
            return Self::parse(location, host);
        }
        let base = self.path.split('?').next().unwrap_or_default();
        let dir = base.rsplit_once('/').map_or("", |(dir, _)| dir);
        let path = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{base}{location}"),
            Some(_) => format!("{dir}/{location}"),
            None => self.path.clone(),
        };
        Some(Self { path: resolved(&path), ..self.clone() })
    }

    fn parse(url: &str, host: &str) -> Option<Self> {
        let uri: hyper::Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let stays = uri.host()?.trim_start_matches('[').trim_end_matches(']').eq_ignore_ascii_case(host);
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        stays.then_some(Self { tls, port, path })
    }
}

/// Answers that lead elsewhere by what they name; others of their class are answers in themselves.
pub fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn resolved(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut kept = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

/// A host with a port, as URLs have it.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_as_long_as_it_stays_on_its_host() {
        let at = |tls: bool, port: u16, path: &str| Target { tls, port, path: path.to_owned() };
        let here = at(false, 8080, "/a/b?c=d");
        for (location, want) in [
            ("/healthz", Some(at(false, 8080, "/healthz"))),
            ("/x?to=http://other/", Some(at(false, 8080, "/x?to=http://other/"))),
            ("e", Some(at(false, 8080, "/a/e"))),
            ("../e/./f?g=../h", Some(at(false, 8080, "/e/f?g=../h"))),
            ("/x/..", Some(at(false, 8080, "/"))),
            ("/../x/.", Some(at(false, 8080, "/x/"))),
            ("#top", Some(at(false, 8080, "/a/b?c=d"))),
            ("?e=f", Some(at(false, 8080, "/a/b?e=f"))),
            ("http://10.0.0.1:8080/x#y", Some(at(false, 8080, "/x"))),
            ("https://10.0.0.1/x?y=z", Some(at(true, 443, "/x?y=z"))),
            ("//10.0.0.1:81", Some(at(false, 81, "/"))),
            ("http://0.0.0.0/", None),
            ("http://10.0.0.1.example/", None),
            ("ftp://10.0.0.1/", None),
            ("http://", None),
        ] {
            assert_eq!(here.follow(location, "10.0.0.1"), want, "{location}");
        }
        let leads = |code: u16| is_redirect(StatusCode::from_u16(code).unwrap());
        assert!([301, 302, 303, 307, 308].into_iter().all(leads) && ![200, 300, 304].into_iter().any(leads));
        let six = at(true, 443, "/");
        assert_eq!(six.follow("https://[fd00::1]:8443/x", "fd00::1"), Some(at(true, 8443, "/x")));
        assert_eq!(six.authority("fd00::1"), "[fd00::1]:443");
    }
}
