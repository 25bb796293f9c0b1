//! The roles and bindings that every cluster starts with, as data, under upstream's names.
//!
//! A rule is one line: `verbs group resources [names]`, lists separated by commas, `core` for the group without a name.
//! `urls` in the place of the group makes a rule about paths that are not resources.

mod bindings;
mod controllers;
mod system;
mod users;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::rules::Rule;

/// A ClusterRole or namespaced Role of the default policy.
pub struct RoleRow {
    /// Name of the role.
    pub name: &'static str,
    /// Labels beside the bootstrapping one.
    pub labels: &'static [&'static str],
    /// Label that the roles to be merged into this one carry; such a role has no rules of its own.
    pub aggregates: Option<&'static str>,
    /// The rules.
    pub rules: &'static [&'static str],
}

/// A binding of the default policy. Subjects are `User:name`, `Group:name` or `ServiceAccount:namespace/name`.
pub struct BindingRow {
    /// Name of the binding.
    pub name: &'static str,
    /// Name of the role.
    pub role: &'static str,
    /// The subjects.
    pub subjects: &'static [&'static str],
}

/// A role or binding inside a namespace.
pub struct Namespaced<T> {
    /// The namespace.
    pub namespace: &'static str,
    /// The row.
    pub row: T,
}

pub(super) const fn role(name: &'static str, rules: &'static [&'static str]) -> RoleRow {
    RoleRow { name, labels: &[], aggregates: None, rules }
}

/// Annotation that lets an administrator stop the reconciling of one object.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";

/// Every object of the default policy: resource name, then the object.
#[must_use]
pub fn objects() -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    let roles = users::ROLES.iter().chain(system::ROLES).chain(controllers::ROLES);
    for row in roles {
        out.push(("clusterroles", role_object("ClusterRole", None, row)));
    }
    for row in bindings::CLUSTER {
        out.push(("clusterrolebindings", binding_object("ClusterRoleBinding", "ClusterRole", None, row)));
    }
    for row in controllers::ROLES {
        out.push(("clusterrolebindings", controller_binding(row.name)));
    }
    for Namespaced { namespace, row } in bindings::NAMESPACED_ROLES {
        out.push(("roles", role_object("Role", Some(namespace), row)));
    }
    for Namespaced { namespace, row } in bindings::NAMESPACED {
        out.push(("rolebindings", binding_object("RoleBinding", "Role", Some(namespace), row)));
    }
    out
}

/// The rules of `system:node`, which the node authorizer applies without a binding.
#[must_use]
pub fn node_rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let lines = system::ROLES.iter().filter(|row| row.name == "system:node").flat_map(|row| row.rules);
        lines.map(|line| Rule::parse(&rule(line))).collect()
    })
}

fn metadata(name: &str, namespace: Option<&str>, labels: &[&str]) -> Value {
    let mut map: Map<String, Value> = labels.iter().map(|label| ((*label).to_owned(), json!("true"))).collect();
    map.insert(BOOTSTRAPPING.to_owned(), json!("rbac-defaults"));
    let mut metadata = json!({"name": name, "labels": map, "annotations": {AUTOUPDATE: "true"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn role_object(kind: &str, namespace: Option<&str>, row: &RoleRow) -> Value {
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata(row.name, namespace, row.labels),
        "rules": row.rules.iter().map(|line| rule(line)).collect::<Vec<_>>(),
    });
    if let Some(label) = row.aggregates {
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        object["rules"] = json!(users::aggregated(label).iter().map(|line| rule(line)).collect::<Vec<_>>());
    }
    object
}

fn rule(line: &str) -> Value {
    let mut words = line.split(' ');
    let list = |word: Option<&str>| word.unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>();
    let verbs = list(words.next());
    let groups: Vec<String> =
        list(words.next()).into_iter().map(|group| if group == "core" { String::new() } else { group }).collect();
    let third = list(words.next());
    if groups == ["urls"] {
        return json!({"nonResourceURLs": third, "verbs": verbs});
    }
    let mut rule = json!({"apiGroups": groups, "resources": third, "verbs": verbs});
    if let Some(names) = words.next() {
        rule["resourceNames"] = json!(list(Some(names)));
    }
    rule
}

fn binding_object(kind: &str, role_kind: &str, namespace: Option<&str>, row: &BindingRow) -> Value {
    let subjects: Vec<Value> = row.subjects.iter().filter_map(|subject| subject_object(subject)).collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata(row.name, namespace, &[]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": row.role},
        "subjects": subjects,
    })
}

fn subject_object(subject: &str) -> Option<Value> {
    let (kind, name) = subject.split_once(':')?;
    Some(match kind {
        "ServiceAccount" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": kind, "name": name, "namespace": namespace})
        }
        _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
    })
}

fn controller_binding(role: &'static str) -> Value {
    let account = role.strip_prefix("system:controller:").unwrap_or(role);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(role, None, &[]),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_policy_is_a_whole_rule() {
        for (resource, object) in objects() {
            let name = object["metadata"]["name"].as_str().unwrap();
            for rule in object["rules"].as_array().into_iter().flatten() {
                for list in ["verbs", "apiGroups", "resources", "nonResourceURLs", "resourceNames"] {
                    for entry in rule[list].as_array().into_iter().flatten() {
                        let entry = entry.as_str().unwrap();
                        assert!(list == "apiGroups" || !entry.is_empty(), "{resource}/{name}: empty entry in {list}");
                    }
                }
                assert!(rule["verbs"].as_array().is_some_and(|verbs| !verbs.is_empty()), "{name}");
            }
        }
    }

    /// Upstream's controllers with its feature gates as they are by default in v1.36, without the prefix of their roles.
    const CONTROLLERS: &str = "attachdetach-controller certificate-controller clusterrole-aggregation-controller \
        cronjob-controller daemon-set-controller deployment-controller device-taint-eviction-controller \
        disruption-controller endpoint-controller endpointslice-controller endpointslicemirroring-controller \
        ephemeral-volume-controller expand-controller generic-garbage-collector horizontal-pod-autoscaler \
        job-controller legacy-service-account-token-cleaner namespace-controller node-controller \
        persistent-volume-binder pod-garbage-collector pv-protection-controller pvc-protection-controller \
        replicaset-controller replication-controller resource-claim-controller resourcequota-controller \
        root-ca-cert-publisher route-controller selinux-warning-controller service-account-controller \
        service-cidrs-controller service-controller statefulset-controller ttl-after-finished-controller \
        ttl-controller validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller";

    #[test]
    fn controllers_have_the_roles_that_upstream_gives_them() {
        let names: Vec<_> =
            controllers::ROLES.iter().filter_map(|row| row.name.strip_prefix("system:controller:")).collect();
        assert_eq!(names, CONTROLLERS.split_whitespace().collect::<Vec<_>>());
        // Their lists are watches that begin with what is there.
        let lists = |line: &str| {
            let verbs: Vec<_> = line.split(' ').next().unwrap_or_default().split(',').collect();
            verbs.contains(&"list") && !verbs.contains(&"watch")
        };
        for row in controllers::ROLES {
            assert_eq!(row.rules.iter().find(|line| lists(line)), None, "{}", row.name);
        }
    }

    #[test]
    fn what_only_this_system_needs_has_names_of_its_own() {
        for (resource, object) in objects() {
            let name = object["metadata"]["name"].as_str().unwrap();
            let own = name.starts_with("rk:") || name.starts_with("kubeadm:");
            let nodes = object["subjects"].as_array().into_iter().flatten().any(|who| who["name"] == "system:nodes");
            assert!(own || !nodes, "{resource}/{name}: upstream binds nodes to nothing, since they have an authorizer");
        }
        let approves = |row: &&RoleRow| {
            row.rules.iter().any(|line| line.starts_with("approve ") && line.contains("kubelet-serving"))
        };
        let names: Vec<_> =
            system::ROLES.iter().chain(controllers::ROLES).filter(approves).map(|row| row.name).collect();
        assert_eq!(names, ["system:certificates.k8s.io:kubelet-serving-approver"]);
        let bound = bindings::CLUSTER.iter().find(|row| row.name == "rk:kubelet-serving-approver").unwrap();
        assert_eq!(
            (bound.role, bound.subjects),
            (names[0], &["ServiceAccount:kube-system/certificate-controller"][..])
        );
    }

    #[test]
    fn whoever_may_see_or_change_events_may_in_either_group() {
        let events = |row: &&RoleRow| row.rules.iter().any(|line| line.ends_with(" core,events.k8s.io events"));
        let all: Vec<_> = users::ROLES.iter().chain(system::ROLES).filter(events).map(|row| row.name).collect();
        for name in ["system:aggregate-to-edit", "system:aggregate-to-view", "system:node", "system:kube-scheduler"] {
            assert!(all.contains(&name), "{name}: {all:?}");
        }
    }

    #[test]
    fn a_view_role_can_read_pods_but_no_secrets() {
        let all = objects();
        let (_, view) = all.iter().find(|(_, object)| object["metadata"]["name"] == "view").unwrap();
        let text = view["rules"].to_string();
        assert!(text.contains("\"pods\"") && !text.contains("\"secrets\""));
    }
}
