//! Who asks, and whether they may. Answers of the API server are remembered for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, header::AUTHORIZATION};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long answers hold, as upstream's webhook caches do.
const TOKEN_TTL: Duration = Duration::from_secs(120);
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers remembered; beyond it the memory is cleared.
const REMEMBERED: usize = 1024;

/// An authenticated client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Name.
    pub name: String,
    /// UID, when the API server told one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// The subject of a verified client certificate.
    pub fn of_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let text =
            |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        let name = cert.subject().iter_common_name().next().and_then(text)?;
        let mut groups: Vec<String> = cert.subject().iter_organization().filter_map(text).collect();
        groups.push("system:authenticated".into());
        Some(Self { name, uid: String::new(), groups })
    }
}

/// Which subresources of the node a request needs; any of them suffices (KEP-2862).
pub fn subresources(path: &str) -> &'static [&'static str] {
    let starts = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    if starts("/stats") {
        &["stats"]
    } else if starts("/metrics") {
        &["metrics"]
    } else if starts("/logs") {
        &["log"]
    } else if starts("/checkpoint") {
        &["checkpoint"]
    } else if starts("/statusz") {
        &["statusz"]
    } else if starts("/flagz") {
        // Upstream has no subresource of this name.
        &["configz"]
    } else if starts("/healthz") {
        &["healthz", "proxy"]
    } else if starts("/configz") {
        &["configz", "proxy"]
    } else if starts("/pods") || starts("/runningpods") {
        &["pods", "proxy"]
    } else {
        &["proxy"]
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// What a user is told who may not do this, in upstream's words.
pub fn refusal(user: &User, method: &Method, path: &str) -> String {
    let needed = subresources(path).join(" ");
    format!("Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{needed}])\n", user.name, verb(method))
}

type Memory<K, V> = Mutex<HashMap<K, (Instant, V)>>;
type Asked = (User, &'static str, &'static str);

/// Authenticator and authorizer.
pub struct Auth {
    client: kube::Client,
    node: String,
    tokens: Memory<[u8; 32], Option<User>>,
    answers: Memory<Asked, bool>,
}

impl Auth {
    /// For requests to `node`.
    pub fn new(client: kube::Client, node: String) -> Self {
        Self { client, node, tokens: Mutex::default(), answers: Mutex::default() }
    }

    /// The user of a request: of its certificate, else of its token.
    pub async fn user(&self, certificate: Option<&User>, headers: &HeaderMap) -> Result<Option<User>, kube::Error> {
        if let Some(user) = certificate {
            return Ok(Some(user.clone()));
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        let Some(token) = bearer.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some((at, user)) = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < TOKEN_TTL
        {
            return Ok(user.clone());
        }
        let review =
            TokenReview { spec: TokenReviewSpec { token: token.to_owned(), audiences: None }, ..Default::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|u| User {
            name: u.username.unwrap_or_default(),
            uid: u.uid.unwrap_or_default(),
            groups: u.groups.unwrap_or_default(),
        });
        remember(&self.tokens, key, user.clone());
        Ok(user)
    }

    /// Whether the user may do this.
    pub async fn allowed(&self, user: &User, method: &Method, path: &str) -> Result<bool, kube::Error> {
        for subresource in subresources(path) {
            if self.ask(user, verb(method), subresource).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn ask(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool, kube::Error> {
        let key = (user.clone(), verb, subresource);
        if let Some((at, allowed)) = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < if *allowed { ALLOWED_TTL } else { DENIED_TTL }
        {
            return Ok(*allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.into()),
                    name: Some(self.node.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let allowed = api.create(&PostParams::default(), &review).await?.status.is_some_and(|s| s.allowed);
        remember(&self.answers, key, allowed);
        Ok(allowed)
    }
}

fn remember<K: std::hash::Hash + Eq, V>(memory: &Memory<K, V>, key: K, value: V) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if memory.len() >= REMEMBERED {
        memory.clear();
    }
    memory.insert(key, (Instant::now(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_would_have_sufficed() {
        let user = User { name: "jane".into(), uid: String::new(), groups: Vec::new() };
        let told = refusal(&user, &Method::GET, "/pods");
        assert_eq!(told, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])\n");
    }

    #[test]
    fn paths_map_to_subresources() {
        for (path, want) in [
            ("/stats/summary", &["stats"][..]),
            ("/metrics", &["metrics"]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/pods", &["pods", "proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
            ("/checkpoint/a/b/c", &["checkpoint"]),
            ("/statusz", &["statusz"]),
            ("/flagz", &["configz"]),
            ("/configz", &["configz", "proxy"]),
        ] {
            assert_eq!(subresources(path), want, "{path}");
        }
    }
}
