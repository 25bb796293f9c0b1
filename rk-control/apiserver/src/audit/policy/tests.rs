//! Which rule decides, as a table, and which policies are refused.

use http::Method;

use super::{Level, Policy, Stage};
use crate::authn::User;
use crate::http::{Query, RequestInfo};

fn policy(rest: &str) -> Result<Policy, String> {
    Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}")).map_err(|error| error.to_string())
}

fn info(method: Method, target: &str) -> RequestInfo {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    RequestInfo::parse(&method, path, &Query::parse(query))
}

/// Whether a rule with these fields matches a request of `jane`, who is of `devs`.
fn matches(rule: &str, method: Method, target: &str) -> bool {
    let policy = policy(&format!("rules: [{{level: Metadata, {rule}}}]")).unwrap();
    let jane = User::new("jane", ["devs".to_owned()]);
    policy.decide(Some(&jane), &info(method, target)).level == Level::Metadata
}

#[test]
fn a_rule_matches_where_all_of_its_fields_do() {
    let pod = "/api/v1/namespaces/default/pods/web";
    let log = "/api/v1/namespaces/default/pods/web/log";
    let scale = "/apis/apps/v1/namespaces/default/deployments/web/scale";
    let core = |resources: &str| format!("resources: [{{group: \"\", resources: [{resources}]}}]");
    for (rule, target, wanted) in [
        (String::new(), pod, true),
        ("users: [jane]".to_owned(), pod, true),
        ("users: [joe]".to_owned(), pod, false),
        ("userGroups: [ops, devs]".to_owned(), pod, true),
        ("userGroups: [ops]".to_owned(), pod, false),
        ("users: [jane], userGroups: [ops]".to_owned(), pod, false),
        ("verbs: [list, get]".to_owned(), pod, true),
        ("verbs: [create]".to_owned(), pod, false),
        ("namespaces: [default]".to_owned(), pod, true),
        ("namespaces: [other]".to_owned(), pod, false),
        ("namespaces: [\"\"]".to_owned(), "/api/v1/nodes/n", true),
        ("namespaces: [\"\"]".to_owned(), pod, false),
        ("namespaces: [default]".to_owned(), "/healthz", false),
        (core("pods"), pod, true),
        (core("pods"), log, false),
        (core("pods/log"), log, true),
        (core("pods/log"), pod, false),
        (core("pods/*"), log, true),
        (core("pods/*"), pod, true),
        (core("\"*/log\""), log, true),
        (core("\"*/log\""), pod, false),
        (core("\"*\""), log, true),
        (core("\"*\""), scale, false),
        ("resources: [{group: apps, resources: [\"*/scale\"]}]".to_owned(), scale, true),
        ("resources: [{group: apps}]".to_owned(), scale, true),
        ("resources: [{group: apps}]".to_owned(), pod, false),
        ("resources: [{group: \"\", resources: [pods], resourceNames: [web]}]".to_owned(), pod, true),
        ("resources: [{group: \"\", resources: [pods], resourceNames: [api]}]".to_owned(), pod, false),
        ("nonResourceURLs: [\"/healthz*\"]".to_owned(), "/healthz/etcd", true),
        ("nonResourceURLs: [\"/healthz\"]".to_owned(), "/healthz/etcd", false),
        ("nonResourceURLs: [\"*\"]".to_owned(), "/version", true),
        ("nonResourceURLs: [\"*\"]".to_owned(), pod, false),
    ] {
        assert_eq!(matches(&rule, Method::GET, target), wanted, "{rule} {target}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_none_is_silence() {
    let policy = policy(
        "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n\
         - {level: None, verbs: [watch]}\n\
         - {level: Metadata, resources: [{group: \"\", resources: [secrets]}], omitManagedFields: false}\n\
         - {level: RequestResponse, resources: [{group: \"\"}], omitStages: [Panic]}\n",
    )
    .unwrap();
    let of = |target: &str| policy.decide(None, &info(Method::GET, target));
    assert_eq!(of("/api/v1/secrets?watch=true").level, Level::None);
    let secrets = of("/api/v1/secrets");
    assert_eq!((secrets.level, secrets.omit_managed), (Level::Metadata, false));
    let pods = of("/api/v1/pods");
    assert_eq!((pods.level, pods.omit_managed), (Level::RequestResponse, true));
    let omitted = Stage::ALL.map(|stage| pods.omit.contains(stage));
    assert_eq!(omitted, [true, false, false, true], "those of the policy and those of the rule");
    assert_eq!(of("/version").level, Level::None);
}

#[test]
fn users_without_valid_credentials_match_rules_for_everybody_alone() {
    let of = |rule: &str| {
        policy(&format!("rules: [{{level: Metadata{rule}}}]")).unwrap().decide(None, &info(Method::GET, "/api")).level
    };
    assert_eq!(of(""), Level::Metadata);
    assert_eq!([of(", users: [jane]"), of(", userGroups: [devs]")], [Level::None; 2]);
}

#[test]
fn wrong_policies_are_refused_in_upstreams_words() {
    for (rest, wanted) in [
        ("rules: []", "loaded illegal policy with 0 rules"),
        ("rules: [{}]", "rules[0].level: Required value"),
        (
            "rules: [{level: All}]",
            "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
        ),
        (
            "rules: [{level: None, omitStages: [Late]}]",
            "rules[0].omitStages[0]: Invalid value: \"Late\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
        ),
        (
            "rules: [{level: None, nonResourceURLs: [healthz]}]",
            "rules[0].nonResourceURLs[0]: Invalid value: \"healthz\": non-resource URL rules must begin with a '/' character",
        ),
        (
            "rules: [{level: None, nonResourceURLs: [\"/a*b\"]}]",
            "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
        ),
        (
            "rules: [{level: None, nonResourceURLs: [\"/a\"], namespaces: [b]}]",
            "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs",
        ),
        (
            "rules: [{level: None, resources: [{group: \"\", resourceNames: [b]}]}]",
            "rules[0].resources.resourceNames: Invalid value: [\"b\"]: using resourceNames requires at least one resource",
        ),
        ("rules: [{level: None}, {level: A}, {level: \"\"}]", "[rules[1].level: Unsupported value"),
    ] {
        let why = policy(rest).unwrap_err();
        assert!(why.starts_with(wanted), "{rest}: {why}");
    }
    assert!(
        policy("rules: [{level: None, resources: [{group: rbac/v1}]}]")
            .unwrap_err()
            .contains("resources.group: Invalid")
    );
    assert!(policy("rules: [{level: None, user: [a]}]").unwrap_err().starts_with("failed decoding: "));
    let other = Policy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]").unwrap_err();
    assert_eq!(other.to_string(), "unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy file");
}

#[test]
fn the_standard_policy_tells_who_does_what_and_no_bodies() {
    let policy = Policy::standard().unwrap();
    let jane = User::new("jane", []);
    let node = User::new("system:node:n1", ["system:nodes".to_owned()]);
    let manager = User::component("system:kube-controller-manager");
    let secret = "/api/v1/namespaces/a/secrets/s";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    for (user, method, target, wanted) in [
        (&jane, Method::GET, "/api/v1/pods", Level::Metadata),
        (&jane, Method::POST, "/api/v1/namespaces/a/pods", Level::Metadata),
        (&jane, Method::GET, "/api", Level::Metadata),
        (&jane, Method::GET, "/readyz?verbose", Level::None),
        (&jane, Method::PUT, lease, Level::Metadata),
        (&node, Method::PUT, lease, Level::None),
        (&node, Method::PATCH, "/api/v1/nodes/n1/status", Level::None),
        (&node, Method::GET, "/api/v1/pods?watch=1", Level::None),
        (&node, Method::PATCH, "/api/v1/namespaces/a/pods/p/status", Level::Metadata),
        (&node, Method::GET, secret, Level::Metadata),
        (&manager, Method::GET, "/api/v1/pods", Level::None),
        (&manager, Method::GET, secret, Level::Metadata),
        (&manager, Method::DELETE, "/api/v1/namespaces/a/pods/p", Level::Metadata),
        (&jane, Method::POST, "/api/v1/namespaces/a/events", Level::None),
    ] {
        let decision = policy.decide(Some(user), &info(method, target));
        assert_eq!(decision.level, wanted, "{} {target}", user.name);
        assert!(decision.omit.contains(Stage::RequestReceived));
    }
    assert!(policy.rules.iter().all(|rule| rule.decision.level <= Level::Metadata), "no bodies");
}
