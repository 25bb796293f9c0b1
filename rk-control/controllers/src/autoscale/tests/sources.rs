//! What metrics of pods, of other objects and from outside of the cluster make of a target with two pods.

use super::*;
use crate::autoscale::metrics::measure;

/// The metrics APIs: the custom one is served in two versions, of which one is preferred; none of it where that is empty. Notes what is
/// asked of them.
fn apis(preferred: &'static str, asked: Written) -> Answers {
    Arc::new(move |path: &str| -> Option<(u16, String)> {
        if path == "/apis" {
            return Some((200, groups(preferred).to_string()));
        }
        let (_, question) = path.split_once(".metrics.k8s.io/")?.1.split_once("/namespaces/n/")?;
        asked.lock().expect("whole").push(path.to_owned());
        let of = |name: &str, value: &str| json!({"describedObject": {"name": name}, "value": value});
        let items = match question.split('?').next().unwrap_or_default() {
            "pods/*/rate" => json!([of("a", "2"), of("b", "1")]),
            "pods/*/none" => json!([]),
            "deployments.apps/web/depth" => json!([of("web", "9")]),
            "deployments.apps/web/both" => json!([of("web", "9"), of("other", "9")]),
            "metrics/load" => json!([of("n", "4100m")]),
            "queue" => json!([{"value": "4"}, {"value": 2}]),
            "bad" => json!([{"value": "many"}]),
            "gone" => return Some((503, "service unavailable\n".to_owned())),
            _ => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "reason": "NotFound", "message": "there is no such metric"});
                return Some((404, status.to_string()));
            }
        };
        Some((200, json!({ "items": items }).to_string()))
    })
}

fn groups(preferred: &str) -> Value {
    let version =
        |group: &str, version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let apps = version("apps", "v1");
    let mut groups = vec![json!({"name": "apps", "versions": [apps], "preferredVersion": apps})];
    if !preferred.is_empty() {
        let name = "custom.metrics.k8s.io";
        let versions = ["v1beta1", "v1beta2", "v9"].map(|own| version(name, own));
        groups.push(json!({"name": name, "versions": versions, "preferredVersion": version(name, preferred)}));
    }
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// What one metric says of a target that has two pods and should have them.
async fn told(controller: &Controller, metric: &Value) -> Result<Told, Unusable> {
    let (pods, pace) = (controller.pods.in_namespace("n"), Pace::of(None));
    let target = Target { namespace: "n", selector: "app=web", pods: &pods, current: 2, present: 2, pace: &pace };
    let apis = Apis { client: &controller.client, discovery: &controller.discovery };
    measure(&apis, &target, &serde_json::from_value(metric.clone()).expect("valid")).await
}

fn of_pods(name: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    json!({"type": "Pods", "pods": {"metric": {"name": name}, "target": target}})
}

fn web() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
}

fn of_object(object: &Value, name: &str, target: &Value) -> Value {
    let source = json!({"metric": {"name": name}, "describedObject": object, "target": target});
    json!({"type": "Object", "object": source})
}

fn of_others(metric: Value, target: &Value) -> Value {
    json!({"type": "External", "external": {"metric": metric, "target": target}})
}

fn value(amount: &str) -> Value {
    json!({"type": "Value", "value": amount})
}

fn average(amount: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": amount})
}

/// The status of one metric: its source with what is measured now in place of what is wanted.
fn status(metric: &Value, current: Value) -> Value {
    let mut status = metric.clone();
    let source = status.as_object_mut().expect("a metric").iter_mut().find(|(key, _)| *key != "type");
    let source = source.and_then(|(_, source)| source.as_object_mut()).expect("a source");
    source.remove("target");
    source.insert("current".to_owned(), current);
    status
}

#[tokio::test]
async fn metrics_of_pods_of_objects_and_from_outside_ask_for_pods() {
    let asked = Written::default();
    let (controller, _) = controller_with(apis("v1beta2", Arc::clone(&asked)));
    let namespace = json!({"kind": "Namespace", "name": "other"});
    let labelled = json!({"name": "queue", "selector": {"matchLabels": {"q": "a"}}});
    let shown = "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}";
    let labelled_name = format!("external metric queue({shown})");
    let table = [
        (
            of_pods("rate"),
            3,
            json!({"averageValue": "1500m"}),
            "pods metric rate",
            "pods/*/rate?labelSelector=app%3Dweb",
        ),
        (
            of_object(&web(), "depth", &value("5")),
            4,
            json!({"value": "9"}),
            "Deployment metric depth",
            "deployments.apps/web/depth",
        ),
        (
            of_object(&web(), "depth", &average("3")),
            3,
            json!({"averageValue": "4500m"}),
            "external metric depth(nil)",
            "deployments.apps/web/depth",
        ),
        (
            of_object(&namespace, "load", &value("4")),
            2,
            json!({"value": "4100m"}),
            "Namespace metric load",
            "metrics/load",
        ),
        (
            of_others(json!({"name": "queue"}), &value("4")),
            3,
            json!({"value": "6"}),
            "external metric queue(nil)",
            "queue",
        ),
        (
            of_others(labelled, &average("2")),
            3,
            json!({"averageValue": "3"}),
            labelled_name.as_str(),
            "queue?labelSelector=q%3Da",
        ),
    ];
    for (metric, wanted, current, name, path) in table {
        let said = told(&controller, &metric).await.expect("told");
        assert_eq!((said.wanted, said.name.as_str()), (wanted, name));
        assert_eq!(serde_json::to_value(&said.status).expect("JSON"), status(&metric, current));
        let api = if metric["type"] == "External" {
            "external.metrics.k8s.io/v1beta1"
        } else {
            "custom.metrics.k8s.io/v1beta2"
        };
        let last = asked.lock().expect("whole").pop();
        assert_eq!(last, Some(format!("/apis/{api}/namespaces/n/{path}")));
    }
}

#[tokio::test]
async fn custom_metrics_are_asked_in_a_version_that_is_understood() {
    for (preferred, version) in [("v1beta2", "v1beta2"), ("v1beta1", "v1beta1"), ("v9", "v1beta1")] {
        let asked = Written::default();
        let (controller, _) = controller_with(apis(preferred, Arc::clone(&asked)));
        told(&controller, &of_pods("rate")).await.expect("told");
        let path = asked.lock().expect("whole").pop().unwrap_or_default();
        assert!(path.starts_with(&format!("/apis/custom.metrics.k8s.io/{version}/")), "{preferred}: {path}");
    }
}

#[tokio::test]
async fn metrics_that_cannot_be_had_are_told_as_upstream_tells_them() {
    let (controller, _) = controller_with(apis("v1beta2", Written::default()));
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "t"});
    let bare = json!({"type": "Utilization", "averageUtilization": 50});
    let queue = |name: &str, target: &Value| of_others(json!({ "name": name }), target);
    let neither = |what: &str| {
        format!("invalid {what} metric source: neither a value target nor an average value target was set")
    };
    let no_metric = "unable to fetch metrics from custom metrics API: there is no such metric";
    let unavailable = "unable to get external metric n/gone/nil: unable to fetch metrics from external metrics API: \
        the server is currently unable to handle the request (get gone.external.metrics.k8s.io)";
    let table = [
        (
            of_pods("lost"),
            "FailedGetPodsMetric",
            format!("unable to get metric lost: {no_metric}"),
            "failed to get pods metric value: ",
        ),
        (
            of_pods("none"),
            "FailedGetPodsMetric",
            "unable to get metric none: no metrics returned from custom metrics API".to_owned(),
            "failed to get pods metric value: ",
        ),
        (
            of_object(&web(), "lost", &value("1")),
            "FailedGetObjectMetric",
            format!("unable to get metric lost: Deployment on n web/{no_metric}"),
            "failed to get object metric value: ",
        ),
        (
            of_object(&web(), "both", &average("1")),
            "FailedGetObjectMetric",
            "unable to get metric both: Deployment on n web/unable to fetch metrics from custom metrics API: \
                the custom metrics API server returned 2 results when we asked for exactly one"
                .to_owned(),
            "failed to get object metric value: failed to get both object metric: ",
        ),
        (
            of_object(&thing, "depth", &value("1")),
            "FailedGetObjectMetric",
            "unable to get metric depth: Thing on n t/unable to fetch metrics from custom metrics API: \
                unable to map kind Thing.example.com to resource: no matches for kind \"Thing\" in group \"example.com\""
                .to_owned(),
            "failed to get object metric value: ",
        ),
        (
            of_object(&web(), "depth", &bare),
            "FailedGetObjectMetric",
            neither("object"),
            "failed to get object metric value: ",
        ),
        (
            queue("gone", &value("1")),
            "FailedGetExternalMetric",
            unavailable.to_owned(),
            "failed to get gone external metric value: failed to get external metric gone: ",
        ),
        (
            queue("gone", &average("1")),
            "FailedGetExternalMetric",
            unavailable.to_owned(),
            "failed to get gone external metric value: failed to get gone external metric: ",
        ),
        (
            queue("queue", &bare),
            "FailedGetExternalMetric",
            neither("external"),
            "failed to get queue external metric value: ",
        ),
        (
            json!({"type": "Dreams"}),
            "InvalidMetricSourceType",
            "unknown metric source type \"Dreams\"".to_owned(),
            "",
        ),
    ];
    for (metric, reason, error, before) in table {
        let why = told(&controller, &metric).await.expect_err("nothing is told");
        assert_eq!((why.reason, &why.error, &why.chain), (reason, &error, &format!("{before}{error}")));
    }
    let why = told(&controller, &queue("bad", &value("1"))).await.expect_err("no amount");
    assert!(why.error.contains("quantities must match the regular expression"), "{}", why.error);

    let (without, _) = controller_with(apis("", Written::default()));
    let why = told(&without, &of_pods("rate")).await.expect_err("nobody serves it");
    let text = "unable to get metric rate: unable to fetch metrics from custom metrics API: \
        no custom metrics API (custom.metrics.k8s.io) registered";
    assert_eq!(why.error, text);
}

#[tokio::test]
async fn a_metric_that_is_missing_keeps_its_place_in_the_status() {
    let (controller, written) = controller_with(apis("v1beta2", Written::default()));
    let lost = of_others(json!({"name": "gone"}), &value("1"));
    let with = |metrics: Value| {
        let mut scaler = scaler("one", 1, 10, Value::Null);
        scaler.spec.metrics = serde_json::from_value(metrics).expect("valid");
        scaler
    };
    let mut now = HorizontalPodAutoscalerStatus::default();
    controller.turn(&with(json!([lost, of_pods("rate")])), &mut now).await;
    assert_eq!((now.desired_replicas, written.lock().expect("whole").len()), (3, 1));
    assert_eq!(super::told(&now).get(1), Some(&("ScalingActive", "True", "ValidMetricFound")));
    let current = status(&of_pods("rate"), json!({"averageValue": "1500m"}));
    assert_eq!(serde_json::to_value(&now.current_metrics).expect("JSON"), json!([{"type": ""}, current]));
    let mut now = HorizontalPodAutoscalerStatus::default();
    controller.turn(&with(json!([lost])), &mut now).await;
    let condition = now.conditions.iter().flatten().find(|own| own.type_ == "ScalingActive").expect("told");
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("FailedGetExternalMetric")));
    let text = condition.message.as_deref().unwrap_or_default();
    assert!(
        text.starts_with("the HPA was unable to compute the replica count: unable to get external metric"),
        "{text}"
    );
    assert_eq!(serde_json::to_value(&now.current_metrics).expect("JSON"), json!([{"type": ""}]));
}
