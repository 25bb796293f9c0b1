//! HTTP GET, for probes and lifecycle hooks. Certificates are not checked: the peer is the pod itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A body says little beyond this in an event.
const MAX_BODY: usize = 10 * 1024;
/// Redirects within the pod are followed this often.
const MAX_REDIRECTS: usize = 10;

/// What came back.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Start of the body.
    pub body: String,
}

/// One GET against `host:port` as the action says. Errors are texts in the words of an HTTP client.
pub async fn get(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    timeout: Duration,
    user_agent: &str,
) -> Result<Answer, String> {
    let tls = action.scheme.as_deref() == Some("HTTPS");
    let scheme = if tls { "https" } else { "http" };
    let mut path = action.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("{scheme}://{authority}{path}");
    let exchange = async {
        for _ in 0..MAX_REDIRECTS {
            let (answer, location) = once(action, tls, host, port, &authority, &path, user_agent).await?;
            match location.as_deref().and_then(|l| same_host(l, &authority)) {
                Some(next) => path = next,
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

/// The path of a redirect that stays on this server. Others end the probe with the 3xx itself, which counts as good.
fn same_host(location: &str, authority: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(location.to_owned());
    }
    let uri: hyper::Uri = location.parse().ok()?;
    (uri.authority()?.as_str() == authority).then(|| uri.path_and_query().map_or("/".into(), |p| p.as_str().to_owned()))
}

async fn once(
    action: &HTTPGetAction,
    tls: bool,
    host: &str,
    port: u16,
    authority: &str,
    path: &str,
    user_agent: &str,
) -> Result<(Answer, Option<String>), String> {
    let stream = super::tcp::connect(host, port).await?;
    if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let stream = connector()?.connect(name, stream).await.map_err(|e| e.to_string())?;
        exchange(action, stream, authority, path, user_agent).await
    } else {
        exchange::<TcpStream>(action, stream, authority, path, user_agent).await
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
        has.0 |= header.name.eq_ignore_ascii_case("host");
        has.1 |= header.name.eq_ignore_ascii_case("user-agent");
        has.2 |= header.name.eq_ignore_ascii_case("accept");
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
    let location = if status.is_redirection() {
        response.headers().get("location").and_then(|l| l.to_str().ok()).map(str::to_owned)
    } else {
        None
    };
    // A body over the limit is cut, not an error: only its start is shown.
    let body = match Limited::new(response.into_body(), MAX_BODY).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    Ok((Answer { status: status.as_u16(), body }, location))
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
}
