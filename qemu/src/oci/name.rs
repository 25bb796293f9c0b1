//! Names of images, normalized as every client does: `nginx` is `docker.io/library/nginx:latest`.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A full image name with a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// Registry host, with its port when given.
    pub host: String,
    /// Path within the registry.
    pub repository: String,
    /// Tag.
    pub tag: String,
}

impl ImageName {
    /// The repository under which a mirror keeps images of all hosts: `<host>/<repository>`, the host's colon as `_`
    /// because repositories may not hold one.
    pub fn mirrored_repository(&self) -> String {
        format!("{}/{}", self.host.replace(':', "_"), self.repository)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.host, self.repository, self.tag)
    }
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: &str| Err(Error::image(text, reason));
        if text.contains('@') {
            return bad("a name with a digest cannot be a tag; give name:tag");
        }
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, "latest"),
        };
        let (host, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        if !repository.split('/').all(is_component) {
            return bad("the repository must consist of lower-case letters, digits, '.', '_', '-' between slashes");
        }
        if !is_tag(tag) {
            return bad("the tag must be 1 to 128 letters, digits, '_', '.', '-'");
        }
        Ok(ImageName { host: host.to_ascii_lowercase(), repository, tag: tag.to_owned() })
    }
}

fn is_component(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
        && bytes.iter().all(|b| inner(*b) || b"._-".contains(b))
}

/// Whether `text` can be a tag.
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes.first().copied().is_some_and(word)
        && bytes.iter().all(|b| word(*b) || b".-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full_ones() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
            ("rk.local/nginx:demo", "rk.local/nginx:demo"),
            ("localhost/a:b", "localhost/a:b"),
            ("host:5000/a/b", "host:5000/a/b:latest"),
            ("registry.k8s.io/e2e-test-images/agnhost:2.53", "registry.k8s.io/e2e-test-images/agnhost:2.53"),
        ];
        for (short, full) in cases {
            assert_eq!(short.parse::<ImageName>().map(|n| n.to_string()).ok().as_deref(), Some(full), "{short}");
        }
    }

    #[test]
    fn a_port_does_not_reach_the_mirrored_repository() {
        let name: ImageName = "host:5000/a/b:c".parse().expect("name");
        assert_eq!(name.mirrored_repository(), "host_5000/a/b");
    }

    #[test]
    fn names_that_no_registry_takes_are_refused() {
        for name in ["", "a b", "UPPER/case", "a:", "a:-x", "x@sha256:00", "a//b"] {
            assert!(name.parse::<ImageName>().is_err(), "{name:?}");
        }
    }
}
