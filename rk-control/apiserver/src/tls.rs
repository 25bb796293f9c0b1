//! TLS settings made from the PKI.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authn::ClientCertificates;
use crate::identity::Identity;
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

/// What a handshake needs of a certificate and its key; they must belong together.
pub(crate) fn certified(credential: &Credential, what: &'static str) -> Result<CertifiedKey, StartError> {
    let chain = CertificateDer::pem_slice_iter(credential.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(fault(what))?;
    let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).map_err(fault(what))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(refused(what))
}

/// Checks client certificates against the cluster's authority.
pub(crate) fn client_certificates(pki: &Pki) -> Result<ClientCertificates, StartError> {
    ClientCertificates::new(roots(pki)?, provider())
        .map_err(|source| StartError::Tls { what: "the authority's certificate", source: source.into() })
}

/// What this server shows of itself, each replaceable while it runs.
#[derive(Clone)]
pub(crate) struct Identities {
    serving: Arc<Identity>,
    kubelet_client: Arc<Identity>,
    /// Towards aggregated API servers.
    pub front_proxy: Arc<Identity>,
}

impl Identities {
    pub(crate) fn new(pki: &Pki) -> Result<Self, StartError> {
        Ok(Self {
            serving: Identity::new(&pki.serving, "the serving certificate")?,
            kubelet_client: Identity::new(&pki.kubelet_client, "the kubelet client certificate")?,
            front_proxy: Identity::new(&pki.front_proxy, "the front proxy's certificate")?,
        })
    }

    /// Shows the certificates of `pki` from now on.
    pub(crate) fn replace(&self, pki: &Pki) -> Result<(), StartError> {
        self.serving.replace(&pki.serving)?;
        self.kubelet_client.replace(&pki.kubelet_client)?;
        self.front_proxy.replace(&pki.front_proxy)
    }

    /// The serving side. Client certificates are asked for and checked after the handshake, so that a wrong one gets a `Status`.
    pub(crate) fn server_config(&self, certificates: Arc<ClientCertificates>) -> Result<ServerConfig, StartError> {
        let serving = Arc::clone(&self.serving);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused("the TLS library"))?
            .with_client_cert_verifier(certificates)
            .with_cert_resolver(serving);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The client side towards kubelets, trusting the cluster's authority alone.
    pub(crate) fn kubelet_config(&self, pki: &Pki) -> Result<ClientConfig, StartError> {
        let client = Arc::clone(&self.kubelet_client);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused("the TLS library"))?
            .with_root_certificates(roots(pki)?);
        Ok(builder.with_client_cert_resolver(client))
    }
}
