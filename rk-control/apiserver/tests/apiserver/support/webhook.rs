//! A webhook: an HTTPS server with an authority of its own.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The path that is never answered.
pub const SILENT: &str = "/silent";

type Answer = dyn Fn(&str, &Value) -> Value + Send + Sync;

/// A running webhook.
pub struct Webhook {
    pub port: u16,
    bundle: String,
    /// The bodies that came, with their paths.
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Webhook {
    /// Starts it; `answer` makes the answer from path and body.
    pub async fn start(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Self {
        let (config, authority) = certificates(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let (answer, seen): (Arc<Answer>, _) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, log) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| serve(request, Arc::clone(&answer), Arc::clone(&log)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, bundle: STANDARD.encode(authority), seen }
    }

    /// A `clientConfig` that reaches it by URL.
    pub fn url(&self, path: &str) -> Value {
        json!({"url": format!("https://localhost:{}{path}", self.port), "caBundle": self.bundle})
    }

    /// A `clientConfig` that reaches it as the Service `hook` of the namespace `default`.
    pub fn service(&self, path: &str) -> Value {
        let service = json!({"namespace": "default", "name": "hook", "path": path, "port": self.port});
        json!({"service": service, "caBundle": self.bundle})
    }

    /// How many bodies came to a path.
    pub fn calls(&self, path: &str) -> usize {
        self.seen.lock().expect("seen").iter().filter(|(own, _)| own == path).count()
    }
}

async fn serve(
    request: Request<Incoming>,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    // What the server writes for itself, whenever that is, is nobody's question.
    if body["request"]["namespace"] == "kube-system" {
        return Ok(Response::new(Full::new(allow(&body).to_string().into())));
    }
    log.lock().expect("seen").push((path.clone(), body.clone()));
    if path == SILENT {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(Full::new(answer(&path, &body).to_string().into())))
}

/// A server's TLS settings and the authority of its certificate; with `clients`, none but those that they issued get in.
pub fn certificates(clients: Option<Arc<RootCertStore>>) -> (ServerConfig, String) {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("authority");
    let issuer = Issuer::from_params(&params, &key);
    let leaf_key = KeyPair::generate().expect("key");
    let names = ["localhost", "hook.default.svc"].map(str::to_owned);
    let leaf = CertificateParams::new(names).expect("names").signed_by(&leaf_key, &issuer).expect("leaf");
    let key = PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("key");
    let clients = match clients {
        Some(roots) => {
            WebPkiClientVerifier::builder_with_provider(roots, super::sockets::provider()).build().expect("roots")
        }
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let config = ServerConfig::builder_with_provider(super::sockets::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("certificate");
    (config, authority.pem())
}

/// The answer to an AdmissionReview.
pub fn review(question: &Value, mut response: Value) -> Value {
    response["uid"] = question["request"]["uid"].clone();
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

pub fn allow(question: &Value) -> Value {
    review(question, json!({"allowed": true}))
}

pub fn deny(question: &Value, why: &str) -> Value {
    review(question, json!({"allowed": false, "status": {"message": why, "code": 403, "reason": "Forbidden"}}))
}

pub fn patch(question: &Value, patch: Value) -> Value {
    let patch = STANDARD.encode(patch.to_string());
    review(question, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}
