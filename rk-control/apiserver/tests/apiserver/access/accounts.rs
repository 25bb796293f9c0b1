//! What service accounts with roles may do, where `system:masters` would not be asked.

use rk_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Client, Cluster, MAPS, PODS, RBAC, config_map, pod};

const MERGE: &str = "application/merge-patch+json";

/// A service account in the namespace `default` with a cluster role of these rules.
async fn account(cluster: &Cluster, name: &str, rules: Value) -> Client {
    cluster.admin().grant(name, subject(name), rules).await;
    cluster.client(User::service_account("default", name, "u"))
}

/// A service account of the namespace `default`, as bindings refer to it.
fn subject(account: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": account, "namespace": "default"})
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn role(kind: &str, name: &str, rules: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules})
}

#[tokio::test]
async fn who_lacks_a_permission_is_told_which_in_upstream_s_words() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule("rbac.authorization.k8s.io", &["roles", "clusterroles"], &["create", "update", "patch"]),
        rule("", &["pods"], &["get"])
    ]);
    let operator = account(&cluster, "operator", rules).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let more = json!([rule("", &["pods"], &["get", "list", "watch"]), rule("apps", &["deployments"], &["*"])]);
    let (code, message) = operator.create(&roles, &role("Role", "r", more.clone())).await.failure();
    let words = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"system:serviceaccount:default:operator\" \
                 (groups=[\"system:serviceaccounts\" \"system:serviceaccounts:default\" \"system:authenticated\"]) is attempting to \
                 grant RBAC permissions not currently held:\n\
                 {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}\n\
                 {APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"*\"]}";
    assert_eq!((code, message.as_str()), (403, words));
    operator.create(&roles, &role("Role", "own", json!([rule("", &["pods"], &["get"])]))).await.ok();

    // Any change of a role of others is theirs, but for what the garbage collector writes.
    cluster.admin().create(&roles, &role("Role", "theirs", more)).await.ok();
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(operator.patch(&format!("{roles}/theirs"), MERGE, &label).await.failure().0, 403);
    let finalizer = json!({"metadata": {"finalizers": ["example.com/f"]}});
    operator.patch(&format!("{roles}/theirs"), MERGE, &finalizer).await.ok();
    operator.patch(&format!("{roles}/own"), MERGE, &label).await.ok();

    let mut sum = role("ClusterRole", "sum", json!([]));
    sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let (code, message) = operator.create(&format!("{RBAC}/clusterroles"), &sum).await.failure();
    let words = "clusterroles.rbac.authorization.k8s.io \"sum\" is forbidden: must have cluster-admin privileges to use the aggregationRule";
    assert_eq!((code, message.as_str()), (403, words));
    let all = json!([rule("*", &["*"], &["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
    let suite = account(&cluster, "suite", all).await;
    suite.create(&format!("{RBAC}/clusterroles"), &sum).await.ok();
}

#[tokio::test]
async fn a_right_to_escalate_one_role_makes_no_role_of_its_name() {
    let cluster = Cluster::start().await;
    let group = "rbac.authorization.k8s.io";
    let mut escalates = rule(group, &["roles"], &["escalate"]);
    escalates["resourceNames"] = json!(["mine"]);
    let rules = json!([rule(group, &["roles"], &["create", "update", "patch"]), escalates]);
    let operator = account(&cluster, "operator", rules).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let more = role("Role", "mine", json!([rule("", &["pods"], &["get"])]));
    let (code, message) = operator.create(&roles, &more).await.failure();
    assert!(code == 403 && message.contains("RBAC permissions not currently held"), "{message}");
    operator.create(&roles, &role("Role", "mine", json!([]))).await.ok();
    operator.patch(&format!("{roles}/mine"), MERGE, &json!({"rules": more["rules"]})).await.ok();
}

#[tokio::test]
async fn a_role_with_paths_that_is_held_in_a_namespace_is_bound_on_in_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let rules = json!([rule("", &["pods"], &["get"]), {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]);
    admin.create(&format!("{RBAC}/clusterroles"), &role("ClusterRole", "mixed", rules)).await.ok();
    let binding = |name: &str, subject: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mixed"},
            "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": "default"}]})
    };
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let operator =
        account(&cluster, "operator", json!([rule("rbac.authorization.k8s.io", &["rolebindings"], &["create"])])).await;
    assert_eq!(operator.create(&bindings, &binding("early", "other")).await.failure().0, 403);
    admin.create(&bindings, &binding("own", "operator")).await.ok();
    operator.create(&bindings, &binding("on", "other")).await.ok();
    assert_eq!(operator.get("/metrics").await.code, 403, "a path is no part of a namespace");
}

#[tokio::test]
async fn a_refusal_tells_of_roles_that_are_bound_and_not_there() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let binding = |kind: &str, of: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": of},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": "gone"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]})
    };
    let robot = cluster.client(User::service_account("default", "robot", "u"));
    let words = "pods is forbidden: User \"system:serviceaccount:default:robot\" cannot list resource \"pods\" in API group \"\" \
                 in the namespace \"default\"";
    assert_eq!(robot.get(PODS).await.failure(), (403, words.to_owned()));
    admin.create(&format!("{RBAC}/clusterrolebindings"), &binding("ClusterRoleBinding", "ClusterRole")).await.ok();
    let cluster_role = "clusterrole.rbac.authorization.k8s.io \"gone\" not found";
    assert_eq!(robot.get(PODS).await.failure(), (403, format!("{words}: RBAC: {cluster_role}")));
    let (code, message) = robot.get("/metrics").await.failure();
    assert!(
        code == 403 && message.ends_with(&format!("cannot get path \"/metrics\": RBAC: {cluster_role}")),
        "{message}"
    );
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    admin.create(&bindings, &binding("RoleBinding", "Role")).await.ok();
    let both = format!("{words}: RBAC: [{cluster_role}, role.rbac.authorization.k8s.io \"gone\" not found]");
    assert_eq!(robot.get(PODS).await.failure(), (403, both));
}

#[tokio::test]
async fn a_mode_of_impersonation_bounds_what_it_is_for() {
    let cluster = Cluster::start().await;
    let group = "authentication.k8s.io";
    let agent = account(
        &cluster,
        "agent",
        json!([
            rule("", &["pods"], &["impersonate-on:arbitrary-node:get", "impersonate-on:user-info:list"]),
            rule(group, &["nodes"], &["impersonate:arbitrary-node"]),
            rule(group, &["users"], &["impersonate:user-info"]),
        ]),
    )
    .await;
    let mut own = pod("p");
    own["spec"]["nodeName"] = json!("n1");
    cluster.admin().create(PODS, &own).await.ok();
    let path = format!("{PODS}/p");
    let node = agent.clone().with("impersonate-user", "system:node:n1");
    node.get(&path).await.ok();
    assert_eq!(agent.clone().with("impersonate-user", "system:node:n2").get(&path).await.failure().0, 403);
    let (code, message) = node.delete(&path).await.failure();
    let words = "pods \"p\" is forbidden: User \"system:serviceaccount:default:agent\" cannot impersonate-on:arbitrary-node:delete resource \
                 \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, message.as_str()), (403, words));
    // Who is wanted is judged by the right that the mode has of them.
    let (code, message) =
        agent.clone().with("impersonate-user", "jane").with("impersonate-group", "dev").get(PODS).await.failure();
    assert!(code == 403 && message.starts_with("groups.authentication.k8s.io \"dev\" is forbidden"), "{message}");
    let (code, message) = agent.clone().with("impersonate-user", "jane").get(PODS).await.failure();
    assert!(code == 403 && message.contains("User \"jane\" cannot list"), "{message}");
    let nobody = agent.with("impersonate-group", "dev").get(PODS).await.failure();
    assert!(nobody.0 == 400 && nobody.1.ends_with("without impersonating a user name"), "{nobody:?}");

    let admin = cluster.admin().with("impersonate-user", "system:node:n1");
    let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = admin.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &who).await.ok();
    assert_eq!(answer["status"]["userInfo"]["groups"], json!(["system:nodes", "system:authenticated"]));
}

#[tokio::test]
async fn a_right_to_one_object_lists_and_watches_that_one() {
    let cluster = Cluster::start().await;
    let mut one = rule("", &["configmaps"], &["list", "watch", "deletecollection"]);
    one["resourceNames"] = json!(["own"]);
    let reader = account(&cluster, "reader", json!([one])).await;
    for name in ["own", "other"] {
        cluster.admin().create(MAPS, &config_map(name, json!({}))).await.ok();
    }
    for selector in ["metadata.name%3Down", "metadata.namespace%3Ddefault,metadata.name%3Down"] {
        let list = reader.get(&format!("{MAPS}?fieldSelector={selector}")).await.ok();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{selector}");
        let mut watch = reader.watch(&format!("{MAPS}?watch=true&fieldSelector={selector}")).await;
        assert_eq!(watch.next().await.unwrap_or_default()["object"]["metadata"]["name"], "own");
    }
    for place in ["", "?fieldSelector=metadata.name%3Dother", "?fieldSelector=metadata.name!%3Down"] {
        assert_eq!(reader.get(&format!("{MAPS}{place}")).await.failure().0, 403, "{place}");
    }
    // To delete a collection is no matter of one name.
    assert_eq!(reader.delete(&format!("{MAPS}?fieldSelector=metadata.name%3Down")).await.failure().0, 403);
}

#[tokio::test]
async fn a_review_takes_selectors_into_account() {
    let cluster = Cluster::start().await;
    let asking =
        account(&cluster, "asking", json!([rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"])]))
            .await;
    let ask = async |selector: Value| {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": "system:node:n1", "groups": ["system:nodes"],
            "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector}}});
        asking.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await
    };
    let own = json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]});
    assert_eq!(ask(own).await.ok()["status"], json!({"allowed": true}));
    assert_eq!(ask(json!({"rawSelector": "spec.nodeName=n1"})).await.ok()["status"]["allowed"], true);
    assert_ne!(ask(json!({"rawSelector": "spec.nodeName=n2"})).await.ok()["status"]["allowed"], true);
    let told = ask(json!({"rawSelector": "foo"})).await.ok()["status"].clone();
    assert_eq!(told["evaluationError"], "spec.resourceAttributes.fieldSelector ignored due to parse error");
    assert_ne!(told["allowed"], true);
    assert_eq!(ask(json!({})).await.failure().0, 422);
}

#[tokio::test]
async fn policies_read_what_their_authors_may_read() {
    let cluster = Cluster::start().await;
    let writes = rule(
        "admissionregistration.k8s.io",
        &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        &["create", "update", "patch"],
    );
    let author = account(&cluster, "author", json!([writes])).await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = |name: &str| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "true"}],
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}}})
    };
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Audit"],
            "paramRef": {"name": "c", "namespace": "default", "parameterNotFoundAction": "Allow"}}});
    let (policies, bindings) =
        (format!("{group}/validatingadmissionpolicies"), format!("{group}/validatingadmissionpolicybindings"));
    let (code, message) = author.create(&policies, &policy("p")).await.failure();
    let end = "must have \"get\" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)";
    assert!(
        code == 422 && message.contains("spec.paramKind: Forbidden: user &{") && message.ends_with(end),
        "{message}"
    );
    cluster.admin().create(&policies, &policy("p")).await.ok();
    let (code, message) = author.create(&bindings, &binding).await.failure();
    let end = "does not have \"get\" permission on the object referenced by paramRef";
    assert!(
        code == 422 && message.contains("spec.paramRef: Forbidden: user &{") && message.ends_with(end),
        "{message}"
    );
    // Where parameters stay what they were, nobody is asked.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    author.patch(&format!("{policies}/p"), MERGE, &label).await.ok();

    let reader = json!([rule("", &["configmaps"], &["get"])]);
    cluster.admin().grant("author-reads", subject("author"), reader).await;
    author.create(&bindings, &binding).await.ok();
    author.create(&policies, &policy("q")).await.ok();
}
