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

/// What stands for group and plural in the keys of upstream's store, where that is neither the plural nor both.
const TOLD: &[(&str, &str, &str)] = &[
    ("", "endpoints", "services/endpoints"),
    ("", "nodes", "minions"),
    ("", "replicationcontrollers", "controllers"),
    ("", "services", "services/specs"),
    ("networking.k8s.io", "ingresses", "ingress"),
];
/// Groups whose keys name them, as those of custom kinds do: upstream serves them by servers of their own.
const NAMED_GROUPS: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];

/// The key that upstream's store has for an object, as its messages tell it.
#[must_use]
pub fn told_key(hub: &Resource, namespace: &str, name: &str) -> String {
    let (group, plural) = (&*hub.gvk.group, &*hub.plural);
    let special = TOLD.iter().find(|(own, plurals, _)| (*own, *plurals) == (group, plural)).map(|(_, _, told)| *told);
    let place = match special {
        Some(told) => told.to_owned(),
        None if hub.custom.is_some() || NAMED_GROUPS.contains(&group) => format!("{group}/{plural}"),
        None => plural.to_owned(),
    };
    let namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    format!("{ROOT}{place}/{namespace}{name}")
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
    fn messages_name_the_keys_of_upstream_s_store() {
        let registry = rk_api::resources::Registry::builtin();
        let told = |group: &str, plural: &str| told_key(registry.get(group, "v1", plural).unwrap(), "n", "a");
        assert_eq!(told("", "pods"), "/registry/pods/n/a");
        assert_eq!(told("apps", "deployments"), "/registry/deployments/n/a");
        assert_eq!(told("", "services"), "/registry/services/specs/n/a");
        assert_eq!(told("networking.k8s.io", "ingresses"), "/registry/ingress/n/a");
        let nodes = registry.get("", "v1", "nodes").unwrap();
        assert_eq!(told_key(nodes, "", "a"), "/registry/minions/a");
        let definitions = registry.get("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
        assert_eq!(told_key(definitions, "", "a"), "/registry/apiextensions.k8s.io/customresourcedefinitions/a");
    }

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
