//! Asking for certificates with CertificateSigningRequests (certificates.k8s.io/v1).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};
use rcgen::{CertificateParams, DnType, KeyPair};

use super::pki::{Identity, PkiError};

/// Signer of kubelet client certificates.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of kubelet serving certificates.
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// How long one request may wait for its certificate before a new one is filed, as upstream: somebody may have to approve it by hand.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(900);
/// Pauses between looks at the request: quick at first, because an automatic approver answers at once.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// The token or certificate was refused.
    #[error(
        "the API server refused our credentials (401 Unauthorized): the bootstrap token is wrong, expired or revoked; set cluster.token to a valid one"
    )]
    Unauthorized,
    /// The API server answered otherwise than expected.
    #[error("{action} the CertificateSigningRequest")]
    Api {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The request could not be made.
    #[error("making the certificate request")]
    Request(#[from] rcgen::Error),
    /// An approver said no.
    #[error("CertificateSigningRequest {name} was denied: {message}")]
    Denied {
        /// Which request.
        name: String,
        /// The approver's words.
        message: String,
    },
    /// Nobody signed it.
    #[error("CertificateSigningRequest {name} was not issued within {}s: approve it, or check that the signer runs", ISSUE_TIMEOUT.as_secs())]
    Timeout {
        /// Which request.
        name: String,
    },
    /// What was issued is not a certificate.
    #[error("the issued certificate cannot be used")]
    Pki(#[from] PkiError),
}

/// A new client identity for `user` (`system:node:<name>`).
pub async fn request_client(client: &kube::Client, user: &str) -> Result<Identity, CsrError> {
    let key = KeyPair::generate()?;
    let params = params(user, Vec::new())?;
    issue(client, &params, &key, CLIENT_SIGNER, &["digital signature", "client auth"]).await
}

/// A new serving identity for `user`, valid for `host` and `ips`.
pub async fn request_serving(
    client: &kube::Client,
    user: &str,
    host: &str,
    ips: &[IpAddr],
) -> Result<Identity, CsrError> {
    let key = KeyPair::generate()?;
    let mut names = vec![host.to_owned()];
    names.extend(ips.iter().map(ToString::to_string));
    let params = params(user, names)?;
    issue(client, &params, &key, SERVING_SIGNER, &["digital signature", "server auth"]).await
}

/// A certificate made by ourselves, for serving until the cluster's signer has answered.
pub fn self_signed_serving(user: &str, host: &str, ips: &[IpAddr]) -> Result<Identity, CsrError> {
    let key = KeyPair::generate()?;
    let mut names = vec![host.to_owned()];
    names.extend(ips.iter().map(ToString::to_string));
    let cert = params(user, names)?.self_signed(&key)?;
    Ok(Identity::new(cert.pem(), key.serialize_pem())?)
}

fn params(user: &str, names: Vec<String>) -> Result<CertificateParams, CsrError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, user);
    Ok(params)
}

async fn issue(
    client: &kube::Client,
    params: &CertificateParams,
    key: &KeyPair,
    signer: &str,
    usages: &[&str],
) -> Result<Identity, CsrError> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(params.serialize_request(key)?.pem()?.into_bytes()),
            signer_name: signer.into(),
            usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
            ..Default::default()
        },
        status: None,
    };
    let filed = api.create(&PostParams::default(), &request).await.map_err(|e| failed("creating", e))?;
    let name = filed.metadata.name.unwrap_or_default();
    let certificate = wait(&api, &name).await?;
    let cert_pem = String::from_utf8(certificate)
        .map_err(|e| PkiError::Malformed { what: "issued certificate", reason: e.to_string() })?;
    Ok(Identity::new(cert_pem, key.serialize_pem())?)
}

async fn wait(api: &Api<CertificateSigningRequest>, name: &str) -> Result<Vec<u8>, CsrError> {
    let deadline = Instant::now() + ISSUE_TIMEOUT;
    let mut pause = POLL.0;
    loop {
        match api.get(name).await {
            Ok(request) => {
                let status = request.status.unwrap_or_default();
                let refused = |c: &&k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition| {
                    (c.type_ == "Denied" || c.type_ == "Failed") && c.status == "True"
                };
                if let Some(no) = status.conditions.unwrap_or_default().iter().find(refused) {
                    return Err(CsrError::Denied {
                        name: name.into(),
                        message: no.message.clone().unwrap_or_default(),
                    });
                }
                if let Some(certificate) = status.certificate.filter(|c| !c.0.is_empty()) {
                    return Ok(certificate.0);
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(CsrError::Denied { name: name.into(), message: "it was deleted".into() });
            }
            Err(kube::Error::Api(status)) if status.code == 401 => return Err(CsrError::Unauthorized),
            // The API server may be restarting: the request itself is kept there.
            Err(error) => {
                tracing::debug!(name, "looking at the certificate request: {}", crate::api_error::chain(&error))
            }
        }
        if Instant::now() >= deadline {
            if let Err(error) = api.delete(name, &DeleteParams::default()).await {
                tracing::debug!(name, "removing the stale certificate request: {}", crate::api_error::chain(&error));
            }
            return Err(CsrError::Timeout { name: name.into() });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL.1);
    }
}

fn failed(action: &'static str, error: kube::Error) -> CsrError {
    match error {
        kube::Error::Api(status) if status.code == 401 => CsrError::Unauthorized,
        error => CsrError::Api { action, source: Box::new(error) },
    }
}
