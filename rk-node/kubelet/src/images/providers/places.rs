//! Which images a pattern means, as upstream's keyring compares them.

use crate::images::{registry_of, verification::without_tag};

/// An image's full name without tag and digest: `docker.io/library/nginx`.
pub fn repository(image: &str) -> String {
    let name = without_tag(image);
    let registry = registry_of(name);
    let path = name.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
    match registry {
        "docker.io" if !path.contains('/') => format!("docker.io/library/{path}"),
        _ => format!("{registry}/{path}"),
    }
}

/// The registry of a full name, with its port.
pub fn registry(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}

/// Host, port and path of a pattern or name.
fn parts(place: &str) -> (&str, &str, &str) {
    let place = place.trim_start_matches("https://").trim_start_matches("http://");
    let at = place.find('/').unwrap_or(place.len());
    let (authority, path) = (place.get(..at).unwrap_or_default(), place.get(at..).unwrap_or_default());
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    (host, port, path)
}

/// Whether a repository is at a place: hosts have as many parts, each fits the other's pattern; ports are the same; the path begins so.
pub fn matches(place: &str, repository: &str) -> bool {
    let ((host, port, path), (its_host, its_port, its_path)) = (parts(place), parts(repository));
    port == its_port
        && its_path.starts_with(path)
        && host.split('.').count() == its_host.split('.').count()
        && host.split('.').zip(its_host.split('.')).all(|(pattern, part)| fits(pattern, part))
}

/// A part of a host name against one with `*` for any number of characters.
fn fits(pattern: &str, part: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut left) = part.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_full() {
        for (image, want) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1@sha256:00", "docker.io/library/nginx"),
            ("user/app:1", "docker.io/user/app"),
            ("r.io:5000/a/b:1", "r.io:5000/a/b"),
        ] {
            assert_eq!(repository(image), want, "{image}");
        }
        assert_eq!(registry("r.io:5000/a/b"), "r.io:5000");
    }

    #[test]
    fn places_match_as_upstreams_keyring_has_it() {
        for (place, repository, want) in [
            ("123.dkr.ecr.us.amazonaws.com", "123.dkr.ecr.us.amazonaws.com/a", true),
            ("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.us.amazonaws.com/a", true),
            ("*.amazonaws.com", "123.dkr.ecr.us.amazonaws.com/a", false),
            ("app*.k8s.io", "app-1.k8s.io/a", true),
            ("a*b*c.io", "axxbyyc.io/x", true),
            ("a*b*c.io", "axxcyyb.io/x", false),
            ("*.io:5000", "r.io:5000/a", true),
            ("*.io", "r.io:5000/a", false),
            ("r.io/team", "r.io/team/app", true),
            ("r.io/team", "r.io/other/app", false),
            ("https://r.io", "r.io/a", true),
            ("*", "localhost/a", true),
        ] {
            assert_eq!(matches(place, repository), want, "{place} {repository}");
        }
    }
}
