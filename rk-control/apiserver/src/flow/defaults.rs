//! The FlowSchemas and priority levels of every cluster, upstream's figures. Data, not code.

use rk_api::validate::{MANDATORY, mandatory_flow_schema, mandatory_priority_level};
use serde_json::{Value, json};

/// Says that the object may be brought up to date at every start, until somebody takes the annotation away.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// What a flow schema's rules match.
enum Targets {
    /// Everything.
    All,
    /// Probes, whoever sends them.
    Health,
    /// Verbs, groups with their resources, and whether objects without a namespace are meant, too.
    Resources(&'static [&'static str], &'static [(&'static str, &'static [&'static str])], bool),
}

use Targets::{All, Health, Resources};

const LEADING: &[&str] = &["get", "create", "update"];
const LEASES: (&str, &[&str]) = ("coordination.k8s.io", &["leases"]);

struct Flow {
    name: &'static str,
    level: &'static str,
    precedence: u32,
    /// `ByUser`, `ByNamespace` or nothing.
    distinguished: &'static str,
    /// `group:…`, `user:…`, or `account:…` in kube-system.
    subjects: &'static [&'static str],
    targets: Targets,
}

const EVERYBODY: &[&str] = &["group:system:unauthenticated", "group:system:authenticated"];

#[rustfmt::skip]
const FLOWS: &[Flow] = &[
    Flow { name: "probes", level: "exempt", precedence: 2, distinguished: "", subjects: EVERYBODY, targets: Health },
    Flow { name: "system-leader-election", level: "leader-election", precedence: 100, distinguished: "ByUser",
        subjects: &["user:system:kube-controller-manager", "user:system:kube-scheduler", "account:*"],
        targets: Resources(LEADING, &[LEASES], false) },
    Flow { name: "endpoint-controller", level: "workload-high", precedence: 150, distinguished: "ByUser",
        subjects: &["user:system:kube-controller-manager", "account:endpoint-controller", "account:endpointslicemirroring-controller"],
        targets: Resources(LEADING, &[("", &["endpoints"])], false) },
    Flow { name: "workload-leader-election", level: "leader-election", precedence: 200, distinguished: "ByUser",
        subjects: &["account:*"], targets: Resources(LEADING, &[LEASES], false) },
    Flow { name: "system-node-high", level: "node-high", precedence: 400, distinguished: "ByUser", subjects: &["group:system:nodes"],
        targets: Resources(&["*"], &[("", &["nodes", "nodes/status"]), LEASES], true) },
    Flow { name: "system-nodes", level: "system", precedence: 500, distinguished: "ByUser", subjects: &["group:system:nodes"],
        targets: All },
    Flow { name: "kube-controller-manager", level: "workload-high", precedence: 800, distinguished: "ByNamespace",
        subjects: &["user:system:kube-controller-manager"], targets: All },
    Flow { name: "kube-scheduler", level: "workload-high", precedence: 800, distinguished: "ByNamespace",
        subjects: &["user:system:kube-scheduler"], targets: All },
    Flow { name: "kube-system-service-accounts", level: "workload-high", precedence: 900, distinguished: "ByNamespace",
        subjects: &["account:*"], targets: All },
    Flow { name: "service-accounts", level: "workload-low", precedence: 9000, distinguished: "ByUser",
        subjects: &["group:system:serviceaccounts"], targets: All },
    Flow { name: "global-default", level: "global-default", precedence: 9900, distinguished: "ByUser", subjects: EVERYBODY, targets: All },
];

/// Name, shares, percentage that may be lent, queues and their hand size.
type Level = (&'static str, u32, u32, u32, u32);

const LEVELS: &[Level] = &[
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// Most requests in one queue.
const QUEUE_LENGTH: u32 = 50;

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("group", name)) => json!({"kind": "Group", "group": {"name": name}}),
        Some(("user", name)) => json!({"kind": "User", "user": {"name": name}}),
        Some((_, name)) => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
        }
        None => Value::Null,
    }
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {AUTOUPDATE: "true"}})
}

fn flow(flow: &Flow) -> Value {
    let any = ["*"];
    let (resources, others) = match &flow.targets {
        All => (
            vec![json!({"verbs": any, "apiGroups": any, "resources": any, "clusterScope": true, "namespaces": any})],
            vec![json!({"verbs": any, "nonResourceURLs": any})],
        ),
        Health => (vec![], vec![json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]})]),
        Resources(verbs, groups, cluster) => {
            let rule = |(group, resources): &(&str, &[&str])| {
                let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": any});
                // Leases always have a namespace.
                if *cluster && group.is_empty() {
                    rule["clusterScope"] = json!(true);
                }
                rule
            };
            (groups.iter().map(rule).collect(), vec![])
        }
    };
    let mut rule = json!({"subjects": flow.subjects.iter().map(|own| subject(own)).collect::<Vec<_>>()});
    for (field, rules) in [("resourceRules", resources), ("nonResourceRules", others)] {
        if !rules.is_empty() {
            rule[field] = rules.into();
        }
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": flow.level}, "matchingPrecedence": flow.precedence, "rules": [rule],
    });
    if !flow.distinguished.is_empty() {
        spec["distinguisherMethod"] = json!({"type": flow.distinguished});
    }
    schema(flow.name, spec)
}

fn schema(name: &str, spec: Value) -> Value {
    let version = "flowcontrol.apiserver.k8s.io/v1";
    json!({"apiVersion": version, "kind": "FlowSchema", "metadata": metadata(name), "spec": spec})
}

fn level(name: &str, spec: Value) -> Value {
    let version = "flowcontrol.apiserver.k8s.io/v1";
    json!({"apiVersion": version, "kind": "PriorityLevelConfiguration", "metadata": metadata(name), "spec": spec})
}

/// All of them with the plural of their resource, levels before the schemas that lead to them.
pub(super) fn objects() -> Vec<(&'static str, Value)> {
    let limited = LEVELS.iter().map(|(name, shares, lendable, queues, hand)| {
        let response = json!({"type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}});
        let limited =
            json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        level(name, json!({"type": "Limited", "limited": limited}))
    });
    let fixed = MANDATORY.iter().filter_map(|name| Some(level(name, mandatory_priority_level(name)?)));
    let levels = fixed.chain(limited).map(|object| ("prioritylevelconfigurations", object));
    let fixed = MANDATORY.iter().filter_map(|name| Some(schema(name, mandatory_flow_schema(name)?)));
    let schemas = fixed.chain(FLOWS.iter().map(flow)).map(|object| ("flowschemas", object));
    levels.chain(schemas).collect()
}

/// Whether the present object must be as it is wanted: always for what the system cannot do without, else while it says so itself.
pub(super) fn is_kept(present: &Value) -> bool {
    let annotation = rk_api::meta::at(present, &["metadata", "annotations", AUTOUPDATE]);
    MANDATORY.contains(&rk_api::meta::name(present)) || annotation == "true"
}

/// The spec that the present object is to have: as it is wanted, but for what an administrator says of the exempt level.
pub(super) fn right_spec(present: &Value, wanted: &Value) -> Value {
    let mut spec = rk_api::meta::at(wanted, &["spec"]).clone();
    let own = rk_api::meta::at(present, &["spec", "exempt"]);
    if let Some(exempt) = spec.get_mut("exempt").filter(|_| own.is_object()) {
        *exempt = own.clone();
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_leads_to_a_level_and_the_last_takes_everybody() {
        let all = objects();
        let of =
            |plural: &str| all.iter().filter(|(own, _)| *own == plural).map(|(_, object)| object).collect::<Vec<_>>();
        let levels: Vec<&str> = of("prioritylevelconfigurations").into_iter().map(rk_api::meta::name).collect();
        assert_eq!((levels.len(), of("flowschemas").len()), (8, 13));
        for schema in of("flowschemas") {
            assert!(levels.contains(&rk_api::meta::text(schema, &["spec", "priorityLevelConfiguration", "name"])));
        }
        let last = of("flowschemas").into_iter().max_by_key(|own| own["spec"]["matchingPrecedence"].as_u64()).unwrap();
        assert_eq!(rk_api::meta::name(last), "catch-all");
        let high = of("flowschemas").into_iter().find(|own| rk_api::meta::name(own) == "system-node-high").unwrap();
        assert_eq!(high["spec"]["rules"][0]["resourceRules"][0]["clusterScope"], true);
        assert_eq!(high["spec"]["rules"][0]["resourceRules"][1]["clusterScope"], Value::Null);
    }

    #[test]
    fn shares_of_the_exempt_level_are_its_administrators() {
        let all = objects();
        let (_, wanted) = all.iter().find(|(_, own)| own["spec"]["type"] == "Exempt").unwrap();
        let mut present = wanted.clone();
        present["spec"]["exempt"]["nominalConcurrencyShares"] = json!(7);
        assert_eq!(right_spec(&present, wanted), present["spec"]);
        present["spec"]["type"] = json!("Limited");
        assert_eq!(right_spec(&present, wanted)["type"], "Exempt");
        assert_eq!(right_spec(&json!({}), wanted), wanted["spec"]);
    }
}
