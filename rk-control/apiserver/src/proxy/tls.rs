//! TLS to pods and Services behind the proxy verbs: encrypted, but to whomever answers, as upstream does. Nobody signs what pods
//! serve with, and the server's own certificate is shown to kubelets alone.

use std::sync::{Arc, OnceLock};

use rk_api::status::Status;
use rustls::ClientConfig;

use crate::anybody::Anybody;

/// The settings, made once.
pub(super) fn to_anybody() -> Result<Arc<ClientConfig>, Status> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Status::internal(format!("no TLS to proxied backends: {error}")))?;
    let verifier = Arc::new(Anybody(provider));
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::super::dial::connect;
    use super::*;

    #[tokio::test]
    async fn a_backend_that_signed_its_own_certificate_is_spoken_to() {
        let own = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            stream.get_ref().1.peer_certificates().is_some()
        });
        let _sender = connect(address, Some(to_anybody().unwrap())).await.expect("a connection");
        assert!(!serving.await.unwrap(), "no certificate of the server's own is shown");
    }
}
