//! Keys of objects in the store: `/registry/<group or core>/<plural>/[<namespace>/]<name>`.

use rk_api::resources::Resource;

/// Prefix of every object's key.
pub(super) const ROOT: &str = "/registry/";

/// Prefix of the keys of one resource, with a trailing slash.
#[must_use]
pub fn prefix(hub: &Resource) -> String {
    let group = if hub.gvk.group.is_empty() { "core" } else { &hub.gvk.group };
    format!("{ROOT}{group}/{}/", hub.plural)
}

/// Key of one object; `namespace` is empty for cluster-scoped resources.
#[must_use]
pub fn object_key(hub: &Resource, namespace: &str, name: &str) -> String {
    let mut key = prefix(hub);
    if !namespace.is_empty() {
        key.push_str(namespace);
        key.push('/');
    }
    key.push_str(name);
    key
}

/// The resource's prefix inside a key.
pub(super) fn prefix_of_key(key: &str) -> Option<&str> {
    let rest = key.strip_prefix(ROOT)?;
    let group = rest.find('/')?;
    let plural = rest.get(group + 1..)?.find('/')?;
    key.get(..ROOT.len() + group + 1 + plural + 1)
}

/// The plural that a resource's prefix ends with.
pub(super) fn plural_of_prefix(prefix: &str) -> &str {
    let named = prefix.strip_suffix('/').unwrap_or(prefix);
    named.rsplit_once('/').map_or(named, |(_, plural)| plural)
}

/// Group (empty for the core) and plural of the resource that a key is of.
#[must_use]
pub fn resource_of_key(key: &str) -> Option<(&str, &str)> {
    let prefix = prefix_of_key(key)?;
    let (group, _) = prefix.strip_prefix(ROOT)?.split_once('/')?;
    Some((if group == "core" { "" } else { group }, plural_of_prefix(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_resource() {
        assert_eq!(prefix_of_key("/registry/core/pods/default/a"), Some("/registry/core/pods/"));
        assert_eq!(prefix_of_key("/registry/core/nodes/a"), Some("/registry/core/nodes/"));
        assert_eq!(plural_of_prefix("/registry/core/nodes/"), "nodes");
        assert_eq!(resource_of_key("/registry/core/nodes/a"), Some(("", "nodes")));
        assert_eq!(resource_of_key("/registry/apps/deployments/n/a"), Some(("apps", "deployments")));
        assert_eq!(resource_of_key("/registry/core/nodes"), None);
        assert_eq!(prefix_of_key("/elsewhere/core/nodes/a"), None);
        assert_eq!(prefix_of_key("/registry/core"), None);
    }
}
