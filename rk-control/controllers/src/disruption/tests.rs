//! Whose pods a budget counts, and what it says where nobody knows.

use super::*;
use kube::client::Body;
use rk_client::{Informers, Recorders};
use serde_json::{Value, json};

/// A server of two kinds, one of which has a scale.
fn answer(path: &str) -> Value {
    let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
    let version = json!({"groupVersion": "example.com/v1", "version": "v1"});
    let group = json!({"name": "example.com", "versions": [version], "preferredVersion": version});
    match path {
        "/api/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": []}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
        "/apis/example.com/v1" => {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1", "resources": [
                resource("rigids", "Rigid"), resource("things", "Thing"), resource("things/scale", "Scale")]})
        }
        _ => json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 5},
            "metadata": {"name": "a", "namespace": "n", "uid": "now"}}),
    }
}

fn controller() -> Controller {
    let server = tower::service_fn(|request: http::Request<Body>| {
        let body = Body::from(answer(request.uri().path()).to_string().into_bytes());
        std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
    });
    let client = kube::Client::new(server, "default");
    let informers = Informers::new(client.clone());
    Controller {
        discovery: Discovery::new(client.clone()),
        budgets: informers.of(),
        pods: informers.of(),
        replica_sets: informers.of(),
        deployments: informers.of(),
        stateful_sets: informers.of(),
        controllers: informers.of(),
        recorder: Recorders::new(client.clone()).of("controllermanager"),
        client,
    }
}

fn pod(api_version: &str, kind: &str, uid: &str) -> Arc<Pod> {
    let owner = json!({"apiVersion": api_version, "kind": kind, "name": "a", "uid": uid, "controller": true});
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "ownerReferences": [owner]}});
    Arc::new(serde_json::from_value(pod).expect("valid"))
}

#[tokio::test]
async fn a_controller_of_any_kind_counts_by_its_scale() {
    let controller = controller();
    let of = |kind: &str, uid: &str| pod("example.com/v1", kind, uid);
    let both = [of("Thing", "now"), of("Thing", "now")];
    assert_eq!(controller.scale("n", &both).await, Ok(Scale { wanted: 5, unmanaged: false }));
    for (kind, uid, why) in [
        ("Thing", "before", "found no controllers for pod \"p\""),
        ("Rigid", "now", "rigids.example.com does not implement the scale subresource"),
        ("Other", "now", "no matches for kind \"Other\" in version \"example.com/v1\""),
    ] {
        assert_eq!(controller.scale("n", &[of(kind, uid)]).await, Err(why.to_owned()));
    }
}

#[tokio::test]
async fn a_controller_that_took_the_name_of_another_does_not_count_for_its_pods() {
    let controller = controller();
    let set = json!({"metadata": {"name": "a", "namespace": "n", "uid": "now", "resourceVersion": "1"},
        "spec": {"replicas": 3, "selector": {}}});
    controller.replica_sets.observe(serde_json::from_value(set).expect("valid"));
    let of = |uid: &str| controller.controller_scale(&pod("apps/v1", "ReplicaSet", uid));
    assert_eq!(of("now"), Some(("now".to_owned(), 3)));
    assert_eq!(of("before"), None);
}

#[test]
fn a_budget_of_which_nothing_is_known_keeps_its_numbers_and_allows_nothing() {
    let status = json!({"currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1, "expectedPods": 4,
        "observedGeneration": 6, "disruptedPods": {"p": "2026-01-01T00:00:00Z"}});
    let mut budget =
        PodDisruptionBudget { status: serde_json::from_value(status).expect("valid"), ..Default::default() };
    budget.metadata.generation = Some(7);
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("time");
    let status = unknown(&budget, "why".to_owned(), now);
    assert_eq!((status.current_healthy, status.desired_healthy, status.expected_pods), (Some(3), Some(2), Some(4)));
    assert_eq!((status.disruptions_allowed, status.observed_generation), (Some(0), Some(6)));
    assert_eq!(status.disrupted_pods.map(|pods| pods.len()), Some(1));
    let told: Vec<_> = status.conditions.iter().flatten().map(|c| (c.reason.as_str(), c.message.as_str())).collect();
    assert_eq!(told, [("SyncFailed", "why")]);
    let fresh = unknown(&PodDisruptionBudget::default(), "why".to_owned(), now);
    assert_eq!((fresh.current_healthy, fresh.disruptions_allowed, fresh.expected_pods), (Some(0), Some(0), Some(0)));
}
