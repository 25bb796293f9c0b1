//! The checks, by upstream's names: those of parts that exist here, in the order in which they are told.

/// Work that a server does once when it starts, before it calls itself well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// What is written reaches the caches that requests read.
    Caches,
    /// The loop that tells whether admission policies can be used runs.
    Admission,
    /// Custom kinds are served as they are defined, their documents are published, and every group and version is registered.
    CustomKinds,
    /// What is served follows the definitions from now on.
    CustomKindsKeeper,
    /// The namespaces of the system are there.
    Namespaces,
    /// The authorities that clients are checked by are told.
    ClientAuthorities,
    /// Every address of a Service has its record.
    ServiceAddresses,
    /// The default roles are there.
    Roles,
    /// The priority classes of the system are there.
    PriorityClasses,
    /// FlowSchemas and priority levels are there, and requests are matched with them.
    FlowSchemas,
    /// The Service `kubernetes` leads here.
    KubernetesService,
    /// It is known which APIs other servers serve.
    Aggregation,
}

/// What makes a check pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// That the server answers at all.
    Answers,
    /// The store can be read.
    Store,
    /// The objects that every cluster has are there.
    Bootstrapped,
    /// This work of the start is done.
    Done(Hook),
    /// The server is not shutting down.
    Stays,
}

/// A named check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    /// The path below its endpoint.
    pub name: &'static str,
    pub rule: Rule,
    /// Whether it counts for `/readyz` alone.
    pub ready_only: bool,
}

const fn check(name: &'static str, rule: Rule) -> Check {
    Check { name, rule, ready_only: false }
}

const fn ready(name: &'static str, rule: Rule) -> Check {
    Check { name, rule, ready_only: true }
}

const CHECKS: &[Check] = &[
    check("ping", Rule::Answers),
    check("log", Rule::Answers),
    // The store is named after what upstream's monitoring looks for.
    check("etcd", Rule::Store),
    ready("etcd-readiness", Rule::Store),
    ready("informer-sync", Rule::Bootstrapped),
    check("poststarthook/start-apiserver-admission-initializer", Rule::Done(Hook::Admission)),
    check("poststarthook/generic-apiserver-start-informers", Rule::Done(Hook::Caches)),
    check("poststarthook/priority-and-fairness-config-consumer", Rule::Done(Hook::FlowSchemas)),
    check("poststarthook/priority-and-fairness-filter", Rule::Done(Hook::FlowSchemas)),
    check("poststarthook/storage-object-count-tracker-hook", Rule::Done(Hook::Caches)),
    check("poststarthook/start-apiextensions-informers", Rule::Done(Hook::CustomKinds)),
    check("poststarthook/start-apiextensions-controllers", Rule::Done(Hook::CustomKindsKeeper)),
    check("poststarthook/crd-informer-synced", Rule::Done(Hook::CustomKinds)),
    check("poststarthook/start-system-namespaces-controller", Rule::Done(Hook::Namespaces)),
    check("poststarthook/start-cluster-authentication-info-controller", Rule::Done(Hook::ClientAuthorities)),
    check("poststarthook/start-service-ip-repair-controllers", Rule::Done(Hook::ServiceAddresses)),
    check("poststarthook/rbac/bootstrap-roles", Rule::Done(Hook::Roles)),
    check("poststarthook/scheduling/bootstrap-system-priority-classes", Rule::Done(Hook::PriorityClasses)),
    check("poststarthook/priority-and-fairness-config-producer", Rule::Done(Hook::FlowSchemas)),
    check("poststarthook/bootstrap-controller", Rule::Done(Hook::KubernetesService)),
    check("poststarthook/start-kubernetes-service-cidr-controller", Rule::Done(Hook::ServiceAddresses)),
    check("poststarthook/start-kube-aggregator-informers", Rule::Done(Hook::Aggregation)),
    check("poststarthook/apiservice-status-local-available-controller", Rule::Done(Hook::CustomKinds)),
    check("poststarthook/apiservice-status-remote-available-controller", Rule::Done(Hook::Aggregation)),
    check("poststarthook/apiservice-registration-controller", Rule::Done(Hook::Aggregation)),
    check("poststarthook/apiservice-discovery-controller", Rule::Done(Hook::Aggregation)),
    check("poststarthook/kube-apiserver-autoregistration", Rule::Done(Hook::CustomKinds)),
    check("autoregister-completion", Rule::Done(Hook::CustomKinds)),
    check("poststarthook/apiservice-openapi-controller", Rule::Done(Hook::CustomKinds)),
    check("poststarthook/apiservice-openapiv3-controller", Rule::Done(Hook::Aggregation)),
    ready("shutdown", Rule::Stays),
];

/// The endpoints.
pub(super) const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// The checks of an endpoint.
pub(super) fn of(endpoint: &str) -> impl Iterator<Item = &'static Check> {
    let all = endpoint == "readyz";
    CHECKS.iter().filter(move |check| all || !check.ready_only)
}

/// The paths of all endpoints and their checks.
pub fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.into_iter().flat_map(|endpoint| {
        let below = of(endpoint).map(move |check| format!("/{endpoint}/{}", check.name));
        std::iter::once(format!("/{endpoint}")).chain(below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_the_checks_that_are_its_business() {
        let names = |endpoint: &str| of(endpoint).map(|check| check.name).collect::<Vec<_>>();
        assert_eq!(names("readyz")[..5], ["ping", "log", "etcd", "etcd-readiness", "informer-sync"]);
        assert_eq!(names("livez")[..3], ["ping", "log", "etcd"]);
        assert_eq!(names("livez"), names("healthz"));
        for name in ["etcd-readiness", "informer-sync", "shutdown"] {
            assert!(!names("livez").contains(&name), "{name}");
        }
        let mut once = names("readyz");
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), CHECKS.len(), "names are told once");
        assert!(paths().any(|path| path == "/livez/poststarthook/rbac/bootstrap-roles"));
    }

    #[test]
    fn checks_that_the_community_looks_for_are_told() {
        for name in [
            "poststarthook/start-apiserver-admission-initializer",
            "poststarthook/generic-apiserver-start-informers",
            "poststarthook/priority-and-fairness-config-consumer",
            "poststarthook/priority-and-fairness-filter",
            "poststarthook/storage-object-count-tracker-hook",
            "poststarthook/start-apiextensions-informers",
            "poststarthook/start-kube-aggregator-informers",
            "poststarthook/apiservice-status-local-available-controller",
            "poststarthook/apiservice-status-remote-available-controller",
            "poststarthook/kube-apiserver-autoregistration",
            "autoregister-completion",
            "poststarthook/apiservice-openapi-controller",
        ] {
            for endpoint in ENDPOINTS {
                assert!(of(endpoint).any(|check| check.name == name), "{name} of {endpoint}");
            }
        }
    }
}
