//! What becomes of targets, on a server of one Deployment with two busy pods.

mod sources;

use super::*;
use kube::client::Body;
use rk_client::{Informers, Recorders};
use serde_json::{Value, json};

fn answer(path: &str) -> Value {
    let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    let group = json!({"name": "apps", "versions": [version], "preferredVersion": version});
    let used = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "n"}, "timestamp": "2026-01-01T00:10:00Z", "window": "30s",
            "containers": [{"name": "app", "usage": {"cpu": "100m"}}]})
    };
    match path {
        "/api/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": []}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
        "/apis/apps/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1",
            "resources": [resource("deployments", "Deployment"), resource("deployments/scale", "Scale")]}),
        "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods" => json!({"items": [used("a"), used("b")]}),
        _ => json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "web", "namespace": "n"},
            "spec": {"replicas": 2}, "status": {"replicas": 2, "selector": "app=web"}}),
    }
}

/// What it writes, by paths.
type Written = Arc<Mutex<Vec<String>>>;

fn controller() -> (Controller, Written) {
    controller_with(Arc::new(|_: &str| None))
}

/// Answers of a server to paths with their parameters, as a code and a body; `None` for the usual one.
type Answers = Arc<dyn Fn(&str) -> Option<(u16, String)> + Send + Sync>;

fn controller_with(more: Answers) -> (Controller, Written) {
    let written = Written::default();
    let noted = Arc::clone(&written);
    let server = tower::service_fn(move |request: http::Request<Body>| {
        if request.method() == http::Method::PUT {
            noted.lock().expect("whole").push(request.uri().path().to_owned());
        }
        let asked = request.uri().path_and_query().map_or("", |asked| asked.as_str());
        let (code, body) = more(asked).unwrap_or_else(|| (200, answer(request.uri().path()).to_string()));
        let response = http::Response::builder().status(code).body(Body::from(body.into_bytes()));
        std::future::ready(response.map_err(tower::BoxError::from))
    });
    let client = kube::Client::new(server, "default");
    let informers = Informers::new(client.clone());
    let controller = Controller {
        scalers: informers.of(),
        pods: informers.of(),
        discovery: Discovery::new(client.clone()),
        recorder: Recorders::new(client.clone()).of("horizontal-pod-autoscaler"),
        memory: Mutex::default(),
        client,
    };
    for name in ["a", "b"] {
        let long_ago = "2026-01-01T00:00:00Z";
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": long_ago}]);
        let containers = json!([{"name": "app", "resources": {"requests": {"cpu": "100m"}}}]);
        let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "labels": {"app": "web"}},
            "spec": {"containers": containers}, "status": {"phase": "Running", "startTime": long_ago, "conditions": ready}});
        controller.pods.observe(serde_json::from_value(pod).expect("valid"));
    }
    (controller, written)
}

fn scaler(name: &str, min: i32, max: i32, behavior: Value) -> HorizontalPodAutoscaler {
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let spec = json!({"minReplicas": min, "maxReplicas": max, "behavior": behavior, "scaleTargetRef": target,
        "metrics": [{"type": "Resource", "resource": cpu}]});
    let meta = json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("valid")
}

/// What the conditions of a status say.
fn told(status: &HorizontalPodAutoscalerStatus) -> Vec<(&str, &str, &str)> {
    let all = status.conditions.iter().flatten();
    all.map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_target_gets_the_size_that_its_metrics_bounds_and_rules_allow() {
    let table = [
        ((1, 10, Value::Null), 4, ("AbleToScale", "True", "SucceededRescale"), "DesiredWithinRange"),
        ((1, 3, Value::Null), 3, ("AbleToScale", "True", "SucceededRescale"), "TooManyReplicas"),
        (
            (1, 10, json!({"scaleUp": {"selectPolicy": "Disabled"}})),
            2,
            ("AbleToScale", "True", "ReadyForNewScale"),
            "ScaleUpLimit",
        ),
        (
            (1, 10, json!({"scaleUp": {"stabilizationWindowSeconds": 60}})),
            2,
            ("AbleToScale", "True", "ScaleUpStabilized"),
            "DesiredWithinRange",
        ),
        (
            (1, 10, json!({"scaleUp": {"tolerance": "1"}})),
            2,
            ("AbleToScale", "True", "ReadyForNewScale"),
            "DesiredWithinRange",
        ),
    ];
    for ((min, max, behavior), size, able, bounds) in table {
        let ((controller, written), mut status) = (controller(), HorizontalPodAutoscalerStatus::default());
        controller.turn(&scaler("one", min, max, behavior.clone()), &mut status).await;
        assert_eq!((status.current_replicas, status.desired_replicas), (Some(2), size), "{behavior}");
        let limited = if bounds == "DesiredWithinRange" { "False" } else { "True" };
        let expected = [able, ("ScalingActive", "True", "ValidMetricFound"), ("ScalingLimited", limited, bounds)];
        assert_eq!(told(&status), expected, "{behavior}");
        let puts = written.lock().expect("whole").clone();
        assert_eq!(puts.len(), usize::from(size != 2), "{behavior} {puts:?}");
        assert_eq!(status.last_scale_time.is_some(), size != 2, "{behavior}");
        let metrics = serde_json::to_value(&status.current_metrics).expect("JSON");
        let current = json!({"averageUtilization": 100, "averageValue": "100m"});
        assert_eq!(metrics, json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]));
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_brings_no_turn_before_its_time() {
    let (controller, written) = controller();
    // What the server answers to the status is no autoscaler.
    controller.scalers.observe(scaler("one", 1, 10, Value::Null));
    let outcome = controller.sync(&ObjectKey::new("n", "one")).await.expect("an outcome");
    assert_eq!(outcome, Outcome::RequeueAfter(PERIOD));
    let paths = written.lock().expect("whole").clone();
    let scale = "/apis/apps/v1/namespaces/n/deployments/web/scale";
    assert_eq!(paths, [scale, "/apis/autoscaling/v2/namespaces/n/horizontalpodautoscalers/one/status"]);
}

#[tokio::test]
async fn bounds_hold_before_metrics_are_asked() {
    for (min, max, size) in [(3, 9, 3), (1, 1, 1)] {
        let ((controller, _), mut status) = (controller(), HorizontalPodAutoscalerStatus::default());
        controller.turn(&scaler("one", min, max, Value::Null), &mut status).await;
        assert_eq!(status.desired_replicas, size);
        assert_eq!(told(&status), [("AbleToScale", "True", "SucceededRescale")]);
    }
}

#[tokio::test]
async fn autoscalers_that_share_pods_are_told_and_do_nothing() {
    let (controller, written) = controller();
    let (one, two) = (scaler("one", 1, 2, Value::Null), scaler("two", 1, 10, Value::Null));
    let mut status = HorizontalPodAutoscalerStatus::default();
    controller.turn(&one, &mut status).await;
    assert_eq!(told(&status).get(1), Some(&("ScalingActive", "True", "ValidMetricFound")));
    for scaler in [&two, &one] {
        let mut status = HorizontalPodAutoscalerStatus { desired_replicas: 7, ..Default::default() };
        controller.turn(scaler, &mut status).await;
        assert_eq!(told(&status).get(1), Some(&("ScalingActive", "False", "AmbiguousSelector")));
        let text = "pods by selector app=web are controlled by multiple HPAs: [n/one n/two]";
        let texts: Vec<&str> = status.conditions.iter().flatten().filter_map(|c| c.message.as_deref()).collect();
        assert_eq!(texts.get(1), Some(&text));
        assert_eq!(status.desired_replicas, 7, "as it was");
    }
    assert!(written.lock().expect("whole").is_empty());
    controller.sync(&ObjectKey::new("n", "two")).await.expect("it is gone");
    controller.turn(&one, &mut status).await;
    assert_eq!(told(&status).get(1), Some(&("ScalingActive", "True", "ValidMetricFound")));
}

#[test]
fn a_metric_that_is_missing_lets_a_target_grow_but_not_shrink() {
    let one = |wanted: i32| -> Result<Told, Unusable> {
        let status = MetricStatus { type_: wanted.to_string(), ..MetricStatus::default() };
        Ok(Told { wanted, status, name: wanted.to_string() })
    };
    let lost = |error: &str| -> Result<Told, Unusable> {
        Err(Unusable { reason: "FailedGetResourceMetric", error: error.to_owned(), chain: String::new() })
    };
    let table = [
        (vec![one(8), one(12)], Ok(12), 0),
        (vec![lost("a"), one(8)], Ok(8), 1),
        (vec![one(2), one(4)], Ok(4), 0),
        (vec![lost("a"), one(2), lost("b")], Err("a"), 2),
        (vec![lost("a")], Err("a"), 1),
        (vec![], Ok(4), 0),
    ];
    for (told, expected, unusable) in table {
        let said = verdict(4, &told);
        let wanted = said.wanted.as_ref().map(|(size, _)| *size).map_err(|why| why.error.as_str());
        assert_eq!((wanted, said.unusable, said.all), (expected, unusable, told.len()), "{told:?}");
    }
    assert_eq!(verdict(4, &[one(8), one(12), one(9)]).wanted, Ok((12, "12".to_owned())));
    let types = |told: &[Result<Told, Unusable>]| -> Vec<String> {
        current_metrics(told).into_iter().flatten().map(|status| status.type_).collect()
    };
    assert_eq!(types(&[one(8), lost("a"), one(9)]), ["8", "", "9"], "each has its place");
    assert_eq!(current_metrics(&[]), None);
}

#[test]
fn pods_are_chosen_by_the_whole_selector_of_a_scale() {
    let pod =
        |labels: Value| -> Pod { serde_json::from_value(json!({"metadata": {"labels": labels}})).expect("valid") };
    let web = pod(json!({"app": "web", "tier": "a"}));
    for (selector, expected) in [
        ("app=web", true),
        ("app=db", false),
        ("app in (web,db),tier notin (b)", true),
        ("tier in (b,c)", false),
        ("app!=db", true),
        ("app=web,!tier", false),
        ("tier", true),
    ] {
        let selector = selected_by(selector).expect("valid");
        assert_eq!(is_selected(&selector, &web), expected, "{selector:?}");
        assert!(!is_selected(&selected_by("app").expect("valid"), &Pod::default()));
    }
    for bad in ["", "app in ("] {
        assert_eq!(selected_by(bad).err().map(|(reason, _)| reason), Some("InvalidSelector"), "{bad:?}");
    }
}
