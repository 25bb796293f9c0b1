//! Becoming a member of the cluster, as `kubeadm join` does: trust the CA by its pin, authenticate with a bootstrap token,
//! have a certificate signed, go on with it, and renew it in time.

mod csr;
mod discovery;
mod early;
mod link;
mod operator;
mod pki;
mod rotate;
mod tls;

use std::time::Duration;

use kube::Client;

pub use csr::CsrError;
pub use discovery::DiscoveryError;
pub use link::ApiLink;
pub(crate) use link::{WebConnector, web_connector};
pub use operator::OperatorError;
pub use pki::{Pki, PkiError};
pub use rotate::{initial_serving, rotate_client, rotate_serving};
pub(crate) use tls::{ServingCert, any_server, roots as server_roots};

use crate::Options;
pub(crate) use crate::api_error::{self, chain};

/// First and longest pause between two attempts to join.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A control plane that boots beside the node is expected to need a few tries.
const QUIET_FAILURES: u32 = 2;

/// Why joining failed this time.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The cluster's CA could not be found or trusted.
    #[error("cannot establish trust in the cluster")]
    Discovery(#[from] DiscoveryError),
    /// No certificate was issued.
    #[error("cannot get a client certificate")]
    Csr(#[from] CsrError),
    /// The state directory cannot be used.
    #[error("cannot use the certificate store")]
    Pki(#[from] PkiError),
    /// The token is missing though it is needed.
    #[error("the node has no certificate yet and no bootstrap token: set cluster.token")]
    NoToken,
    /// The client for the API server cannot be built.
    #[error("cannot build the API client")]
    Link(#[from] link::LinkError),
}

/// A node that has joined: a client that authenticates as the node, and what is needed to renew it.
#[derive(Clone)]
pub struct Session {
    /// Client for the API server, as `system:node:<name>`.
    pub client: Client,
    /// The connection behind `client`; its certificate can be replaced.
    pub link: ApiLink,
    /// The cluster's CA bundle, PEM.
    pub ca_pem: String,
    /// Where certificates are kept.
    pub pki: Pki,
}

impl JoinError {
    /// Whether waiting cannot help: somebody must change the configuration or the cluster.
    fn is_refusal(&self) -> bool {
        use DiscoveryError::{NoPin, Pin};
        matches!(
            self,
            Self::NoToken
                | Self::Csr(CsrError::Unauthorized | CsrError::Denied { .. })
                | Self::Discovery(Pin(_) | NoPin)
        )
    }

    /// What somebody can do about an answer of the API server, or about none.
    fn remedy(&self) -> Option<&'static str> {
        match (self, api_error::code(self)) {
            (Self::Discovery(DiscoveryError::Api(_)), Some(401 | 403)) => {
                Some("let everyone read it, as bootstrapping needs (Role kubeadm:bootstrap-signer-clusterinfo)")
            }
            (Self::Discovery(DiscoveryError::Api(_)), Some(404)) => {
                Some("cluster.endpoint may be another cluster's, or one that takes no nodes by token")
            }
            (Self::Csr(CsrError::Api { .. }), Some(403)) => {
                Some("the token's group needs ClusterRole system:node-bootstrapper")
            }
            (Self::Discovery(DiscoveryError::Api(_)), None) => Some("check cluster.endpoint and the way to it"),
            _ => None,
        }
    }
}

/// Joins the cluster, retrying with back-off until it succeeds. Each failure is one log line with its causes.
pub async fn join(options: &Options) -> Session {
    let mut pause = BACK_OFF.0;
    let mut failures = 0_u32;
    loop {
        match join_once(options).await {
            Ok(session) => return session,
            Err(error) => {
                failures += 1;
                let (endpoint, mut cause) = (&options.cluster.endpoint, chain(&error));
                if let Some(remedy) = error.remedy() {
                    cause = format!("{cause}; {remedy}");
                }
                if error.is_refusal() || failures > QUIET_FAILURES {
                    tracing::error!(%endpoint, retry_in = ?pause, "cannot join the cluster: {cause}");
                } else {
                    tracing::info!(%endpoint, retry_in = ?pause, "cannot join the cluster yet: {cause}");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
    }
}

async fn join_once(options: &Options) -> Result<Session, JoinError> {
    let pki = Pki::open(&options.dirs.pki)?;
    if let Some((ca_pem, identity)) = pki.load_member(&options.user(), options.cluster.ca_hash.as_deref())? {
        let link = ApiLink::new(&options.cluster.endpoint, &ca_pem, Some(&identity), None)?;
        tracing::info!(not_after = %identity.not_after, "using the stored client certificate");
        return Ok(Session { client: link.client(), link, ca_pem, pki });
    }
    let ca_pem = discovery::discover(&options.cluster).await?;
    let token = options.cluster.token.as_deref().ok_or(JoinError::NoToken)?;
    let bootstrap = ApiLink::new(&options.cluster.endpoint, &ca_pem, None, Some(token))?;
    let identity = csr::request_client(&bootstrap.client(), &options.user()).await?;
    pki.store_member(&ca_pem, &identity)?;
    tracing::info!(user = %options.user(), not_after = %identity.not_after, "joined: the client certificate was issued");
    let link = ApiLink::new(&options.cluster.endpoint, &ca_pem, Some(&identity), None)?;
    Ok(Session { client: link.client(), link, ca_pem, pki })
}
