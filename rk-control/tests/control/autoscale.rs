//! Autoscalers on metrics that servers behind APIServices tell; a stand-in plays the node.

use crate::cluster::rest::{Rest, has, name, workload};
use crate::cluster::start;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// The names of the pods that have metrics.
type Pods = Arc<Mutex<Vec<String>>>;

/// A server of custom and external metrics; tells its port.
async fn metrics_server(pods: Pods) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    let certificate = params.self_signed(&key).expect("certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, pods) = (acceptor.clone(), Arc::clone(&pods));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let serve = service_fn(|request: Request<Incoming>| {
                    let (code, body) = answer(request.uri().path(), &pods.lock().expect("whole"));
                    let response = Response::builder().status(code).body(Full::new(Bytes::from(body.to_string())));
                    std::future::ready(response)
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    port
}

/// Each pod has one and a half requests a second, the Deployment two of depth, and eight wait in a queue.
fn answer(path: &str, pods: &[String]) -> (StatusCode, Value) {
    let of = |name: &str, value: &str| json!({"describedObject": {"name": name}, "metric": {"name": "m"}, "timestamp": "2026-01-01T00:00:00Z", "value": value});
    let list = |group: &str, items: Value| json!({"kind": "MetricValueList", "apiVersion": group, "metadata": {}, "items": items});
    let (custom, external) = ("custom.metrics.k8s.io/v1beta2", "external.metrics.k8s.io/v1beta1");
    let resources =
        |of: &str| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of, "resources": []});
    let known = match path.strip_prefix("/apis/").unwrap_or_default() {
        "custom.metrics.k8s.io/v1beta2" => resources(custom),
        "external.metrics.k8s.io/v1beta1" => resources(external),
        "custom.metrics.k8s.io/v1beta2/namespaces/scaled/pods/*/rate" => {
            list(custom, pods.iter().map(|pod| of(pod, "1500m")).collect())
        }
        "custom.metrics.k8s.io/v1beta2/namespaces/scaled/deployments.apps/web/depth" => {
            list(custom, json!([of("web", "2")]))
        }
        "external.metrics.k8s.io/v1beta1/namespaces/scaled/queue" => {
            list(external, json!([{"metricName": "queue", "value": "3"}, {"metricName": "queue", "value": "5"}]))
        }
        _ => return (StatusCode::NOT_FOUND, json!("there is nothing here")),
    };
    (StatusCode::OK, known)
}

/// Lets a group be served by the metrics server.
async fn aggregate(rest: &Rest, group: &str, version: &str, port: u16) {
    let name = format!("{version}.{group}");
    let service = json!({"namespace": "scaled", "name": "metrics", "port": port});
    let spec = json!({"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
        "insecureSkipTLSVerify": true, "service": service});
    let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": spec});
    rest.create(API_SERVICES, &object).await;
    // The verdict is written down before it holds.
    rest.until(&format!("{API_SERVICES}/{name}"), |own| has(own, "Available")).await;
    rest.until(&format!("/apis/{group}/{version}"), |own| own["kind"] == "APIResourceList").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_follows_the_metrics_of_aggregated_apis() {
    let (plane, _nodes) = start(&["n1"]).await;
    let rest = Rest::new(plane.client().await, "scaled").await;
    let pods = Pods::default();
    let port = metrics_server(Arc::clone(&pods)).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    rest.create("services", &service).await;
    aggregate(&rest, "custom.metrics.k8s.io", "v1beta2", port).await;
    aggregate(&rest, "external.metrics.k8s.io", "v1beta1", port).await;
    rest.create("deployments", &workload("apps/v1", "Deployment", "web", json!({"replicas": 2}), json!({}))).await;
    rest.until("deployments/web", |web| web["status"]["readyReplicas"] == 2).await;
    let made = rest.items("pods?labelSelector=app=web").await;
    *pods.lock().expect("whole") = made.iter().map(|pod| name(pod).to_owned()).collect();

    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let metric = |name: &str| json!({ "name": name });
    let average = |amount: &str| json!({"type": "AverageValue", "averageValue": amount});
    let depth = json!({"metric": metric("depth"), "describedObject": web, "target": {"type": "Value", "value": "2"}});
    let metrics = json!([
        {"type": "Pods", "pods": {"metric": metric("rate"), "target": average("1")}},
        {"type": "Object", "object": depth},
        {"type": "External", "external": {"metric": metric("queue"), "target": average("2")}},
    ]);
    let spec = json!({"scaleTargetRef": web, "minReplicas": 1, "maxReplicas": 10, "metrics": metrics});
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": spec});
    rest.create("horizontalpodautoscalers", &scaler).await;
    // The pods ask for three, the Deployment for two, the queue for four.
    rest.until("deployments/web", |web| web["spec"]["replicas"] == 4).await;
    let seen = rest.until("horizontalpodautoscalers/web", |own| own["status"]["desiredReplicas"] == 4).await;
    let current = &seen["status"]["currentMetrics"];
    assert_eq!(current[0]["pods"], json!({"metric": metric("rate"), "current": {"averageValue": "1500m"}}));
    let depth = json!({"metric": metric("depth"), "describedObject": web, "current": {"value": "2"}});
    assert_eq!((&current[1]["object"], &current[2]["external"]["metric"]), (&depth, &metric("queue")));
    assert!(has(&seen, "ScalingActive") && has(&seen, "AbleToScale"), "{seen:#}");
    let grew = "New size: 4; reason: external metric queue(nil) above target";
    rest.hears("web", "SuccessfulRescale", |message| message == grew).await;

    // What is not served any more is told, and keeps nobody from doing what the others ask for.
    rest.delete(&format!("{API_SERVICES}/v1beta1.external.metrics.k8s.io"), &Value::Null).await;
    rest.until("/apis/external.metrics.k8s.io/v1beta1", Value::is_null).await;
    // A change has its turn at once.
    rest.patch("horizontalpodautoscalers/web", &json!({"spec": {"maxReplicas": 9}})).await;
    let lost = |own: &Value| own["status"]["currentMetrics"][2] == json!({"type": ""}) && has(own, "ScalingActive");
    rest.until("horizontalpodautoscalers/web", lost).await;
    let text = "unable to get external metric scaled/queue/nil: unable to fetch metrics from external metrics API: \
        the server could not find the requested resource (get queue.external.metrics.k8s.io)";
    rest.hears("web", "FailedGetExternalMetric", |message| message == text).await;
    assert_eq!(rest.get("deployments/web").await["spec"]["replicas"], 4);
}
