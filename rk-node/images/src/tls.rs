//! How connections to registries are secured: whom a node trusts, and what it shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustls::{
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

use crate::config::Config;

/// A certificate that a node shows to a registry, with its key.
#[derive(Debug, Clone)]
pub struct ClientCertificate(Arc<SingleCertAndKey>);

impl ClientCertificate {
    /// A certificate, followed by those of its issuers, and its key. The error says what does not fit.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let made = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(SingleCertAndKey::from(made))))
    }
}

/// TLS by the host that is spoken to.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Of hosts that nothing is told about.
    any: TlsConnector,
    /// By `host:port`.
    own: Arc<BTreeMap<String, TlsConnector>>,
}

impl Tls {
    /// Connectors for all hosts and for each that the configuration names.
    ///
    /// # Errors
    /// TLS cannot be set up by this configuration.
    pub fn new(config: &Config) -> Result<Self, rustls::Error> {
        let trusted = config.host_roots.iter().map(|(host, _)| with_port(host));
        let shown = config.client_certificates.iter().map(|(host, _)| with_port(host));
        let hosts: BTreeSet<String> = trusted.chain(shown).collect();
        let mut own = BTreeMap::new();
        for host in hosts {
            let made = connector(config, &host)?;
            own.insert(host, made);
        }
        Ok(Self { any: connector(config, "")?, own: Arc::new(own) })
    }

    /// What to speak to `host[:port]` with.
    pub fn of(&self, authority: &str) -> TlsConnector {
        self.own.get(&with_port(authority)).unwrap_or(&self.any).clone()
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Trusts the public authorities, those that are told for all and those of this `host:port`, and shows what is for it.
fn connector(config: &Config, key: &str) -> Result<TlsConnector, rustls::Error> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(config.extra_roots.iter().cloned());
    for (_, own) in config.host_roots.iter().filter(|(host, _)| with_port(host) == key) {
        roots.add_parsable_certificates(own.iter().cloned());
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let shown = config.client_certificates.iter().find(|(host, _)| with_port(host) == key);
    let mut tls = match shown {
        Some((_, certificate)) => {
            let resolver: Arc<dyn ResolvesClientCert> = certificate.0.clone();
            builder.with_client_cert_resolver(resolver)
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// A host as the keys of [`Tls::own`] are written.
fn with_port(host: &str) -> String {
    let port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if port { host.to_owned() } else { format!("{host}:443") }
}
