//! `rk-control` alone on this host, as clients see it: a stock kubectl here, others in modules. No node is needed for any of this.

#[path = "api/chart.rs"]
mod chart;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/control.rs"]
mod control;
#[path = "api/kube_rs.rs"]
mod kube_rs;
#[path = "api/python.rs"]
mod python;

use control::{LIMIT, control};
use rk_tests::eventually;

#[test]
fn version_and_discovery_are_what_kubectl_expects() {
    let kubectl = control().kubectl.clone();
    let version = kubectl.ok(&["version"]);
    assert!(version.contains("Server Version: v1.36"), "{version}");
    let resources = kubectl.ok(&["api-resources", "-o", "name"]);
    for name in [
        "pods",
        "deployments.apps",
        "leases.coordination.k8s.io",
        "endpointslices.discovery.k8s.io",
        "events.events.k8s.io",
    ] {
        assert!(resources.lines().any(|l| l == name), "{name} is missing:\n{resources}");
    }
    for (name, field) in [("deployment.spec.strategy", "rollingUpdate"), ("pod.spec.containers", "image")] {
        let explained = kubectl.ok(&["explain", name]);
        assert!(explained.contains(field), "{explained}");
    }
}

#[test]
fn the_objects_that_every_cluster_has_are_there() {
    let kubectl = control().kubectl.clone();
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        eventually(namespace, LIMIT, || kubectl.try_path(&["namespace", namespace], "{.status.phase}"));
    }
    kubectl.ok(&["get", "service", "kubernetes"]);
    eventually("cluster-info", LIMIT, || {
        kubectl.try_path(&["configmap", "cluster-info", "-n", "kube-public"], "{.data.kubeconfig}")
    });
    for role in ["cluster-admin", "admin", "edit", "view", "system:node"] {
        kubectl.ok(&["get", "clusterrole", role]);
    }
    kubectl.ok(&["get", "all", "-A"]);
}

#[test]
fn objects_are_created_changed_in_every_way_and_deleted() {
    let kubectl = control().kubectl.new_namespace("changes");
    kubectl.ok(&["create", "configmap", "c", "--from-literal=a=1"]);
    kubectl.ok(&["patch", "configmap", "c", "--type=merge", "-p", r#"{"data":{"b":"2"}}"#]);
    kubectl.ok(&["patch", "configmap", "c", "--type=json", "-p", r#"[{"op":"replace","path":"/data/a","value":"9"}]"#]);
    assert_eq!(kubectl.path(&["configmap", "c"], "{.data.a}{.data.b}"), "92");
    kubectl.ok(&["label", "configmap", "c", "x=y"]);
    kubectl.ok(&["annotate", "configmap", "c", "note=hello"]);
    assert!(kubectl.ok(&["get", "configmap", "-l", "x=y", "-o", "name"]).contains("configmap/c"));
    assert!(!kubectl.ok(&["get", "configmap", "-l", "x!=y", "-o", "name"]).contains("configmap/c\n"));

    kubectl.ok(&["create", "deployment", "d", "--image=one", "--replicas=0"]);
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"two"}]}}}}"#;
    kubectl.ok(&["patch", "deployment", "d", "-p", strategic]);
    let images = kubectl.path(&["deployment", "d"], "{.spec.template.spec.containers[*].image}");
    assert_eq!(images.split_whitespace().count(), 2, "a strategic patch merges by name: {images}");
    kubectl.ok(&["scale", "deployment", "d", "--replicas=2"]);
    assert_eq!(kubectl.path(&["deployment", "d"], "{.spec.replicas}"), "2");
    eventually("pods of the deployment", LIMIT, || match kubectl.try_path(&["pods"], "{.items[*].metadata.name}")? {
        seen if seen.split_whitespace().count() == 2 => Ok(()),
        seen => Err(seen),
    });
    kubectl.ok(&["delete", "deployment", "d", "--cascade=foreground", "--wait=true", "--timeout=120s"]);
    assert_eq!(kubectl.path(&["replicasets"], "{.items[*].metadata.name}"), "");
    kubectl.ok(&["delete", "configmap", "c"]);
    assert!(kubectl.refused(&["get", "configmap", "c"]).contains("NotFound"));
}

#[test]
fn apply_keeps_what_others_own_and_server_side_apply_tells_conflicts() {
    let kubectl = control().kubectl.new_namespace("apply");
    let object =
        |value: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{mine: '{value}'}}\n");
    kubectl.apply(&object("1"));
    kubectl.ok(&["patch", "configmap", "c", "--type=merge", "-p", r#"{"data":{"theirs":"2"}}"#]);
    kubectl.apply(&object("3"));
    assert_eq!(kubectl.path(&["configmap", "c"], "{.data.mine}{.data.theirs}"), "32");

    let server = |manager: &str, value: &str| {
        let manager = format!("--field-manager={manager}");
        let text = object(value).replace("name: c", "name: s");
        kubectl.fed(&["apply", "--server-side", &manager, "-f", "-"], &text)
    };
    assert!(server("a", "1").success);
    let conflict = server("b", "2");
    assert!(!conflict.success && conflict.err.contains("conflict"), "{conflict:?}");
    assert!(kubectl.apply(&object("4")).contains("configured"));
    assert!(kubectl.apply(&object("4")).contains("unchanged"));
}

#[test]
fn wrong_fields_are_refused_by_their_path() {
    let kubectl = control().kubectl.new_namespace("wrong");
    let pod = |name: &str, image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: a, image: '{image}'}}]}}\n"
        )
    };
    let said = kubectl.apply_refused(&pod("UPPER", "x"));
    assert!(said.contains("metadata.name: Invalid value: \"UPPER\""), "{said}");
    let said = kubectl.apply_refused(&pod("p", ""));
    assert!(said.contains("spec.containers[0].image"), "{said}");
    let said = kubectl.apply_refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndatum: {}\n");
    assert!(said.contains("unknown field \"datum\""), "{said}");
    for version in ["v1", "none.example.com/v1"] {
        let said = kubectl.apply_refused(&format!("apiVersion: {version}\nkind: Nonsense\nmetadata: {{name: c}}\n"));
        assert!(said.contains("no matches for kind \"Nonsense\""), "{said}");
    }
    let said = kubectl.refused(&["get", "nonsense"]);
    assert!(said.contains("the server doesn't have a resource type \"nonsense\""), "{said}");
}

#[test]
fn a_watch_tells_changes_and_wait_sees_them() {
    let guard = control();
    let kubectl = guard.kubectl.new_namespace("watch");
    let watch = kubectl.start(&["get", "configmaps", "-w", "-o", "name"], &guard.dir.join("watch.log"));
    for name in ["one", "two"] {
        kubectl.ok(&["create", "configmap", name]);
        eventually("the watch", LIMIT, || if watch.said().contains(name) { Ok(()) } else { Err(watch.said()) });
    }
    kubectl.ok(&["patch", "configmap", "two", "-p", "{\"data\":{\"color\":\"green\"}}"]);
    let met = kubectl.ok(&["wait", "--for=jsonpath={.data.color}=green", "configmap/two", "--timeout=120s"]);
    assert!(met.contains("condition met"), "{met}");
    kubectl.ok(&["delete", "configmap", "one"]);
    kubectl.ok(&["wait", "--for=delete", "configmap/one", "--timeout=120s"]);
}

#[test]
fn long_lists_come_in_chunks() {
    let kubectl = control().kubectl.new_namespace("chunks");
    let many: Vec<String> =
        (0..25).map(|n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c-{n:02}}}\n")).collect();
    kubectl.apply(&many.join("---\n"));
    let chunked = kubectl.ok(&["get", "configmaps", "--chunk-size=7", "-o", "name"]);
    assert_eq!(chunked.lines().filter(|l| l.starts_with("configmap/c-")).count(), 25, "{chunked}");
}

#[test]
fn rights_are_asked_and_enforced() {
    let kubectl = control().kubectl.new_namespace("rights");
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "pods"]).trim(), "yes");
    kubectl.ok(&["create", "serviceaccount", "robot"]);
    kubectl.ok(&["create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=rights:robot"]);
    let robot = "--as=system:serviceaccount:rights:robot";
    eventually("the binding", LIMIT, || {
        let answer = kubectl.run(&["auth", "can-i", "list", "pods", robot]);
        if answer.out.trim() == "yes" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "pods", robot]).out.trim(), "no");
    let said = kubectl.refused(&["create", "configmap", "theirs", robot]);
    assert!(said.contains("Forbidden") || said.contains("forbidden"), "{said}");
    let token = kubectl.ok(&["create", "token", "robot"]);
    assert_eq!(token.trim().split('.').count(), 3);
}

#[test]
fn a_namespace_takes_its_objects_with_it() {
    let kubectl = control().kubectl.clone();
    let inside = kubectl.new_namespace("doomed");
    inside.ok(&["create", "configmap", "c"]);
    inside.ok(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    kubectl.ok(&["delete", "namespace", "doomed", "--wait=true", "--timeout=120s"]);
    assert!(kubectl.refused(&["get", "namespace", "doomed"]).contains("NotFound"));
    assert_eq!(kubectl.run(&["get", "configmaps", "-n", "doomed", "-o", "name"]).out, "");
}

#[test]
fn a_kill_loses_no_acknowledged_write() {
    let mut control = control();
    let kubectl = control.kubectl.new_namespace("kill");
    for n in 0..20 {
        kubectl.ok(&["create", "configmap", &format!("c-{n}")]);
    }
    control.process.as_mut().expect("running").kill();
    control.start();
    let names = kubectl.ok(&["get", "configmaps", "-o", "name"]);
    assert_eq!(names.lines().filter(|l| l.starts_with("configmap/c-")).count(), 20, "{names}");
}

#[test]
fn a_custom_kind_is_explained_applied_listed_scaled_and_removed() {
    let kubectl = control().kubectl.new_namespace("custom");
    let schema = "{type: object, properties: {spec: {type: object, required: [schedule], properties: {schedule: {type: string, \
                  description: When it runs., pattern: '^[0-9 */]+$'}, replicas: {type: integer, default: 1}}}, status: {type: \
                  object, properties: {replicas: {type: integer}}}}}";
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: crontabs.tests.example.com}}\nspec:\n  \
         group: tests.example.com\n  scope: Namespaced\n  names: {{plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}}\n  \
         versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {{openAPIV3Schema: {schema}}}\n    subresources: \
         {{status: {{}}, scale: {{specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}}}\n    \
         additionalPrinterColumns: [{{name: Schedule, type: string, jsonPath: .spec.schedule}}]\n"
    );
    kubectl.apply(&definition);
    kubectl.ok(&["wait", "--for=condition=established", "crd/crontabs.tests.example.com", "--timeout=120s"]);
    let object = |schedule: &str| {
        format!(
            "apiVersion: tests.example.com/v1\nkind: CronTab\nmetadata: {{name: mine}}\nspec: {{schedule: '{schedule}'}}\n"
        )
    };
    kubectl.apply(&object("* * * * */5"));
    assert!(kubectl.apply(&object("* * * * */5")).contains("unchanged"));
    assert!(kubectl.ok(&["get", "ct"]).contains("* * * * */5"), "printer columns are shown under the short name");
    assert!(kubectl.ok(&["explain", "crontab.spec.schedule"]).contains("When it runs."));
    let said = kubectl.apply_refused(&object("never"));
    assert!(said.contains("spec.schedule in body should match"), "{said}");
    let said = kubectl.apply_refused(&object("1").replace("spec: {", "spec: {extra: 1, "));
    assert!(said.contains("unknown field \"spec.extra\""), "{said}");
    kubectl.ok(&["scale", "crontab/mine", "--replicas=4"]);
    assert_eq!(kubectl.path(&["crontab", "mine"], "{.spec.replicas}"), "4");
    kubectl.ok(&["delete", "crd", "crontabs.tests.example.com", "--timeout=120s"]);
    eventually("its paths to go", LIMIT, || {
        let answer = kubectl.run(&["get", "--raw", "/apis/tests.example.com/v1"]);
        if answer.success { Err(answer.out) } else { Ok(()) }
    });
}
