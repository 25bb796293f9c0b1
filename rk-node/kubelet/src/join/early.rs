//! A certificate that begins later than this node's clock says: a clock that was ahead has been set since.
//!
//! The cluster's own clock decides. Where the API server takes the certificate, this node's clock is behind and nothing is to be
//! done; where it does not, only the bootstrap token leads to another one.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::pki::Identity;
use super::{ApiLink, JoinError, Session, api_error, chain, csr};
use crate::Options;

/// Whether a certificate is not valid yet by this node's clock.
pub(super) fn is_early(identity: &Identity, now: Timestamp) -> bool {
    identity.not_before > now
}

/// Replaces a client certificate that begins too late, if the cluster refuses it, and tells what came of it.
pub(super) async fn tend(session: &Session, options: &Options, early: &Identity) {
    match replace_refused(session, options).await {
        Ok(true) => tracing::info!("the client certificate began too late for the cluster: another one was issued"),
        Ok(false) => {}
        Err(error) => tracing::warn!(
            begins = %early.not_before,
            "the client certificate is not valid yet, and there is no other: {}",
            chain(&error)
        ),
    }
}

/// Gets another client certificate by token if the API server does not take the one there is; answers whether it did.
async fn replace_refused(session: &Session, options: &Options) -> Result<bool, JoinError> {
    let nodes: Api<Node> = Api::all(session.client.clone());
    match nodes.get_opt(&options.node_name).await {
        Err(error) if api_error::code(&error) == Some(401) => {}
        _ => return Ok(false),
    }
    let token = options.cluster.token.as_deref().ok_or(JoinError::NoToken)?;
    let bootstrap = ApiLink::new(&options.cluster.endpoint, &session.ca_pem, None, Some(token))?;
    let identity = csr::request_client(&bootstrap.client(), &options.user()).await?;
    session.pki.store_client(&identity)?;
    session.link.replace_identity(&identity)?;
    Ok(true)
}
