//! A client that is refused its answer takes it that nothing was done.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rk_apiserver::User;
use serde_json::{Value, json};
use tower::Service;

use crate::support::{Client, Cluster, MAPS, PODS, config_map, pod};

const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Objects as they are, with their revisions.
async fn present(admin: &Client, places: &[String]) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for place in places {
        found.push(admin.get(place).await.ok());
    }
    found
}

#[tokio::test]
async fn what_cannot_be_answered_is_not_done() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("kept", json!({"k": "v"}))).await.ok();
    admin.create(PODS, &pod("kept")).await.ok();
    let places = [format!("{MAPS}/kept"), format!("{PODS}/kept")];
    let [map, own] = &places;
    let before = present(&admin, &places).await;

    let unknown = cluster.admin().with("accept", "application/unknown");
    let (new, changed) = (config_map("new", json!({})), config_map("kept", json!({"k": "w"})));
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "kept"}});
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "kept"}, "target": {"kind": "Node", "name": "n"}});
    for answer in [
        unknown.create(MAPS, &new).await,
        unknown.patch(&format!("{MAPS}/new?fieldManager=m"), APPLY, &new).await,
        unknown.put(map, &changed).await,
        unknown.patch(map, MERGE, &labels).await,
        unknown.delete(map).await,
        unknown.delete(MAPS).await,
        unknown.patch(&format!("{own}/status"), MERGE, &json!({"status": {"reason": "r"}})).await,
        unknown.create(&format!("{own}/eviction"), &eviction).await,
        unknown.create(&format!("{own}/binding"), &binding).await,
    ] {
        assert_eq!(answer.failure().0, 406);
    }
    let rows = cluster.admin().with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(rows.create(&format!("{MAPS}?includeObject=Everything"), &new).await.failure().0, 400);
    assert_eq!(present(&admin, &places).await, before);
    assert_eq!(admin.get(&format!("{MAPS}/new")).await.failure().0, 404);
    assert_eq!(rows.create(MAPS, &new).await.ok()["kind"], "Table", "what can be answered is done");
}

#[tokio::test]
async fn a_time_that_a_request_may_take_is_one() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let why = |fault: &str| format!("invalid timeout specified in the request URL - time: {fault}");
    for path in ["/version", MAPS] {
        for good in ["", "0s", "3m", "1m30s"] {
            assert_eq!(admin.get(&format!("{path}?timeout={good}")).await.code, 200, "{path} {good}");
        }
        for (bad, fault) in [("invalid", "invalid duration \"invalid\""), ("5", "missing unit in duration \"5\"")] {
            assert_eq!(admin.get(&format!("{path}?timeout={bad}")).await.failure(), (400, why(fault)), "{path}");
        }
    }
    assert_eq!(
        cluster.admin().get(&format!("{PODS}/p/proxy/?timeout=invalid")).await.code,
        404,
        "the pod's own business"
    );
}

#[tokio::test]
async fn a_request_that_passes_its_time_is_told_so_and_what_lasts_goes_on() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut service = cluster.server.in_process_service(User::new("admin", ["system:masters".to_owned()]));
    // A body that never comes.
    let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post(format!("{MAPS}?timeout=20ms")).header("content-type", "application/json");
    let answer = service.call(request.body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 504);
    let told: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    let words = "Timeout: request did not complete within the allotted timeout";
    assert_eq!(
        (&told["kind"], &told["reason"], &told["message"]),
        (&json!("Status"), &json!("Timeout"), &json!(words))
    );

    let figures = String::from_utf8(admin.get("/metrics").await.body.to_vec()).unwrap();
    let mut ended =
        figures.lines().filter(|line| line.starts_with("apiserver_request_terminations_total{code=\"504\""));
    assert!(ended.any(|line| line.contains("resource=\"configmaps\"") && line.ends_with(" 1")), "{figures}");

    let mut watch = admin.watch(&format!("{MAPS}?watch=1&timeout=1ns")).await;
    admin.create(MAPS, &config_map("late", json!({}))).await.ok();
    assert_eq!(watch.brief().await, ("ADDED".to_owned(), "late".to_owned()));
}
