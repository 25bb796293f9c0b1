//! Where to ask for an image, in which order (pure).

use crate::{config::Mirror, error::Result, reference::Reference};

/// One place that may hold a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, host and optional path prefix, without a trailing slash.
    pub base: String,
    /// Repository as this endpoint calls it.
    pub repository: String,
    /// The image's own registry: the only one that may see the pod's credentials.
    pub origin: bool,
}

impl Endpoint {
    /// The URL of `manifests/<reference>` or `blobs/<digest>`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base, self.repository)
    }
}

/// Mirrors of the registry by name, then those for every registry, then the registry itself.
pub(crate) fn endpoints(mirrors: &[Mirror], reference: &Reference) -> Vec<Endpoint> {
    let named = mirrors.iter().filter(|m| m.matches == reference.registry);
    let any = mirrors.iter().filter(|m| m.matches == "*");
    let mut all: Vec<Endpoint> = Vec::new();
    for mirror in named.chain(any) {
        let repository = match mirror.include_host {
            true => format!("{}/{}", reference.registry.replace(':', "_"), reference.repository),
            false => reference.repository.clone(),
        };
        for base in &mirror.endpoints {
            let endpoint = Endpoint { base: with_scheme(base), repository: repository.clone(), origin: false };
            if !all.contains(&endpoint) {
                all.push(endpoint);
            }
        }
    }
    all.push(origin(reference));
    all
}

fn with_scheme(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.contains("://") { base.to_owned() } else { format!("https://{base}") }
}

/// The host, with its port where it is told, at which the registry of an image is asked: `registry-1.docker.io` for `nginx`.
///
/// # Errors
/// It is no name of an image.
pub fn registry_host(image: &str) -> Result<String> {
    let reference: Reference = image.parse()?;
    Ok(host(&reference).to_owned())
}

fn host(reference: &Reference) -> &str {
    if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry }
}

/// Registries speak HTTPS, except those on this very host.
fn origin(reference: &Reference) -> Endpoint {
    let host = host(reference);
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    let local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let scheme = if local { "http" } else { "https" };
    Endpoint { base: format!("{scheme}://{host}"), repository: reference.repository.clone(), origin: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(matches: &str, endpoints: &[&str], include_host: bool) -> Mirror {
        Mirror { matches: matches.into(), endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(), include_host }
    }

    #[test]
    fn mirrors_come_before_the_registry_and_named_ones_first() {
        let mirrors = [mirror("*", &["http://10.0.2.2:5000/"], true), mirror("docker.io", &["mirror.example"], false)];
        let urls = |name: &str| -> Vec<String> {
            let reference: Reference = name.parse().expect("reference");
            endpoints(&mirrors, &reference).iter().map(|e| e.url("manifests/x")).collect()
        };
        assert_eq!(
            urls("nginx"),
            [
                "https://mirror.example/v2/library/nginx/manifests/x",
                "http://10.0.2.2:5000/v2/docker.io/library/nginx/manifests/x",
                "https://registry-1.docker.io/v2/library/nginx/manifests/x",
            ]
        );
        assert_eq!(
            urls("localhost:5000/a/b"),
            ["http://10.0.2.2:5000/v2/localhost_5000/a/b/manifests/x", "http://localhost:5000/v2/a/b/manifests/x",]
        );
        assert_eq!(urls("[::1]:5000/a").last().map(String::as_str), Some("http://[::1]:5000/v2/a/manifests/x"));
    }
}
