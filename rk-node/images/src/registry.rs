//! One conversation with one endpoint: authentication, redirects, bounded documents.

use std::{
    sync::Mutex,
    time::{Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::{
    challenge::{self, Challenge},
    config::Auth,
    endpoint::Endpoint,
    error::{Error, Result},
    retry::{self, Patience},
    transport::Transport,
};

/// Registries redirect blobs to a store, which may redirect once more.
const MAX_REDIRECTS: usize = 5;
/// A token with many claims is a few KiB.
const MAX_TOKEN: usize = 1 << 20;
const AGENT: &str = concat!("rk/", env!("CARGO_PKG_VERSION"));

/// An endpoint with the authorization won so far.
pub(crate) struct Session {
    pub endpoint: Endpoint,
    transport: Transport,
    auth: Option<Auth>,
    authorization: Mutex<Option<HeaderValue>>,
    patience: Mutex<Patience>,
}

/// A request to a registry; always GET.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ask<'a> {
    pub accept: Option<&'a str>,
    /// Skip this many bytes.
    pub offset: u64,
}

impl Session {
    /// A session without authorization yet; `auth` is used when the registry asks.
    pub fn new(transport: Transport, endpoint: Endpoint, auth: Option<Auth>) -> Self {
        Self { endpoint, transport, auth, authorization: Mutex::new(None), patience: Mutex::new(Patience::new()) }
    }

    /// GETs `path` below the repository; follows challenges and redirects. `what` names the thing in errors. Where a part is refused, all of
    /// it is asked for: the answer's status tells which of the two it has.
    pub async fn get(&self, path: &str, what: &str, ask: Ask<'_>) -> Result<Response<Incoming>> {
        let response = self.authorized(path, ask).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && ask.offset > 0 {
            let whole = self.authorized(path, Ask { offset: 0, ..ask }).await?;
            return self.judge(whole, what).await;
        }
        self.judge(response, what).await
    }

    /// The answer to a request, asked again with authorization where there was a challenge.
    async fn authorized(&self, path: &str, ask: Ask<'_>) -> Result<Response<Incoming>> {
        let first = self.walk(path, ask).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        self.authenticate(first.headers()).await?;
        self.walk(path, ask).await
    }

    /// GETs a small document.
    pub async fn document(&self, path: &str, what: &str, accept: &str, limit: usize) -> Result<(HeaderMap, Bytes)> {
        let response = self.get(path, what, Ask { accept: Some(accept), offset: 0 }).await?;
        let headers = response.headers().clone();
        let body =
            tokio::time::timeout(self.transport.idle(), Limited::new(response.into_body(), limit).collect()).await;
        match body {
            Ok(Ok(body)) => Ok((headers, body.to_bytes())),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Error::Limit { what: what.to_owned(), limit: format!("document is larger than {limit} bytes") })
            }
            Ok(Err(error)) => Err(self.failed(format!("reading {what}: {error}"))),
            Err(_) => Err(self.failed(format!("reading {what}: timed out"))),
        }
    }

    /// An error of this endpoint.
    pub fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Registry { registry: self.endpoint.base.clone(), reason: reason.into() }
    }

    fn denied(&self, reason: impl Into<String>) -> Error {
        Error::Denied { registry: self.endpoint.base.clone(), reason: reason.into() }
    }

    /// Follows redirects; credentials never leave the endpoint's own host, and TLS is never left.
    async fn walk(&self, path: &str, ask: Ask<'_>) -> Result<Response<Incoming>> {
        let text = self.endpoint.url(path);
        let home: Uri = text.parse().map_err(|e| self.failed(format!("bad URL {text}: {e}")))?;
        let mut uri = home.clone();
        for _ in 0..=MAX_REDIRECTS {
            let same_host = uri.scheme() == home.scheme() && uri.authority() == home.authority();
            let response = self.send(self.request(&uri, ask, same_host)?).await.map_err(|e| self.failed(e))?;
            let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let next =
                        resolve(&uri, location).ok_or_else(|| self.failed(format!("bad redirect {location:?}")))?;
                    if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                        return Err(self.failed("refused a redirect from https to plain http"));
                    }
                    uri = next;
                }
                // Its challenge is not the registry's: whom it names would be told the credentials.
                (401, _) if !same_host => {
                    let host = uri.authority().map_or("", |authority| authority.as_str());
                    return Err(self.denied(format!("redirected to {host}, which wants authorization of its own")));
                }
                _ => return Ok(response),
            }
        }
        Err(self.failed(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Sends a request, and again where a busy host says when, as long as there is patience. The error is a sentence.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        loop {
            let response = self.transport.send(request.clone()).await?;
            let Some(wait) = retry::asked(response.status(), response.headers(), SystemTime::now()) else {
                return Ok(response);
            };
            if !self.patience.lock().unwrap_or_else(|e| e.into_inner()).grant(Instant::now(), wait) {
                return Ok(response);
            }
            tracing::info!(registry = %self.endpoint.base, ?wait, "a busy registry is left alone for a while");
            tokio::time::sleep(wait).await;
        }
    }

    fn request(&self, uri: &Uri, ask: Ask<'_>, same_host: bool) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::get(uri.clone()).header(USER_AGENT, AGENT);
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if ask.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.offset));
        }
        let authorization = self.authorization.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if let Some(value) = authorization.filter(|_| same_host) {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::default()).map_err(|e| self.failed(e.to_string()))
    }

    async fn judge(&self, response: Response<Incoming>, what: &str) -> Result<Response<Incoming>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let told = complaint(response).await;
        Err(match status {
            StatusCode::NOT_FOUND => Error::NotFound { what: what.to_owned() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(format!(
                "pull access denied for {}, repository does not exist or may require authorization{told}",
                self.endpoint.repository
            )),
            _ => self.failed(format!("unexpected status {status}{told} for {what}")),
        })
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<()> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let value = match (challenge::parse(challenges), &self.auth) {
            (_, Some(Auth::RegistryToken(token))) => format!("Bearer {token}"),
            (Some(Challenge::Basic), Some(Auth::Basic { username, password })) => basic(username, password),
            (Some(Challenge::Bearer { realm, service, scope }), auth) => {
                format!("Bearer {}", self.token(&realm, service, scope, auth.as_ref()).await?)
            }
            _ => return Err(self.denied("authorization required")),
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| self.denied("credentials hold characters that no header can"))?;
        value.set_sensitive(true);
        *self.authorization.lock().unwrap_or_else(|e| e.into_inner()) = Some(value);
        Ok(())
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        auth: Option<&Auth>,
    ) -> Result<String> {
        let fail = |reason: String| self.failed(format!("token from {realm}: {reason}"));
        let uri: Uri = realm.parse().map_err(|_| fail("bad realm".into()))?;
        if self.endpoint.base.starts_with("https:") && uri.scheme_str() != Some("https") {
            return Err(fail("refused: realm is not https".into()));
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.endpoint.repository));
        let mut query = vec![("scope", scope)];
        query.extend(service.map(|s| ("service", s)));
        let request = match auth {
            Some(Auth::IdentityToken(token)) => {
                query.extend([
                    ("grant_type", "refresh_token".into()),
                    ("client_id", "rk".into()),
                    ("refresh_token", token.clone()),
                ]);
                Request::post(uri)
                    .header(USER_AGENT, AGENT)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::from(form(&query)))
            }
            _ => {
                let glue = if uri.query().is_some() { '&' } else { '?' };
                let mut request = Request::get(format!("{realm}{glue}{}", form(&query))).header(USER_AGENT, AGENT);
                if let Some(Auth::Basic { username, password }) = auth {
                    request = request.header(AUTHORIZATION, basic(username, password));
                }
                request.body(Full::default())
            }
        };
        let response = self.send(request.map_err(|e| fail(e.to_string()))?).await.map_err(fail)?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(self.denied(format!("token from {realm}: {status}")));
        }
        if !status.is_success() {
            return Err(fail(format!("unexpected status {status}")));
        }
        let body =
            tokio::time::timeout(self.transport.idle(), Limited::new(response.into_body(), MAX_TOKEN).collect()).await;
        let body = body.map_err(|_| fail("timed out".into()))?.map_err(|e| fail(e.to_string()))?.to_bytes();
        let reply: TokenReply = serde_json::from_slice(&body).map_err(|_| fail("answer is not a token".into()))?;
        reply.token.or(reply.access_token).ok_or_else(|| fail("answer holds no token".into()))
    }
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Complaints {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

/// The registry's own words, bounded, with a leading `: `.
async fn complaint(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), 16 << 10).collect();
    let Ok(Ok(body)) = tokio::time::timeout(std::time::Duration::from_secs(2), body).await else {
        return String::new();
    };
    let told: Option<Complaints> = serde_json::from_slice(&body.to_bytes()).ok();
    let message = told.and_then(|t| t.errors.into_iter().next()).map(|e| e.message).unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    if message.is_empty() { message } else { format!(": {message}") }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn form(fields: &[(&str, String)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", percent(value))).collect();
    pairs.join("&")
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' => {
                out.push(char::from(b))
            }
            _ => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}

/// A `Location` relative to the URL that it came from.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", base.authority()?)
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{}{directory}/{location}", base.authority()?)
    };
    text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_their_page() {
        let base: Uri = "https://r.example:1/v2/a/blobs/x?q=1".parse().expect("uri");
        for (location, wanted) in [
            ("https://s3.example/b?sig=1", Some("https://s3.example/b?sig=1")),
            ("//cdn.example/b", Some("https://cdn.example/b")),
            ("/b", Some("https://r.example:1/b")),
            ("y", Some("https://r.example:1/v2/a/blobs/y")),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(resolve(&base, location).map(|u| u.to_string()).as_deref(), wanted);
        }
        assert_eq!(form(&[("a", "x y&z=ü".into())]), "a=x%20y%26z%3D%C3%BC");
    }
}
