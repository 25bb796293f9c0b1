//! HTTP GET, for probes and lifecycle hooks. Certificates are not checked: the peer is the pod itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::opening::Opening;

/// A body says little beyond this in an event.
const MAX_BODY: usize = 10 * 1024;
/// Redirects within the pod are followed this often.
const MAX_REDIRECTS: usize = 10;

/// What a server says that was asked for TLS and knows none.
pub const PLAIN: &str = "http: server gave HTTP response to HTTPS client";

/// What came back.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Start of the body.
    pub body: String,
}

/// Where on its host a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    port: u16,
    path: String,
}

impl Target {
    fn authority(&self, host: &str) -> String {
        authority(host, self.port)
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Where a redirect leads that stays on this host. Others end the probe with the redirect itself.
    fn follow(&self, location: &str, host: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()), host);
        }
        if location.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?'])) {
            return Self::parse(location, host);
        }
        let base = self.path.split('?').next().unwrap_or_default();
        let dir = base.rsplit_once('/').map_or("", |(dir, _)| dir);
        let path = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{base}{location}"),
            Some(_) => format!("{dir}/{location}"),
            None => self.path.clone(),
        };
        Some(Self { path: resolved(&path), ..self.clone() })
    }

    fn parse(url: &str, host: &str) -> Option<Self> {
        let uri: hyper::Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let stays = uri.host()?.trim_start_matches('[').trim_end_matches(']').eq_ignore_ascii_case(host);
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        stays.then_some(Self { tls, port, path })
    }
}

/// Answers that lead elsewhere by what they name; others of their class are answers in themselves.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn resolved(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut kept = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

/// A host with a port, as URLs have it.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
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
    let exchange = async {
        for _ in 0..MAX_REDIRECTS {
            let (answer, location) = once(action, host, &target, user_agent).await?;
            match location.as_deref().and_then(|location| target.follow(location, host)) {
                Some(next) => target = next,
                None => return Ok(answer),
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
        Err(_) => {
            Err(format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

async fn once(
    action: &HTTPGetAction,
    host: &str,
    target: &Target,
    user_agent: &str,
) -> Result<(Answer, Option<String>), String> {
    let stream = super::tcp::connect(host, target.port).await?;
    let authority = target.authority(host);
    if target.tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let connected = connector()?.connect(name, Opening::of(stream)).into_fallible().await;
        // Whatever else is no TLS may be anything: it is not asked without.
        let stream = connected
            .map_err(|(error, opening)| if opening.is_http() { PLAIN.to_owned() } else { error.to_string() })?;
        exchange(action, stream, &authority, &target.path, user_agent).await
    } else {
        exchange::<TcpStream>(action, stream, &authority, &target.path, user_agent).await
    }
}

fn connector() -> Result<tokio_rustls::TlsConnector, String> {
    static CONFIG: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| crate::join::any_server().map(Arc::new).map_err(|e| e.to_string()));
    config.clone().map(tokio_rustls::TlsConnector::from)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    action: &HTTPGetAction,
    stream: S,
    authority: &str,
    path: &str,
    user_agent: &str,
) -> Result<(Answer, Option<String>), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::get(path);
    let mut has = (false, false, false);
    for header in action.http_headers.iter().flatten() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let (host, agent, accept) = (is("host"), is("user-agent"), is("accept"));
        // An empty one takes the place of what is sent otherwise, but for the host: every request has one.
        has = (has.0 || (host && !header.value.is_empty()), has.1 || agent, has.2 || accept);
        if header.value.is_empty() && (host || agent || accept) {
            continue;
        }
        request = request.header(header.name.as_str(), header.value.as_str());
    }
    if !has.0 {
        request = request.header("Host", authority);
    }
    if !has.1 {
        request = request.header("User-Agent", user_agent);
    }
    if !has.2 {
        request = request.header("Accept", "*/*");
    }
    let request =
        request.header("Connection", "close").body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let named = response.headers().get("location").and_then(|location| location.to_str().ok());
    let location = named.filter(|location| is_redirect(status) && !location.is_empty()).map(str::to_owned);
    let body = start_of(response.into_body()).await;
    Ok((Answer { status: status.as_u16(), body }, location))
}

/// The start of a body, at most [`MAX_BODY`] bytes: what follows is not waited for, and one that breaks off before was that short.
async fn start_of(mut body: Incoming) -> String {
    let mut read = Vec::new();
    while read.len() < MAX_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    read.truncate(MAX_BODY);
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;
    use rustls_pki_types::PrivateKeyDer;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// A server with a certificate of its own for another name.
    fn acceptor() -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
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

    #[test]
    fn a_redirect_is_followed_as_long_as_it_stays_on_its_host() {
        let at = |tls: bool, port: u16, path: &str| Target { tls, port, path: path.to_owned() };
        let here = at(false, 8080, "/a/b?c=d");
        for (location, want) in [
            ("/healthz", Some(at(false, 8080, "/healthz"))),
            ("/x?to=http://other/", Some(at(false, 8080, "/x?to=http://other/"))),
            ("e", Some(at(false, 8080, "/a/e"))),
            ("../e/./f?g=../h", Some(at(false, 8080, "/e/f?g=../h"))),
            ("/x/..", Some(at(false, 8080, "/"))),
            ("/../x/.", Some(at(false, 8080, "/x/"))),
            ("#top", Some(at(false, 8080, "/a/b?c=d"))),
            ("?e=f", Some(at(false, 8080, "/a/b?e=f"))),
            ("http://10.0.0.1:8080/x#y", Some(at(false, 8080, "/x"))),
            ("https://10.0.0.1/x?y=z", Some(at(true, 443, "/x?y=z"))),
            ("//10.0.0.1:81", Some(at(false, 81, "/"))),
            ("http://0.0.0.0/", None),
            ("http://10.0.0.1.example/", None),
            ("ftp://10.0.0.1/", None),
            ("http://", None),
        ] {
            assert_eq!(here.follow(location, "10.0.0.1"), want, "{location}");
        }
        let leads = |code: u16| is_redirect(StatusCode::from_u16(code).unwrap());
        assert!([301, 302, 303, 307, 308].into_iter().all(leads) && ![200, 300, 304].into_iter().any(leads));
        let six = at(true, 443, "/");
        assert_eq!(six.follow("https://[fd00::1]:8443/x", "fd00::1"), Some(at(true, 8443, "/x")));
        assert_eq!(six.authority("fd00::1"), "[fd00::1]:443");
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
            {"name": "User-Agent", "value": "mine"}]))
        .await;
        for header in ["host: a.example\r\n", "x-own: 1\r\n", "x-own: 2\r\n", "user-agent: mine\r\n", "accept: */*\r\n"]
        {
            assert!(own.contains(header), "{own}");
        }
        let bare = sent(json!([{"name": "Host", "value": ""}, {"name": "User-Agent", "value": ""}, {"name": "Accept", "value": ""}])).await;
        assert!(bare.contains("host: 127.0.0.1:port\r\n"), "{bare}");
        assert!(!bare.contains("user-agent") && !bare.contains("accept"), "{bare}");
    }

    #[tokio::test]
    async fn of_a_long_body_the_start_is_shown_and_its_end_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (promised, sent, shown) in [(3 * MAX_BODY, 2 * MAX_BODY, MAX_BODY), (100, 40, 40), (7, 7, 7)] {
            let answer = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {promised}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), vec![b'x'; sent].as_slice()].concat()).await.unwrap();
                // What is not sent never comes; only one that is short ends by that.
                Some(stream).filter(|_| sent > MAX_BODY)
            };
            let (_open, got) = tokio::join!(answer, ask("HTTP", "/", port));
            assert_eq!(got.map(|answer| answer.body.len()), Ok(shown), "{sent} of {promised}");
        }
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
        let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve(listener, acceptor())));
        let good = ask("HTTPS", "/healthz", port).await.unwrap();
        assert_eq!((good.status, good.body.as_str()), (200, "fine"));
        assert_eq!(ask("HTTPS", "/other", port).await.unwrap().status, 503);
        let plain = ask("HTTP", "/healthz", port).await.err().expect("the server speaks TLS alone");
        assert!(plain.starts_with(&format!("Get \"http://127.0.0.1:{port}/healthz\": ")), "{plain}");
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
