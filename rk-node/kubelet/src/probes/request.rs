//! One GET over a connection that is there: in HTTP/1.1, or in HTTP/2 where a server has chosen that.

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Builder;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{HTTPGetAction, HTTPHeader};
use tokio_util::task::AbortOnDropHandle;

use super::target::Target;
use crate::wire::Wire;

/// What servers are offered that speak TLS.
pub const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// What such a server calls the second version.
pub const HTTP_2: &[u8] = b"h2";
/// What a request says of itself: an action does not say it for it.
const OWN: [&str; 4] = ["host", "content-length", "transfer-encoding", "trailer"];

/// An answer of which the head is here, and the connection that brings the body for as long as this is held.
pub type Begun = (Response<Incoming>, AbortOnDropHandle<hyper::Result<()>>);

/// What is asked, where, and by whom.
pub struct Question<'a> {
    /// What else is to be said.
    pub action: &'a HTTPGetAction,
    /// The host of the target.
    pub host: &'a str,
    /// Where on that host.
    pub target: &'a Target,
    /// Who asks, unless the action says otherwise.
    pub user_agent: &'a str,
}

fn is(header: &HTTPHeader, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

impl Question<'_> {
    /// For which host the request is: every request has one.
    fn authority(&self) -> String {
        let named = self.action.http_headers.iter().flatten().find(|header| is(header, "host"));
        let named = named.map(|header| header.value.clone()).filter(|value| !value.is_empty());
        named.unwrap_or_else(|| self.target.authority(self.host))
    }

    /// The request for `uri`, but for its host. An empty header takes the place of what is sent otherwise.
    fn request(&self, uri: &str) -> Builder {
        let usual = [("User-Agent", self.user_agent), ("Accept", "*/*")];
        let headers = || self.action.http_headers.iter().flatten();
        let mut request = Request::get(uri);
        for header in headers().filter(|header| !OWN.iter().any(|own| is(header, own))) {
            if !header.value.is_empty() || !usual.iter().any(|(name, _)| is(header, name)) {
                request = request.header(header.name.as_str(), header.value.as_str());
            }
        }
        for (name, value) in usual.into_iter().filter(|(name, _)| !headers().any(|header| is(header, name))) {
            request = request.header(name, value);
        }
        request
    }

    /// Asks in HTTP/1.1.
    pub async fn ask(&self, wire: Wire) -> Result<Begun, String> {
        let request = self.request(&self.target.path).header("Host", self.authority()).header("Connection", "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(wire).await.map_err(|e| e.to_string())?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection.boxed()));
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        Ok((response, driver))
    }

    /// Asks in HTTP/2.
    pub async fn ask_in_2(&self, wire: Wire) -> Result<Begun, String> {
        let uri = format!("{}://{}{}", self.target.scheme(), self.authority(), self.target.path);
        let request = self.request(&uri).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        let made = http2::handshake(TokioExecutor::new(), wire).await;
        let (mut sender, connection) = made.map_err(|e| e.to_string())?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection.boxed()));
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        Ok((response, driver))
    }
}
