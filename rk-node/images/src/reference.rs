//! Image references: parsing and Docker's normalisation (`nginx` is `docker.io/library/nginx:latest`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Longest repository name, host included, that the distribution specification allows.
const MAX_NAME: usize = 255;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Registry host with optional port: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// Repository below the host: `library/nginx`.
    pub repository: String,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// Digest of a manifest or index.
    pub digest: Option<Digest>,
}

impl Reference {
    /// `host/repository` without tag or digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What is asked of the registry: the digest when there is one, else the tag.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let fail = |reason| Error::InvalidReference { name: name.chars().take(MAX_NAME * 2).collect(), reason };
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).ok_or_else(|| fail("bad digest"))?)),
            None => (name, None),
        };
        // A colon after the last slash starts a tag; before it, a port.
        let (path, tag) = match rest.rfind(':').filter(|colon| !rest[*colon..].contains('/')) {
            Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("bad tag"));
        }
        let (registry, repository) = split_host(path);
        if repository.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(fail("repository name must be lowercase"));
        }
        if !is_host(registry) || !repository.split('/').all(is_component) {
            return Err(fail("invalid reference format"));
        }
        let repository = match (registry, repository.contains('/')) {
            ("docker.io", false) => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(fail("repository name must not be longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// The first component is a host when it has a dot or a port, or is `localhost`, or cannot be a repository.
fn split_host(path: &str) -> (&str, &str) {
    match path.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':']) || host == "localhost" || host.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (if host == "index.docker.io" { "docker.io" } else { host }, rest)
        }
        _ => ("docker.io", path),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((ip, rest)) if ip.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", rest.strip_prefix(':')),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` parts joined by `.`, `_`, `__` or dashes.
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
        && separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&tag.len()) && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

/// A content digest: `sha256:` or `sha512:` and lower-case hex of the right length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Parses a digest of a known algorithm.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let len = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let fine = hex.len() == len && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        fine.then(|| Self(text.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256-<hex>`: a file name.
    pub fn file_name(&self) -> String {
        self.0.replacen(':', "-", 1)
    }

    /// The hex digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    pub(crate) fn from_sha256(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(hash)))
    }

    pub(crate) fn from_sha512(hash: &[u8]) -> Self {
        Self(format!("sha512:{}", hex::encode(hash)))
    }

    pub(crate) fn is_sha512(&self) -> bool {
        self.0.starts_with("sha512:")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("bad digest {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        let hex = "a".repeat(64);
        for (given, wanted) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest".to_owned()),
            ("user/app", "docker.io/user/app:latest".to_owned()),
            ("rk.local/nginx:demo", "rk.local/nginx:demo".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x/y:z", "localhost:5000/x/y:z".to_owned()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
            (
                "registry.k8s.io/e2e-test-images/agnhost:2.63.0",
                "registry.k8s.io/e2e-test-images/agnhost:2.63.0".to_owned(),
            ),
            (&format!("busybox@sha256:{hex}"), format!("docker.io/library/busybox@sha256:{hex}")),
            (&format!("busybox:1@sha256:{hex}"), format!("docker.io/library/busybox:1@sha256:{hex}")),
        ] {
            assert_eq!(given.parse::<Reference>().map(|r| r.to_string()).ok(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn names_that_are_no_references_are_refused() {
        for name in [
            "",
            ":",
            "Nginx",
            "a//b",
            "../x",
            "nginx:",
            "nginx:-x",
            "nginx@sha256:zz",
            "a b",
            "-x/y",
            "host.io/",
            "x@md5:aa",
            "a/é",
        ] {
            assert!(name.parse::<Reference>().is_err(), "{name:?}");
        }
        assert!(format!("a/{}", "b".repeat(300)).parse::<Reference>().is_err());
    }
}
