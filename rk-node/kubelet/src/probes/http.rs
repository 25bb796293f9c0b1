//! HTTP GET, for probes and lifecycle hooks. Certificates are not checked: the peer is the pod itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};

use super::opening::Opening;
use super::request::{Begun, HTTP_2, PROTOCOLS, Question};
use super::target::{Target, is_redirect};
use super::tcp::os_text;
use crate::wire::wire;

/// No more of a body is read, as upstream does.
const MAX_BODY: usize = 10 * 1024;
/// Redirects within the pod are followed this often.
const MAX_REDIRECTS: usize = 10;
/// What is said of a server that does not answer in time.
const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
/// What is said of one that begins to.
const LATE_BODY: &str = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";

/// What a server says that was asked for TLS and knows none.
pub const PLAIN: &str = "http: server gave HTTP response to HTTPS client";

/// What came back.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Start of the body, or why that did not come.
    pub body: Result<String, String>,
}

/// The same request without TLS, and without what nobody on the way may read.
pub fn plain(action: &HTTPGetAction) -> HTTPGetAction {
    let mut action = HTTPGetAction { scheme: Some("HTTP".to_owned()), ..action.clone() };
    action.http_headers.iter_mut().for_each(|all| all.retain(|h| !h.name.eq_ignore_ascii_case("authorization")));
    action
}

/// One GET against `host:port` as the action says. Errors are texts in the words of an HTTP client.
pub async fn get(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    timeout: Duration,
    user_agent: &str,
) -> Result<Answer, String> {
    let mut path = action.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let mut target = Target { tls: action.scheme.as_deref() == Some("HTTPS"), port, path };
    let url = format!("{}://{}{}", target.scheme(), target.authority(host), target.path);
    let failed = |error: String| format!("Get \"{url}\": {error}");
    let deadline = Instant::now() + timeout;
    for _ in 0..MAX_REDIRECTS {
        let asked = timeout_at(deadline, once(action, host, &target, user_agent)).await;
        let (response, _connection) = asked.map_err(|_| failed(LATE.to_owned()))?.map_err(failed)?;
        let next = location(&response).and_then(|location| target.follow(location, host));
        let status = response.status().as_u16();
        // That of a redirect is read, too, whatever comes of it.
        let body = start_of(response, deadline).await;
        match next {
            Some(next) => target = next,
            None => return Ok(Answer { status, body }),
        }
    }
    Err(failed(format!("stopped after {MAX_REDIRECTS} redirects")))
}

/// Where an answer leads.
fn location(response: &Response<Incoming>) -> Option<&str> {
    let named = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    named.filter(|location| is_redirect(response.status()) && !location.is_empty())
}

async fn once(action: &HTTPGetAction, host: &str, target: &Target, user_agent: &str) -> Result<Begun, String> {
    let stream = super::tcp::connect(host, target.port).await?;
    let question = Question { action, host, target, user_agent };
    if !target.tls {
        return question.ask(wire(stream)).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    let connected = connector()?.connect(name, Opening::of(stream)).into_fallible().await;
    // Whatever else is no TLS may be anything: it is not asked without.
    let stream =
        connected.map_err(|(error, opening)| if opening.is_http() { PLAIN.to_owned() } else { error.to_string() })?;
    let chosen_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
    if chosen_2 { question.ask_in_2(wire(stream)).await } else { question.ask(wire(stream)).await }
}

fn connector() -> Result<tokio_rustls::TlsConnector, String> {
    static CONFIG: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut config = crate::join::any_server().map_err(|e| e.to_string())?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    });
    config.clone().map(tokio_rustls::TlsConnector::from)
}

/// The start of a body, at most [`MAX_BODY`] bytes: what follows is not waited for. An error when it breaks off before, or does not come
/// until `deadline`.
async fn start_of(response: Response<Incoming>, deadline: Instant) -> Result<String, String> {
    let has = |name| response.headers().contains_key(name);
    // It ends with its connection then, and few servers that speak TLS say so before they hang up.
    let ends_anyhow = !has(CONTENT_LENGTH) && !has(TRANSFER_ENCODING);
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < MAX_BODY {
        match timeout_at(deadline, body.frame()).await.map_err(|_| LATE_BODY.to_owned())? {
            Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) if !(ends_anyhow && is_end(&error)) => return Err(broken(&error)),
            Some(Err(_)) | None => break,
        }
    }
    read.truncate(MAX_BODY);
    Ok(String::from_utf8_lossy(&read).into_owned())
}

fn of_connection(error: &hyper::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the peer hung up.
fn is_end(error: &hyper::Error) -> bool {
    let ended = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
    error.is_incomplete_message() || of_connection(error).is_some_and(ended)
}

/// Why a body broke off.
fn broken(error: &hyper::Error) -> String {
    match of_connection(error) {
        _ if is_end(error) => "unexpected EOF".to_owned(),
        Some(problem) => format!("read: {}", os_text(problem)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::Request;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use rustls::crypto::ring::default_provider;
    use rustls_pki_types::PrivateKeyDer;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// A server with a certificate of its own for another name.
    fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Answers every request, with 200 where it is for `/healthz`.
    async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            let status = if head[..read].starts_with(b"GET /healthz ") { "200 OK" } else { "503 Service Unavailable" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }

    /// The head of the request that a probe with these headers sends.
    async fn sent(headers: serde_json::Value) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&head[..read]).to_lowercase().replace(&port.to_string(), "port")
        });
        let action = serde_json::from_value(json!({"port": port, "httpHeaders": headers})).unwrap();
        let answer = get(&action, "127.0.0.1", port, Duration::from_secs(20), "kube-probe/1.36").await;
        assert_eq!(answer.map(|answer| answer.status), Ok(200));
        server.await.unwrap()
    }

    #[tokio::test]
    async fn headers_are_as_asked_and_an_empty_one_takes_a_usual_one_away() {
        let usual = sent(json!([])).await;
        for header in
            ["get / http/1.1\r\n", "host: 127.0.0.1:port\r\n", "user-agent: kube-probe/1.36\r\n", "accept: */*\r\n"]
        {
            assert!(usual.contains(header), "{usual}");
        }
        let own = sent(json!([{"name": "Host", "value": "a.example"}, {"name": "X-Own", "value": "1"}, {"name": "x-own", "value": "2"},
            {"name": "User-Agent", "value": "mine"}, {"name": "host", "value": "b.example"}, {"name": "Content-Length", "value": "9"}]))
        .await;
        for header in ["host: a.example\r\n", "x-own: 1\r\n", "x-own: 2\r\n", "user-agent: mine\r\n", "accept: */*\r\n"]
        {
            assert!(own.contains(header), "{own}");
        }
        assert!(!own.contains("b.example") && !own.contains("content-length"), "{own}");
        let bare = sent(json!([{"name": "Host", "value": ""}, {"name": "User-Agent", "value": ""}, {"name": "Accept", "value": ""}])).await;
        assert!(bare.contains("host: 127.0.0.1:port\r\n"), "{bare}");
        assert!(!bare.contains("user-agent") && !bare.contains("accept"), "{bare}");
    }

    /// Takes a request and answers it with this; the connection stays open while the answer is held.
    async fn answered(listener: &TcpListener, answer: &[u8]) -> tokio::net::TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(answer).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn of_a_long_body_the_start_is_shown_and_its_end_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let torn = || Err("unexpected EOF".to_owned());
        for (promised, sent, shown) in [
            (Some(3 * MAX_BODY), 2 * MAX_BODY, Ok(MAX_BODY)),
            (Some(MAX_BODY + 1), MAX_BODY, Ok(MAX_BODY)),
            (Some(MAX_BODY), MAX_BODY - 1, torn()),
            (Some(100), 40, torn()),
            (Some(7), 7, Ok(7)),
            (None, 40, Ok(40)),
        ] {
            let answer = async {
                let length = promised.map(|bytes| format!("content-length: {bytes}\r\n")).unwrap_or_default();
                let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n");
                let stream = answered(&listener, &[head.as_bytes(), vec![b'x'; sent].as_slice()].concat()).await;
                // What is not sent never comes; only one that is short ends by that.
                Some(stream).filter(|_| sent > MAX_BODY)
            };
            let (_open, got) = tokio::join!(answer, ask("HTTP", "/", port));
            assert_eq!(got.unwrap().body.map(|body| body.len()), shown, "{sent} of {promised:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_in_time_is_told_apart_from_a_server_that_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { tls: false, port: listener.local_addr().unwrap().port(), path: "/".to_owned() };
        let (action, answer) = (HTTPGetAction::default(), b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx");
        let (_open, begun) =
            tokio::join!(answered(&listener, answer), once(&action, "127.0.0.1", &target, "kube-probe/1.36"));
        let (response, _connection) = begun.unwrap();
        assert_eq!(start_of(response, Instant::now()).await, Err(LATE_BODY.to_owned()));
    }

    #[tokio::test]
    async fn a_redirect_is_followed_though_its_body_breaks_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = async {
            answered(&listener, b"HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 9\r\n\r\nx").await;
            answered(&listener, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine").await;
        };
        let ((), got) = tokio::join!(answers, ask("HTTP", "/", port));
        assert_eq!(got.map(|answer| (answer.status, answer.body)), Ok((200, Ok("fine".to_owned()))));
    }

    async fn ask(scheme: &str, path: &str, port: u16) -> Result<Answer, String> {
        let action = json!({"scheme": scheme, "path": path, "port": port});
        let action: HTTPGetAction = serde_json::from_value(action).unwrap();
        get(&action, "127.0.0.1", port, Duration::from_secs(20), "kube-probe/1.36").await
    }

    #[tokio::test]
    async fn https_asks_a_server_whoever_vouches_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve(listener, acceptor(&[b"http/1.1"]))));
        let good = ask("HTTPS", "/healthz", port).await.unwrap();
        assert_eq!((good.status, good.body.as_deref()), (200, Ok("fine")));
        assert_eq!(ask("HTTPS", "/other", port).await.unwrap().status, 503);
        let plain = ask("HTTP", "/healthz", port).await.err().expect("the server speaks TLS alone");
        assert!(plain.starts_with(&format!("Get \"http://127.0.0.1:{port}/healthz\": ")), "{plain}");
    }

    #[tokio::test]
    async fn a_server_that_chooses_http_2_is_asked_in_that() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, mut heard) = tokio::sync::mpsc::channel(1);
        let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor(&[HTTP_2]).accept(stream).await.unwrap();
            let answer = move |request: Request<Incoming>| {
                let told = (request.uri().to_string(), request.version(), request.headers().clone());
                tell.try_send(told).unwrap();
                let fine = Full::new(bytes::Bytes::from_static(b"fine"));
                std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(fine)))
            };
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer)).await;
        }));
        let headers = json!([{"name": "Host", "value": "a.example"}, {"name": "X-Own", "value": "1"}]);
        let action = json!({"scheme": "HTTPS", "path": "/healthz?a=b", "port": port, "httpHeaders": headers});
        let action: HTTPGetAction = serde_json::from_value(action).unwrap();
        let good = get(&action, "127.0.0.1", port, Duration::from_secs(20), "kube-probe/1.36").await.unwrap();
        assert_eq!((good.status, good.body.as_deref()), (200, Ok("fine")));
        let (uri, version, headers) = heard.recv().await.unwrap();
        assert_eq!((uri.as_str(), version), ("https://a.example/healthz?a=b", hyper::Version::HTTP_2));
        for (name, want) in [
            ("x-own", Some("1")),
            ("user-agent", Some("kube-probe/1.36")),
            ("accept", Some("*/*")),
            ("host", None),
            ("connection", None),
        ] {
            assert_eq!(headers.get(name).and_then(|value| value.to_str().ok()), want, "{name}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_length_ends_though_its_server_hangs_up_without_a_word() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor(&[]).accept(stream).await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfine").await.unwrap();
            // TLS would be told of the end by a shutdown.
            stream.flush().await.unwrap();
        };
        let ((), got) = tokio::join!(answering, ask("HTTPS", "/", port));
        assert_eq!(got.unwrap().body.as_deref(), Ok("fine"));
    }

    #[tokio::test]
    async fn only_an_answer_in_http_says_that_a_server_knows_no_tls() {
        for (says, plain) in [("HTTP/1.1 400 Bad Request\r\n\r\n", true), ("SSH-2.0-other\r\n", false), ("", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let read = stream.read(&mut [0; 8192]).await.unwrap();
                stream.write_all(says.as_bytes()).await.unwrap();
                read
            });
            let error = ask("HTTPS", "/", port).await.err().expect("there is no TLS");
            assert_eq!(error.ends_with(PLAIN), plain, "{says:?}: {error}");
            assert!(server.await.unwrap() > 0);
        }
    }
}
