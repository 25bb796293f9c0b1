//! A server on a throw-away store, driven in this process.

pub mod sockets;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rk_apiserver::{ApiServer, Body, BootstrapToken, Config, InProcess, Pki, ServingNames, User};
use rk_store::{SqliteOptions, SqliteStore, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::{Service, ServiceExt};

/// A running server.
pub struct Cluster {
    pub server: ApiServer,
    pub pki: Pki,
    pub dir: TempDir,
    pub store: Arc<dyn Store>,
}

impl Cluster {
    /// A bootstrapped server on a fresh store, with the service account `default/default`.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        Self::start_in(dir).await
    }

    /// A server on the store of a directory.
    pub async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, Config::default()).await
    }

    /// A server with settings of its own on the store of a directory.
    pub async fn start_with(dir: TempDir, config: Config) -> Self {
        let store = Arc::new(sqlite(&dir, "state.db"));
        Self::start_on(dir, config, store).await
    }

    /// A server with settings of its own on a store.
    pub async fn start_on(dir: TempDir, config: Config, store: Arc<dyn Store>) -> Self {
        let config = Config {
            advertise: "192.0.2.10".to_owned(),
            bootstrap_token: BootstrapToken::parse("abcdef.0123456789abcdef"),
            ..config
        };
        let names = ServingNames::new("cluster.local", "10.96.0.1".parse().expect("address"), ["127.0.0.1".to_owned()]);
        let pki = Pki::load_or_create(&dir.path().join("pki"), &names).expect("PKI");
        let server = ApiServer::new(config, &pki, Arc::clone(&store)).await.expect("server");
        server.bootstrap().await.expect("bootstrap");
        let cluster = Self { server, pki, dir, store };
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        cluster.admin().send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", &account).await;
        cluster
    }

    /// The administrator.
    pub fn admin(&self) -> Client {
        self.client(User::new("admin", ["system:masters".to_owned()]))
    }

    /// Ends the server and its store; answers their directory, for another.
    pub async fn stop(self) -> TempDir {
        let Self { server, dir, store, .. } = self;
        server.shutdown();
        // What the server's loops asked of the store is written first: nobody else may have its file open meanwhile.
        store.request_progress().await.expect("the store answers");
        dir
    }

    /// Somebody.
    pub fn client(&self, user: User) -> Client {
        Self::client_of(&self.server, user)
    }

    /// Somebody at another server.
    pub fn client_of(server: &ApiServer, user: User) -> Client {
        Client { service: server.in_process_service(user), headers: HeaderMap::new() }
    }
}

/// A store of its own in a directory.
pub fn sqlite(dir: &TempDir, name: &str) -> SqliteStore {
    let options = SqliteOptions { durable: false, ..SqliteOptions::new(dir.path().join(name)) };
    SqliteStore::open(&options).expect("store")
}

/// A client of the server, as one user.
#[derive(Clone)]
pub struct Client {
    service: InProcess,
    headers: HeaderMap,
}

/// A decoded answer.
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.code.is_success(), "{}: {}", self.code, String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Code and message of an answer that must be a failure.
    #[track_caller]
    pub fn failure(&self) -> (u16, String) {
        assert!(!self.code.is_success(), "{}: {}", self.code, String::from_utf8_lossy(&self.body));
        let status = self.json();
        assert_eq!(status["kind"], "Status");
        (self.code.as_u16(), status["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Client {
    /// The same client with one more header on every request.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().expect("header"));
        self
    }

    /// Sends a request with any body.
    pub async fn raw(&self, method: Method, path: &str, content_type: &str, body: Bytes) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body)).expect("request");
        *request.headers_mut() = self.headers.clone();
        if !content_type.is_empty() {
            request.headers_mut().insert("content-type", content_type.parse().expect("content type"));
        }
        let mut service = self.service.clone();
        let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.expect("never fails");
        service.call(request).await.expect("never fails")
    }

    /// Sends a request and reads the whole answer.
    pub async fn answer(&self, method: Method, path: &str, content_type: &str, body: Bytes) -> Answer {
        let (parts, body) = self.raw(method, path, content_type, body).await.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        Answer { code: parts.status, headers: parts.headers, body }
    }

    /// Sends JSON.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.answer(method, path, "application/json", body.to_string().into()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.answer(Method::GET, path, "", Bytes::new()).await
    }

    pub async fn create(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.answer(Method::DELETE, path, "", Bytes::new()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.answer(Method::PATCH, path, kind, body.to_string().into()).await
    }

    /// Lets a subject do more in the whole cluster, by a role and a binding of this name.
    pub async fn grant(&self, name: &str, subject: Value, rules: Value) {
        let object = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        let (mut role, mut binding) = (object("ClusterRole"), object("ClusterRoleBinding"));
        role["rules"] = rules;
        binding["roleRef"] = named("ClusterRole", name);
        binding["subjects"] = json!([subject]);
        self.create(&format!("{RBAC}/clusterroles"), &role).await.ok();
        self.create(&format!("{RBAC}/clusterrolebindings"), &binding).await.ok();
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        let response = self.raw(Method::GET, path, "", Bytes::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// An open JSON watch.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event, or `None` at the end of the stream. Fails after [`PATIENCE`].
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.line()).await.expect("an event in time")
    }

    async fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = self.body.frame().await?.expect("frame");
            self.rest.extend_from_slice(frame.data_ref().expect("data"));
        }
    }

    /// Type and name of the next event.
    pub async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// So many bytes of a stream, or more where they come together.
pub async fn bytes(body: &mut Body, count: usize) -> Vec<u8> {
    let mut told = Vec::new();
    while told.len() < count {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("more in time");
        told.extend_from_slice(frame.expect("more").expect("frame").data_ref().expect("data"));
    }
    told
}

/// How long the server and its loops may take to act on a machine that has other work.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds what is wanted.
pub async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !look().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A role, user or group, as bindings refer to it.
pub fn named(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]},
    })
}

pub const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
