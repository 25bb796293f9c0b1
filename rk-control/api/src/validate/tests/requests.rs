//! Rules of requests for certificates, of budgets and of classes of pods, one broken at a time.

use serde_json::{Value, json};

use super::apps::refuses;
use super::breaks;

#[test]
fn a_request_for_a_certificate_says_what_for_and_by_whom() {
    let spec = |more: Value| json!({"spec": more});
    let usages = |usages: Value| spec(json!({"usages": usages}));
    let signer = |name: &str| spec(json!({"signerName": name}));
    let long = format!("example.com/{}", "a".repeat(600));
    breaks(
        "certificatesigningrequests",
        &[
            (usages(json!([])), "spec.usages: Required value"),
            (
                usages(json!(["bless"])),
                "spec.usages[0]: Unsupported value: \"bless\": supported values: \"any\", \"cert sign\"",
            ),
            (usages(json!(["client auth", "client auth"])), "spec.usages[1]: Duplicate value: \"client auth\""),
            (usages(json!(["bless", "bless"])), "spec.usages[1]: Duplicate value: \"bless\""),
            (
                spec(json!({"request": "QQ=="})),
                "spec.request: Invalid value: \"QQ==\": PEM block type must be CERTIFICATE REQUEST",
            ),
            (signer(""), "spec.signerName: Required value"),
            (
                signer("kubernetes.io/legacy-unknown"),
                "\"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            ),
            (signer("a"), "\"a\": must be a fully qualified domain and path of the form 'example.com/signer-name'"),
            (signer("a/b"), "\"a\": should be a domain with at least two segments separated by dots"),
            (signer("example.com/B"), "Invalid value: \"B\": validating label \"B\": a lowercase RFC 1123 subdomain"),
            (signer(&long), "spec.signerName: Too long: may not be more than 571 bytes"),
            (
                spec(json!({"expirationSeconds": 599})),
                "Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ),
        ],
    );
}

#[test]
fn a_request_for_a_certificate_is_decided_once() {
    let conditions = |conditions: Value| json!({"status": {"conditions": conditions}});
    let approved = json!({"type": "Approved", "status": "True"});
    let denied = json!({"type": "Denied", "status": "True"});
    let at = "status.conditions";
    for (given, want) in [
        (json!([{"status": "True"}]), "[0].type: Required value"),
        (json!([{"type": "Approved"}]), "[0].status: Required value"),
        (
            json!([{"type": "Approved", "status": "False"}]),
            "[0].status: Unsupported value: \"False\": supported values: \"True\"",
        ),
        (
            json!([{"type": "Odd", "status": "Odd"}]),
            "[0].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \"Unknown\"",
        ),
        (json!([approved, approved]), "[1].type: Duplicate value: \"Approved\""),
        (
            json!([approved, denied]),
            ": Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
        ),
    ] {
        let want = format!("{at}{want}");
        let case = (json!({}), conditions(given), want.as_str());
        refuses("certificatesigningrequests", Some("approval"), &[case]);
    }
    let undone = (
        conditions(json!([approved])),
        conditions(json!([])),
        "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
    );
    refuses("certificatesigningrequests", Some("approval"), &[undone]);
    let certificate = |text: &str| json!({"status": {"certificate": text}});
    let want = "status.certificate: Forbidden: updates may not modify existing certificate content";
    refuses("certificatesigningrequests", Some("status"), &[(certificate("QQ=="), certificate("Qg=="), want)]);
}

#[test]
fn runtime_and_priority_classes_keep_what_pods_have_of_them() {
    let scheduling = |more: Value| json!({"scheduling": more});
    let borne =
        |seconds: i64| json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    breaks(
        "runtimeclasses",
        &[
            (json!({"handler": ""}), "handler: Required value"),
            (json!({"handler": "H"}), "handler: Invalid value: \"H\": a lowercase RFC 1123 label"),
            (
                scheduling(json!({"nodeSelector": {"a": "b c"}})),
                "scheduling.nodeSelector: Invalid value: \"b c\": a valid label must be",
            ),
            // How long it is borne does not make it another one.
            (scheduling(json!({"tolerations": [borne(1), borne(2)]})), "scheduling.tolerations[1]: Duplicate value: {"),
        ],
    );
    let want = "handler: Invalid value: \"other\": field is immutable";
    refuses("runtimeclasses", None, &[(json!({}), json!({"handler": "other"}), want)]);
    breaks(
        "priorityclasses",
        &[(
            json!({"metadata": {"name": "system-odd"}}),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: \
             system-odd is not a known system priority class",
        )],
    );
    let want = "preemptionPolicy: Invalid value: \"Never\": field is immutable";
    refuses("priorityclasses", None, &[(json!({}), json!({"preemptionPolicy": "Never"}), want)]);
}

#[test]
fn a_disruption_budget_is_a_number_or_a_part_of_all() {
    let spec = |more: Value| json!({"spec": more});
    let percent = "a valid percent string must be a numeric string followed by an ending '%'";
    let text = format!("spec.minAvailable: Invalid value: \"50\": {percent}");
    breaks(
        "poddisruptionbudgets",
        &[
            (spec(json!({"minAvailable": "50"})), text.as_str()),
            (
                spec(json!({"minAvailable": -1})),
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                spec(json!({"minAvailable": null, "maxUnavailable": "101%"})),
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                spec(json!({"unhealthyPodEvictionPolicy": "Odd"})),
                "Unsupported value: \"Odd\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ),
            (
                spec(json!({"selector": {"matchLabels": {"app": "b c"}}})),
                "spec.selector.matchLabels: Invalid value: \"b c\"",
            ),
        ],
    );
    for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        let want = format!("status.{key}: Invalid value: -1: must be greater than or equal to 0");
        let case = (json!({}), json!({"status": {key: -1}}), want.as_str());
        refuses("poddisruptionbudgets", Some("status"), &[case]);
    }
}
