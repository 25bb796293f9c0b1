//! Rules of priority and fairness, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::breaks;
use super::extensions::merged;

#[test]
fn flows_are_of_somebody_who_asks_for_something() {
    let spec = |more: Value| json!({"spec": more});
    let rule = |more: Value| {
        let base = json!({"subjects": [{"kind": "Group", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]});
        spec(json!({"rules": [merged(&base, &more)]}))
    };
    let of = |subject: Value| rule(json!({"subjects": [subject]}));
    let resources = |more: Value| {
        let base = json!({"verbs": ["get"], "apiGroups": ["a"], "resources": ["b"], "namespaces": ["n"]});
        rule(json!({"resourceRules": [merged(&base, &more)]}))
    };
    let urls = |urls: Value| rule(json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": urls}]}));
    breaks(
        "flowschemas",
        &[
            (
                spec(json!({"matchingPrecedence": -1})),
                "spec.matchingPrecedence: Invalid value: -1: must be a positive value",
            ),
            (
                spec(json!({"matchingPrecedence": 10_001})),
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
            ),
            (
                spec(json!({"matchingPrecedence": 1})),
                "Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ),
            (
                spec(json!({"distinguisherMethod": {"type": "ByMood"}})),
                "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"ByMood\"}: supported values: \"ByNamespace\", \"ByUser\"",
            ),
            (
                spec(json!({"priorityLevelConfiguration": {"name": ""}})),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            (
                rule(json!({"subjects": []})),
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            ),
            (
                rule(json!({"resourceRules": []})),
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ),
            (
                of(json!({"kind": "Robot"})),
                "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\"",
            ),
            (
                of(json!({"kind": "User"})),
                "subjects[0].user: Required value: user is required when subject kind is 'User'",
            ),
            (of(json!({"kind": "User", "user": {"name": ""}})), "subjects[0].user.name: Required value"),
            (
                of(json!({"kind": "ServiceAccount", "serviceAccount": {"name": "S", "namespace": "n"}})),
                "subjects[0].serviceAccount.name: Invalid value: \"S\"",
            ),
            (
                resources(json!({"verbs": []})),
                "resourceRules[0].verbs: Required value: verbs must contain at least one value",
            ),
            (
                resources(json!({"verbs": ["bless"]})),
                "resourceRules[0].verbs: Unsupported value: [\"bless\"]: supported values: \"create\"",
            ),
            (
                resources(json!({"apiGroups": []})),
                "apiGroups: Required value: resource rules must supply at least one api group",
            ),
            (resources(json!({"apiGroups": ["*", "a"]})), "if '*' is present, must not specify other api groups"),
            (
                resources(json!({"resources": []})),
                "resources: Required value: resource rules must supply at least one resource",
            ),
            (resources(json!({"resources": ["*", "a"]})), "if '*' is present, must not specify other resources"),
            (
                resources(json!({"namespaces": []})),
                "namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ),
            (resources(json!({"namespaces": ["*", "a"]})), "if '*' is present, must not specify other namespaces"),
            (
                resources(json!({"namespaces": ["N"]})),
                "namespaces[0]: Invalid value: \"N\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label",
            ),
            (urls(json!([])), "nonResourceURLs: Required value: nonResourceURLs must contain at least one value"),
            (urls(json!(["*", "/a"])), "if '*' is present, must not specify other non-resource URLs"),
            (urls(json!([""])), "nonResourceURLs[0]: Invalid value: \"\": must not be empty"),
            (urls(json!(["/a b"])), "nonResourceURLs[0]: Invalid value: \"/a b\": must not contain white-space"),
            (urls(json!(["//"])), "nonResourceURLs[0]: Invalid value: \"//\": must not contain double slash"),
        ],
    );
    let twice = json!({"status": {"conditions": [{"type": "Dangling"}, {"type": "Dangling"}, {"type": ""}]}});
    for plural in ["flowschemas", "prioritylevelconfigurations"] {
        for want in [
            "status.conditions[1].type: Duplicate value: \"Dangling\"",
            "status.conditions[2].type: Required value: must not be empty",
        ] {
            refuses(plural, Some("status"), &[(json!({}), twice.clone(), want)]);
        }
    }
}

#[test]
fn a_level_has_the_fields_of_its_type() {
    let spec = |more: Value| json!({"spec": more});
    let limited = |more: Value| spec(json!({"limited": more}));
    let response = |more: Value| limited(json!({"limitResponse": more}));
    let queuing = |more: Value| response(json!({"queuing": more}));
    breaks(
        "prioritylevelconfigurations",
        &[
            (
                spec(json!({"type": "Odd"})),
                "spec.type: Unsupported value: \"Odd\": supported values: \"Exempt\", \"Limited\"",
            ),
            (limited(json!(null)), "spec.limited: Required value: must not be empty when type is Limited"),
            (spec(json!({"exempt": {}})), "spec.exempt: Forbidden: must be nil if the type is Limited"),
            (spec(json!({"type": "Exempt"})), "spec.limited: Forbidden: must be nil if the type is not Limited"),
            (
                limited(json!({"nominalConcurrencyShares": -1})),
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            ),
            (
                limited(json!({"lendablePercent": 101})),
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ),
            (
                limited(json!({"borrowingLimitPercent": -1})),
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ),
            (
                response(json!({"type": "Reject"})),
                "limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
            ),
            (
                response(json!({"queuing": null})),
                "limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited",
            ),
            (
                response(json!({"type": "Odd"})),
                "limitResponse.type: Unsupported value: \"Odd\": supported values: \"Queue\", \"Reject\"",
            ),
            (queuing(json!({"queueLengthLimit": -1})), "queuing.queueLengthLimit: Invalid value: -1: must be positive"),
            (queuing(json!({"queues": -1})), "queuing.queues: Invalid value: -1: must be positive"),
            (
                queuing(json!({"queues": 10_000_001})),
                "queuing.queues: Invalid value: 10000001: must not be greater than 10000000",
            ),
            (queuing(json!({"handSize": -1})), "queuing.handSize: Invalid value: -1: must be positive"),
            (
                queuing(json!({"queues": 4, "handSize": 5})),
                "queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
            ),
        ],
    );
}
