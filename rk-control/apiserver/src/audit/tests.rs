//! Requests that end otherwise than by an answer to somebody who is known.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Asked, Audit, AuditConfig, LogConfig, Policy, begin, recorded};
use crate::authn::User;
use crate::http::{Body, Connection, Peer, Query, RequestInfo, text_response};

const RULES: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";

fn open(dir: &Path) -> Arc<Audit> {
    let log = LogConfig { path: dir.join("audit.log"), max_bytes: 1 << 20, max_backups: 1, max_age: None };
    Audit::open(AuditConfig { policy: Policy::parse(RULES).unwrap(), log }).unwrap()
}

async fn told(audit: &Audit, dir: &TempDir) -> Vec<Value> {
    audit.sink.flushed().await;
    let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stages(told: &[Value]) -> Vec<&str> {
    told.iter().filter_map(|event| event["stage"].as_str()).collect()
}

async fn serve(audit: Arc<Audit>, user: Option<User>, work: impl Future<Output = Response<Body>>) -> Response<Body> {
    let id = HeaderValue::from_static("id");
    let serving = async {
        let (uri, headers) = (Uri::from_static("/api/v1/pods"), HeaderMap::new());
        let info = RequestInfo::parse(&Method::GET, uri.path(), &Query::default());
        let connection = Connection { peer: Peer::Stranger, address: None };
        let asked = Asked { uri: &uri, headers: &headers, connection: &connection, info: &info };
        begin(&asked, user.as_ref());
        work.await
    };
    recorded(&audit, &id, serving).await
}

fn broken() -> Response<Body> {
    panic!("on purpose")
}

#[tokio::test]
async fn a_panic_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let serving = tokio::spawn(serve(Arc::clone(&audit), Some(User::anonymous()), async { broken() }));
    assert!(serving.await.is_err());
    let told = told(&audit, &dir).await;
    assert_eq!(stages(&told), ["RequestReceived", "Panic"]);
    assert_eq!(told[1]["responseStatus"]["code"], json!(500));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let serving = serve(Arc::clone(&audit), Some(User::anonymous()), pending());
    assert!(tokio::time::timeout(Duration::from_millis(10), serving).await.is_err());
    let told = told(&audit, &dir).await;
    assert_eq!(stages(&told), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(told[1]["responseStatus"]["message"], "Connection closed early");
}

#[tokio::test]
async fn credentials_that_are_not_valid_are_told_once_and_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    let refusal = async { text_response(StatusCode::UNAUTHORIZED, "") };
    drop(serve(Arc::clone(&audit), None, refusal).await);
    let told = told(&audit, &dir).await;
    assert_eq!(stages(&told), ["ResponseStarted"]);
    assert_eq!((&told[0]["user"], &told[0]["responseStatus"]["code"]), (&json!({}), &json!(401)));
}
