//! A small registry over real sockets whose faults are chosen by the test.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// Layer transfers break after so many bytes.
    CutAfter {
        bytes: usize,
        times: u64,
        ranges: bool,
    },
    /// Layers have one bit flipped.
    Corrupt,
    /// Manifests come once this is no more so.
    Late,
    /// Layers come at 50 bytes a second.
    Drip,
    /// Layers stop to come after so many bytes.
    HoldAfter(usize),
    /// Who asks for a part of a layer gets nothing but this status.
    NoParts(StatusCode),
    /// Layers are at another registry.
    Elsewhere(SocketAddr),
    /// Who asks for anything the first time hears this status, and when to ask again.
    Busy(StatusCode, &'static str),
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

struct Held {
    content: HashMap<String, Bytes>,
    layers: Vec<String>,
    fault: Fault,
    guard: Option<(String, String)>,
    /// Where the answers to requests for layers were asked to begin.
    starts: Vec<usize>,
    /// What was asked for while it was busy.
    put_off: HashSet<String>,
}

pub struct Registry {
    pub address: SocketAddr,
    pub requests: Arc<AtomicU64>,
    pub cuts: Arc<AtomicU64>,
    held: Arc<Mutex<Held>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A tar of names (a trailing slash makes a directory), modes and contents.
pub fn layer(entries: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("name");
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).expect("append");
    }
    tar.into_inner().expect("tar")
}

impl Registry {
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Over TLS, with a certificate of its own for 127.0.0.1, which is returned.
    pub async fn start_tls() -> (Self, CertificateDer<'static>) {
        Self::start_tls_for(None).await
    }

    /// As [`Self::start_tls`]; with `client`, for nobody who does not show a certificate by that one's key.
    pub async fn start_tls_for(client: Option<CertificateDer<'static>>) -> (Self, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("certificate");
        let certificate = made.cert.der().clone();
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(client).expect("root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("verifier"))
            }
        };
        let config = builder.with_single_cert(vec![certificate.clone()], key).expect("TLS");
        (Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await, certificate)
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let held = Held {
            content: HashMap::new(),
            layers: Vec::new(),
            fault: Fault::None,
            guard: None,
            starts: Vec::new(),
            put_off: HashSet::new(),
        };
        let held = Arc::new(Mutex::new(held));
        let (requests, cuts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = (held.clone(), requests.clone(), cuts.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (held, requests, cuts) = shared.clone();
                let service = hyper::service::service_fn(move |request| {
                    let (held, cuts) = (held.clone(), cuts.clone());
                    requests.fetch_add(1, SeqCst);
                    async move { Ok::<_, Infallible>(answer(request, address, &held, &cuts).await) }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await.ok(),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await.ok(),
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, requests, cuts, held, task }
    }

    pub fn fault(&self, fault: Fault) {
        self.held.lock().expect("lock").fault = fault;
    }

    /// From which byte on layers were asked for, since the last time.
    pub fn starts(&self) -> Vec<usize> {
        std::mem::take(&mut self.held.lock().expect("lock").starts)
    }

    pub fn guard(&self, scheme: &str, user: &str, password: &str) {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        self.held.lock().expect("lock").guard = Some((scheme.to_owned(), basic));
    }

    pub fn image(&self, repository: &str, tag: &str, layers: &[Vec<u8>], config: &str) {
        let diff_ids: Vec<String> = layers.iter().map(|l| format!("{:?}", digest(l))).collect();
        self.put(repository, tag, layers, config, &diff_ids);
    }

    pub fn wrong_diff_ids(&self, repository: &str, tag: &str, layer: &[u8]) {
        self.put(repository, tag, &[layer.to_vec()], "{}", &[format!("{:?}", digest(b"something else"))]);
    }

    /// Layers are gzipped; the manifest stands behind an index as `docker buildx` makes it.
    fn put(&self, repository: &str, tag: &str, layers: &[Vec<u8>], config: &str, diff_ids: &[String]) {
        let mut held = self.held.lock().expect("lock");
        let mut descriptors = Vec::new();
        for layer in layers {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
            std::io::Write::write_all(&mut gz, layer).expect("gzip");
            let gz = gz.finish().expect("gzip");
            let name = digest(&gz);
            let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
            descriptors.push(format!(r#"{{"mediaType":"{kind}","digest":"{name}","size":{}}}"#, gz.len()));
            held.layers.push(name.clone());
            held.content.insert(format!("/v2/{repository}/blobs/{name}"), gz.into());
        }
        let config = format!(
            r#"{{"os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":{}}},"layers":[{}]}}"#,
            digest(config.as_bytes()),
            config.len(),
            descriptors.join(",")
        );
        held.content.insert(format!("/v2/{repository}/blobs/{}", digest(config.as_bytes())), config.into());
        for name in [tag, &digest(manifest.as_bytes())] {
            held.content.insert(format!("/v2/{repository}/manifests/{name}"), manifest.clone().into());
        }
    }
}

fn full(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let body = http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("response")
}

async fn answer(request: Request<Incoming>, me: SocketAddr, held: &Mutex<Held>, cuts: &AtomicU64) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let asked: usize = header("range").trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let (content, fault, guard, is_layer) = {
        let mut held = held.lock().expect("lock");
        let is_layer = held.layers.iter().any(|layer| path.ends_with(layer.as_str()));
        if is_layer {
            held.starts.push(asked);
        }
        (held.content.get(&path).cloned(), held.fault, held.guard.clone(), is_layer)
    };
    if let Fault::Busy(status, after) = fault
        && held.lock().expect("lock").put_off.insert(path.clone())
    {
        let mut response = full(status, Bytes::new());
        response.headers_mut().insert("retry-after", after.parse().expect("header"));
        return response;
    }
    if let Some((scheme, basic)) = guard {
        let given = header("authorization");
        if path == "/token" {
            return if given == basic {
                full(StatusCode::OK, r#"{"token":"t0ken"}"#.into())
            } else {
                full(StatusCode::UNAUTHORIZED, Bytes::new())
            };
        }
        let wanted = if scheme == "Bearer" { "Bearer t0ken".to_owned() } else { basic };
        if given != wanted {
            let mut response = full(StatusCode::UNAUTHORIZED, Bytes::new());
            let challenge =
                format!("{scheme} realm=\"http://{me}/token\",service=\"test\",scope=\"repository:app:pull\"");
            response.headers_mut().insert("www-authenticate", challenge.parse().expect("header"));
            return response;
        }
    }
    let Some(content) = content else {
        return full(
            StatusCode::NOT_FOUND,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.into(),
        );
    };
    match fault {
        Fault::Late if path.contains("/manifests/") => {
            while held.lock().expect("lock").fault == Fault::Late {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Fault::Drip if is_layer => return drip(content),
        Fault::HoldAfter(bytes) if is_layer => return hold(content, bytes),
        Fault::NoParts(status) if is_layer && asked > 0 => return full(status, Bytes::new()),
        Fault::Elsewhere(other) if is_layer => {
            let mut response = full(StatusCode::TEMPORARY_REDIRECT, Bytes::new());
            response.headers_mut().insert("location", format!("http://{other}{path}").parse().expect("header"));
            return response;
        }
        Fault::Corrupt if is_layer => {
            let mut bytes = content.to_vec();
            // Inside the stored file's content: the archive still reads well.
            let at = bytes.len() / 4;
            bytes[at] ^= 1;
            return full(StatusCode::OK, bytes.into());
        }
        Fault::CutAfter { bytes, times, ranges } if is_layer => {
            return cut(content, if ranges { asked } else { 0 }, bytes, cuts.fetch_add(1, SeqCst) < times, asked);
        }
        _ => {}
    }
    full(StatusCode::OK, content)
}

fn drip(content: Bytes) -> Response<Body> {
    let size = content.len();
    let frames = stream::unfold(content, |mut rest| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if rest.is_empty() {
            return None;
        }
        let byte = rest.split_to(1);
        Some((Ok::<_, std::io::Error>(Frame::data(byte)), rest))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Response::builder().header("content-length", size).body(body).expect("response")
}

fn hold(content: Bytes, bytes: usize) -> Response<Body> {
    let size = content.len();
    let first = stream::iter([Ok::<_, std::io::Error>(Frame::data(content.slice(..bytes)))]);
    let body = StreamBody::new(first.chain(stream::pending())).boxed_unsync();
    Response::builder().header("content-length", size).body(body).expect("response")
}

/// Sends from `start`; breaks after `bytes` new ones when asked to.
fn cut(content: Bytes, start: usize, bytes: usize, broken: bool, asked: usize) -> Response<Body> {
    let rest = content.slice(start..);
    let mut frames = vec![Ok(Frame::data(if broken {
        rest.slice(..(asked - start + bytes).min(rest.len()))
    } else {
        rest.clone()
    }))];
    if broken {
        frames.push(Err(std::io::Error::other("cut")));
    }
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let mut response = Response::builder().header("content-length", rest.len());
    if start > 0 {
        response = response
            .status(206)
            .header("content-range", format!("bytes {start}-{}/{}", content.len() - 1, content.len()));
    }
    response.body(body).expect("response")
}
