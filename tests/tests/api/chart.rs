//! The life of a chart as a package manager leads it: installed, upgraded and rolled back by server-side apply, then taken away.

use crate::control::{LIMIT, control};
use rk_tests::{Kubectl, eventually};

/// What a chart renders to: one object of each kind that charts usually have.
fn chart(image: &str, with_budget: bool) -> String {
    let labels = "labels: {app.kubernetes.io/name: shop, app.kubernetes.io/managed-by: packager}";
    let mut objects = vec![
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: shop, {labels}}}"),
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shop, {labels}}}\ndata: {{image: '{image}'}}"),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: shop, {labels}}}\nstringData: {{token: hidden}}"),
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: shop, {labels}}}\nrules: [{{apiGroups: [''], resources: \
             [configmaps], verbs: [get, list]}}]"
        ),
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: shop, {labels}}}\nroleRef: {{apiGroup: \
             rbac.authorization.k8s.io, kind: Role, name: shop}}\nsubjects: [{{kind: ServiceAccount, name: shop}}]"
        ),
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, {labels}}}\nspec: {{selector: {{app: shop}}, ports: [{{name: http, port: \
             80, targetPort: http}}, {{name: more, port: 81}}]}}"
        ),
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: shop, {labels}}}\nspec:\n  selector: {{matchLabels: {{app: shop}}}}\n  \
             template:\n    metadata: {{labels: {{app: shop}}}}\n    spec:\n      serviceAccountName: shop\n      containers: [{{name: shop, \
             image: '{image}', ports: [{{name: http, containerPort: 8080}}], env: [{{name: A, value: b}}]}}]"
        ),
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: shop, {labels}}}\nspec: {{minReplicas: 2, \
             maxReplicas: 4, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: shop}}, metrics: [{{type: Resource, resource: \
             {{name: cpu, target: {{type: Utilization, averageUtilization: 80}}}}}}]}}"
        ),
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: shop, {labels}}}\nspec: {{rules: [{{host: shop.example.com, \
             http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: shop, port: {{name: http}}}}}}}}]}}}}]}}"
        ),
    ];
    if with_budget {
        objects.push(format!(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: shop, {labels}}}\nspec: {{minAvailable: 1, selector: \
             {{matchLabels: {{app: shop}}}}}}"
        ));
    }
    objects.join("\n---\n")
}

fn apply(kubectl: &Kubectl, text: &str) -> String {
    let answer = kubectl.fed(&["apply", "--server-side", "--field-manager=packager", "-f", "-"], text);
    assert!(answer.success, "{}{}\n{text}", answer.out, answer.err);
    answer.out
}

const KINDS: &str = "serviceaccount,configmap,secret,role,rolebinding,service,deployment,hpa,ingress,pdb";
const SELECTOR: &str = "app.kubernetes.io/managed-by=packager";

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_taken_away() {
    let kubectl = control().kubectl.new_namespace("chart");
    let (first, second) = (chart("example.com/shop:1", false), chart("example.com/shop:2", true));
    assert_eq!(apply(&kubectl, &first).lines().count(), 9);
    let versions = || {
        kubectl.path(&[KINDS, "-l", SELECTOR], "{range .items[*]}{.kind}={.metadata.uid}/{.metadata.generation} {end}")
    };
    // The autoscaler has its least number before versions are compared: it has no more to change then.
    eventually("the least number of replicas", LIMIT, || {
        match kubectl.try_path(&["deployment", "shop"], "{.spec.replicas}")? {
            two if two == "2" => Ok(()),
            other => Err(other),
        }
    });
    let installed = versions();
    apply(&kubectl, &first);
    assert_eq!(versions(), installed, "applying what is there changes nothing");

    // Somebody scales by hand: that is no conflict, since the chart leaves the number to the autoscaler.
    kubectl.ok(&["scale", "deployment", "shop", "--replicas=3"]);
    let address = kubectl.path(&["service", "shop"], "{.spec.clusterIP}");
    apply(&kubectl, &second);
    assert_eq!(
        kubectl.path(&["deployment", "shop"], "{.spec.template.spec.containers[0].image}"),
        "example.com/shop:2"
    );
    assert_eq!(kubectl.path(&["deployment", "shop"], "{.spec.replicas}"), "3");
    assert_eq!(kubectl.path(&["service", "shop"], "{.spec.clusterIP}"), address);
    kubectl.ok(&["get", "pdb", "shop"]);

    kubectl.ok(&["patch", "configmap", "shop", "--type=merge", "-p", r#"{"data":{"image":"by hand"}}"#]);
    let refused = kubectl.fed(&["apply", "--server-side", "--field-manager=packager", "-f", "-"], &first);
    assert!(!refused.success && refused.err.contains("conflict"), "{refused:?}");
    let rolled =
        kubectl.fed(&["apply", "--server-side", "--force-conflicts", "--field-manager=packager", "-f", "-"], &first);
    assert!(rolled.success, "{rolled:?}");
    kubectl.ok(&["delete", "pdb", "shop"]);
    assert_eq!(kubectl.path(&["configmap", "shop"], "{.data.image}"), "example.com/shop:1");
    assert_eq!(
        kubectl.path(&["deployment", "shop"], "{.spec.template.spec.containers[0].image}"),
        "example.com/shop:1"
    );

    kubectl.ok(&["delete", KINDS, "-l", SELECTOR, "--wait=true", "--timeout=120s"]);
    assert_eq!(kubectl.ok(&["get", KINDS, "-l", SELECTOR, "-o", "name"]), "");
}
