//! Rules of webhooks and of admission policies, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::extensions::merged;
use super::others::lets_in;
use super::{breaks, sample};

#[test]
fn webhooks_are_found_and_asked_in_known_ways() {
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let hook = |more: Value| json!({"webhooks": [merged(&sample(plural)["webhooks"][0], &more)]});
        let client = |config: Value| hook(json!({"clientConfig": config}));
        let url = |url: &str| client(json!({"service": null, "url": url}));
        let rule = |more: Value| {
            let own = merged(&sample(plural)["webhooks"][0]["rules"][0], &more);
            hook(json!({"rules": [own]}))
        };
        let ordinary = sample(plural);
        let own = &ordinary["webhooks"][0];
        breaks(
            plural,
            &[
                (hook(json!({"name": ""})), "webhooks[0].name: Required value"),
                (
                    hook(json!({"name": "a.b"})),
                    "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
                ),
                (json!({"webhooks": [own, own]}), "webhooks[1].name: Duplicate value: \"a.b.c\""),
                (
                    hook(json!({"timeoutSeconds": 31})),
                    "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                ),
                (hook(json!({"timeoutSeconds": 0})), "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value"),
                (hook(json!({"matchPolicy": "Near"})), "webhooks[0].matchPolicy: Unsupported value: \"Near\""),
                (
                    hook(json!({"admissionReviewVersions": []})),
                    "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
                ),
                (
                    hook(json!({"admissionReviewVersions": ["v2"]})),
                    "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
                ),
                (
                    hook(json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}})),
                    "webhooks[0].objectSelector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
                ),
                (
                    client(json!({"service": null})),
                    "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                ),
                (
                    client(json!({"url": "https://a"})),
                    "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                ),
                (client(json!({"service": {"name": ""}})), "webhooks[0].clientConfig.service.name: Required value"),
                (
                    client(json!({"service": {"namespace": ""}})),
                    "webhooks[0].clientConfig.service.namespace: Required value",
                ),
                (
                    client(json!({"service": {"port": 65536}})),
                    "clientConfig.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive",
                ),
                (url("https://u@a/"), "Invalid value: \"u\": user information is not permitted in the URL"),
                (url("https://a/#f"), "Invalid value: \"f\": fragments are not permitted in the URL"),
                (
                    hook(json!({"matchConditions": [{"name": "a b", "expression": "true"}]})),
                    "webhooks[0].matchConditions[0].name: Invalid value: \"a b\"",
                ),
                (
                    hook(json!({"matchConditions": [{"name": "a", "expression": " "}]})),
                    "webhooks[0].matchConditions[0].expression: Required value",
                ),
                (
                    hook(json!({"matchConditions": [{"expression": "true"}]})),
                    "webhooks[0].matchConditions[0].name: Required value",
                ),
                (rule(json!({"operations": []})), "webhooks[0].rules[0].operations: Required value"),
                (
                    rule(json!({"operations": ["*", "CREATE"]})),
                    "operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
                ),
                (
                    rule(json!({"operations": ["PATCH"]})),
                    "rules[0].operations[0]: Unsupported value: \"PATCH\": supported values: \"*\", \"CONNECT\", \"CREATE\"",
                ),
                (rule(json!({"apiGroups": ["*", "a"]})), "if '*' is present, must not specify other API groups"),
                (rule(json!({"apiVersions": ["*", "v1"]})), "if '*' is present, must not specify other API versions"),
                (rule(json!({"apiVersions": [""]})), "webhooks[0].rules[0].apiVersions[0]: Required value"),
                (rule(json!({"resources": [""]})), "webhooks[0].rules[0].resources[0]: Required value"),
                (rule(json!({"resources": ["*/log", "pods/log"]})), "if '*/log' is present, must not specify pods/log"),
                (
                    rule(json!({"scope": "Some"})),
                    "rules[0].scope: Unsupported value: \"Some\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
                ),
            ],
        );
    }
    let mutating = sample("mutatingwebhookconfigurations");
    let again = merged(&mutating["webhooks"][0], &json!({"reinvocationPolicy": "Ever"}));
    let again = json!({"webhooks": [again]});
    breaks("mutatingwebhookconfigurations", &[(again, "webhooks[0].reinvocationPolicy: Unsupported value: \"Ever\"")]);
}

#[test]
fn policies_match_something_and_say_what_is_wrong() {
    let spec = |more: Value| json!({"spec": more});
    let validation = |more: Value| {
        let one = merged(&json!({"expression": "true"}), &more);
        spec(json!({"validations": [one]}))
    };
    let annotations = |annotations: Vec<Value>| spec(json!({"auditAnnotations": annotations}));
    let note = |key: &str| json!({"key": key, "valueExpression": "'v'"});
    let nameless = merged(&annotations(vec![note("k")]), &json!({"metadata": {"name": ""}}));
    breaks(
        "validatingadmissionpolicies",
        &[
            (spec(json!({"matchConstraints": null})), "spec.matchConstraints: Required value"),
            (
                spec(json!({"matchConstraints": {"resourceRules": []}})),
                "spec.matchConstraints.resourceRules: Required value",
            ),
            (spec(json!({"paramKind": {"apiVersion": "", "kind": "K"}})), "spec.paramKind.apiVersion: Required value"),
            (
                spec(json!({"paramKind": {"apiVersion": "a/", "kind": "K"}})),
                "spec.paramKind.apiVersion: Invalid value: \"a/\": version must be specified",
            ),
            (
                spec(json!({"paramKind": {"apiVersion": "a/v1", "kind": "K_"}})),
                "spec.paramKind.kind: Invalid value: \"K_\": may have mixed case, but should otherwise match: a DNS-1035 label",
            ),
            (
                spec(json!({"variables": [{"name": " ", "expression": "1"}]})),
                "spec.variables[0].name: Required value: name is not specified",
            ),
            (
                spec(json!({"variables": [{"name": "a", "expression": " "}]})),
                "spec.variables[0].expression: Required value: expression is not specified",
            ),
            (
                validation(json!({"expression": " "})),
                "spec.validations[0].expression: Required value: expression is not specified",
            ),
            (
                validation(json!({"message": " "})),
                "spec.validations[0].message: Invalid value: \" \": message must be non-empty if specified",
            ),
            (
                validation(json!({"messageExpression": " "})),
                "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            ),
            (
                validation(json!({"reason": "Odd"})),
                "reason: Unsupported value: \"Odd\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ),
            (
                annotations((0..21).map(|n| note(&format!("k{n}"))).collect()),
                "must not have more than 20 auditAnnotations",
            ),
            (annotations(vec![note("k"), note("k")]), "spec.auditAnnotations[1].key: Duplicate value: \"k\""),
            (annotations(vec![note("a b")]), "spec.auditAnnotations[0].key: Invalid value: \"a/a b\": name part must"),
            (
                annotations(vec![json!({"key": "k", "valueExpression": " "})]),
                "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
            ),
            (
                annotations(vec![json!({"key": "k", "valueExpression": "'".repeat(5 * 1024 + 1)})]),
                "spec.auditAnnotations[0].valueExpression: Required value: must not exceed 5120 bytes in length",
            ),
            (nameless, "spec.auditAnnotations[0].key: Invalid value: \"k\": requires metadata.name be non-empty"),
        ],
    );
    let warned = |warning: Value| json!({"status": {"typeChecking": {"expressionWarnings": [warning]}}});
    let at = "status.typeChecking.expressionWarnings[0]";
    for (warning, key) in
        [(json!({"warning": "w", "fieldRef": " "}), "fieldRef"), (json!({"fieldRef": "spec"}), "warning")]
    {
        let want = format!("{at}.{key}: Required value");
        refuses("validatingadmissionpolicies", Some("status"), &[(json!({}), warned(warning), want.as_str())]);
    }
    let mutation = |mutation: Value| spec(json!({"mutations": [mutation]}));
    let rules = json!([{"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    breaks(
        "mutatingadmissionpolicies",
        &[
            (
                spec(json!({"mutations": null})),
                "spec.mutations: Required value: mutations must contain at least one item",
            ),
            (mutation(json!({"patchType": "Odd"})), "spec.mutations[0].patchType: Unsupported value: \"Odd\""),
            (
                mutation(json!({"patchType": "ApplyConfiguration"})),
                "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
            ),
            (
                mutation(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": " "}})),
                "spec.mutations[0].jsonPatch.expression: Required value",
            ),
            (spec(json!({"reinvocationPolicy": "Ever"})), "spec.reinvocationPolicy: Unsupported value: \"Ever\""),
            (
                spec(json!({"matchConstraints": {"resourceRules": rules}})),
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\"",
            ),
        ],
    );
}

#[test]
fn bindings_name_their_policy_and_one_kind_of_parameters() {
    let spec = |more: Value| json!({"spec": more});
    let params = |params: Value| {
        let params = merged(&json!({"parameterNotFoundAction": "Deny"}), &params);
        spec(json!({"paramRef": params}))
    };
    for plural in ["validatingadmissionpolicybindings", "mutatingadmissionpolicybindings"] {
        breaks(
            plural,
            &[
                (spec(json!({"policyName": ""})), "spec.policyName: Required value"),
                (
                    spec(json!({"policyName": "P"})),
                    "spec.policyName: Invalid value: \"P\": a lowercase RFC 1123 subdomain",
                ),
                (params(json!({})), "spec.paramRef: Required value: one of name or selector must be specified"),
                (
                    params(json!({"name": "n", "selector": {}})),
                    "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                ),
                (
                    params(json!({"name": "n", "selector": {}})),
                    "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                ),
                (params(json!({"name": "a/b"})), "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'"),
            ],
        );
        lets_in(plural, &params(json!({"selector": {}})));
    }
    let actions = |actions: Value| spec(json!({"validationActions": actions}));
    breaks(
        "validatingadmissionpolicybindings",
        &[
            (
                actions(json!(["Deny", "Warn"])),
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same \
                 validation failure information in the API response and headers serves no purpose)",
            ),
            (actions(json!([])), "spec.validationActions: Required value: at least one validation action is required"),
            (
                actions(json!(["Odd"])),
                "spec.validationActions[0]: Unsupported value: \"Odd\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            ),
        ],
    );
}
