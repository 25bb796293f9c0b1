//! TLS settings made from the PKI.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authn::ClientCertificates;
use crate::pki::{Credential, Pki};
use crate::server::StartError;

fn fault(what: &'static str) -> impl FnOnce(rustls_pki_types::pem::Error) -> StartError {
    move |source| StartError::Tls { what, source: source.into() }
}

fn refused(what: &'static str) -> impl FnOnce(rustls::Error) -> StartError {
    move |source| StartError::Tls { what, source: source.into() }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(pki: &Pki) -> Result<Arc<RootCertStore>, StartError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki.ca_certificate().as_bytes()) {
        roots
            .add(certificate.map_err(fault("the authority's certificate"))?)
            .map_err(refused("the authority's certificate"))?;
    }
    Ok(Arc::new(roots))
}

pub(crate) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(credential: &Credential, what: &'static str) -> Result<Pair, StartError> {
    let chain = CertificateDer::pem_slice_iter(credential.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(fault(what))?;
    let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).map_err(fault(what))?;
    Ok((chain, key))
}

/// Checks client certificates against the cluster's authority.
pub(crate) fn client_certificates(pki: &Pki) -> Result<ClientCertificates, StartError> {
    ClientCertificates::new(roots(pki)?, provider())
        .map_err(|source| StartError::Tls { what: "the authority's certificate", source: source.into() })
}

/// The serving side. Client certificates are asked for and checked after the handshake, so that a wrong one gets a `Status`.
pub(crate) fn server_config(pki: &Pki, certificates: Arc<ClientCertificates>) -> Result<ServerConfig, StartError> {
    let (chain, key) = pair(&pki.serving, "the serving certificate")?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused("the TLS library"))?
        .with_client_cert_verifier(certificates)
        .with_single_cert(chain, key)
        .map_err(refused("the serving certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What identifies this server to aggregated API servers.
pub(crate) fn front_proxy(pki: &Pki) -> Result<Pair, StartError> {
    pair(&pki.front_proxy, "the front proxy's certificate")
}

/// The client side towards kubelets.
pub(crate) fn kubelet_config(pki: &Pki) -> Result<ClientConfig, StartError> {
    let (chain, key) = pair(&pki.kubelet_client, "the kubelet client certificate")?;
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused("the TLS library"))?
        .with_root_certificates(roots(pki)?)
        .with_client_auth_cert(chain, key)
        .map_err(refused("the kubelet client certificate"))
}
