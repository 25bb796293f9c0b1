//! Client certificates: CN is the user, each O a group.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

use super::user::User;

/// Asks for client certificates and checks them against the cluster's authority.
///
/// The handshake itself accepts any certificate whose key the client holds: like upstream, a certificate of another authority
/// is answered with 401 in HTTP and not with a broken connection.
#[derive(Debug)]
pub struct ClientCertificates {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertificates {
    /// A checker for certificates below `roots`.
    ///
    /// # Errors
    /// The roots cannot be used.
    pub fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let inner = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated().build()?;
        Ok(Self { inner })
    }

    /// The user that a chain stands for, and until when, in seconds since 1970.
    ///
    /// # Errors
    /// The chain is not valid here and now.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<(User, i64), rustls::Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.inner.verify_client_cert(leaf, intermediates, UnixTime::now())?;
        let bad = || rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| bad())?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        if name.is_empty() {
            return Err(bad());
        }
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned);
        let mut user = User::new(name, groups);
        let credential = format!("X509SHA256={}", hex::encode(Sha256::digest(leaf)));
        user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![credential]);
        Ok((user, parsed.validity().not_after.timestamp()))
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // The chain is judged by `identify`, whose answer the client can read.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
