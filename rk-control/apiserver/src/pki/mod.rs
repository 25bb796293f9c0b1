//! The cluster's public key infrastructure on disk: one authority, the API server's certificates, and the service account key.
//!
//! Everything lives below one directory in the names that kubeadm uses, so that an administrator can bring their own authority
//! (`ca.crt` and `ca.key`) and find the rest. Private files are mode 0600 and are replaced atomically.

mod authority;
mod encryption;
mod files;
mod kubeconfig;
mod sans;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::ExtendedKeyUsagePurpose;
use rustls_pki_types::CertificateDer;

pub use authority::Authority;
pub use encryption::encryption_keys;
pub use kubeconfig::{Kubeconfig, Login};
pub use sans::ServingNames;

/// The name in the front proxy's certificate, by which aggregated API servers know it.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// Why the PKI directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot {action} {path}; check the data directory's permissions and free space")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what its name promises.
    #[error("{path} does not hold a usable {what}; replace it, or remove it to have another one made")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate or key could not be made.
    #[error("cannot make the {what}")]
    Make {
        /// What was being made.
        what: &'static str,
        /// The crypto library's answer.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate chain with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PKCS#8 PEM.
    pub key: String,
}

/// What the API server needs of the PKI, loaded or made.
pub struct Pki {
    dir: PathBuf,
    /// The cluster's certificate authority.
    pub authority: Authority,
    /// The API server's serving certificate.
    pub serving: Credential,
    /// The API server's client certificate towards kubelets.
    pub kubelet_client: Credential,
    /// The API server's client certificate towards aggregated API servers.
    pub front_proxy: Credential,
    front_proxies: Authority,
    /// The administrator's client certificate.
    pub admin: Credential,
    /// The key that signs service account tokens, PKCS#8 PEM (ECDSA P-256).
    pub service_account_key: String,
}

impl Pki {
    /// Loads the directory's contents and makes what is missing; a certificate is also remade when it lacks a name that it must carry
    /// or runs out within thirty days.
    ///
    /// # Errors
    /// [`PkiError`] names the file and the remedy.
    pub fn load_or_create(dir: &Path, names: &ServingNames) -> Result<Self, PkiError> {
        files::create_dir(dir)?;
        let authority = Authority::load_or_create(dir, "ca", "kubernetes")?;
        let front_proxies = Authority::load_or_create(dir, "front-proxy-ca", "front-proxy-ca")?;
        let service_account_key = load_or_make_service_account_key(dir)?;
        Self::issue(dir, authority, front_proxies, service_account_key, names)
    }

    /// The same authorities and keys, with certificates that last: read again, and remade as at a start. An authority that was exchanged
    /// on disk counts from the next start on.
    ///
    /// # Errors
    /// [`PkiError`] names the file and the remedy.
    pub fn renewed(&self, names: &ServingNames) -> Result<Self, PkiError> {
        let key = self.service_account_key.clone();
        Self::issue(&self.dir, self.authority.clone(), self.front_proxies.clone(), key, names)
    }

    fn issue(
        dir: &Path,
        authority: Authority,
        front_proxies: Authority,
        service_account_key: String,
        names: &ServingNames,
    ) -> Result<Self, PkiError> {
        let serving = load_or_issue(dir, "apiserver", &authority, Some(names), || {
            authority.issue("kube-apiserver", &[], names.clone(), ExtendedKeyUsagePurpose::ServerAuth)
        })?;
        let client = |file: &str, user: &'static str| {
            load_or_issue(dir, file, &authority, None, || {
                authority.issue(user, &["system:masters"], ServingNames::default(), ExtendedKeyUsagePurpose::ClientAuth)
            })
        };
        let kubelet_client = client("apiserver-kubelet-client", "kube-apiserver-kubelet-client")?;
        let admin = client("admin", "kubernetes-admin")?;
        let front_proxy = load_or_issue(dir, FRONT_PROXY, &front_proxies, None, || {
            front_proxies.issue(FRONT_PROXY, &[], ServingNames::default(), ExtendedKeyUsagePurpose::ClientAuth)
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            authority,
            serving,
            kubelet_client,
            front_proxy,
            front_proxies,
            admin,
            service_account_key,
        })
    }

    /// Whose certificates are others than in `before`.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<&'static str> {
        let all = [
            ("apiserver", &self.serving, &before.serving),
            ("apiserver-kubelet-client", &self.kubelet_client, &before.kubelet_client),
            (FRONT_PROXY, &self.front_proxy, &before.front_proxy),
            ("admin", &self.admin, &before.admin),
        ];
        all.into_iter().filter(|(_, now, then)| now != then).map(|(name, _, _)| name).collect()
    }

    /// The directory this was loaded from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn ca_certificate(&self) -> &str {
        self.authority.certificate()
    }

    /// The certificate of the authority that issued the front proxy's, PEM; it issues nothing else.
    #[must_use]
    pub fn front_proxy_ca(&self) -> &str {
        self.front_proxies.certificate()
    }

    /// `sha256:<hex>` of the authority's public key, as joining nodes pin it.
    ///
    /// # Errors
    /// [`PkiError::Content`] if the authority's certificate cannot be parsed.
    pub fn ca_hash(&self) -> Result<String, PkiError> {
        self.authority.public_key_hash()
    }

    /// The administrator's kubeconfig for a server URL.
    #[must_use]
    pub fn admin_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: self.ca_certificate(),
            cluster: "rk",
            user: "kubernetes-admin",
            login: Login::Certificate(&self.admin),
        }
        .render()
    }

    /// Writes the administrator's kubeconfig to `path`, readable by its owner only.
    ///
    /// # Errors
    /// [`PkiError::File`] if the file cannot be written.
    pub fn write_admin_kubeconfig(&self, path: &Path, server: &str) -> Result<(), PkiError> {
        files::write_private(path, self.admin_kubeconfig(server).as_bytes())
    }
}

/// The addresses of every interface of this host, loopback included.
#[must_use]
pub fn host_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            address
                .as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

fn load_or_issue(
    dir: &Path,
    name: &str,
    authority: &Authority,
    names: Option<&ServingNames>,
    issue: impl FnOnce() -> Result<Credential, PkiError>,
) -> Result<Credential, PkiError> {
    let certificate_path = dir.join(format!("{name}.crt"));
    let key_path = dir.join(format!("{name}.key"));
    if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?)
        && still_good(&certificate, authority, names)
    {
        return Ok(Credential { certificate, key });
    }
    let made = issue()?;
    files::write_private(&key_path, made.key.as_bytes())?;
    files::write_public(&certificate_path, made.certificate.as_bytes())?;
    Ok(made)
}

/// Whether a certificate on disk was issued by `authority`, carries `names`, is valid and lasts another thirty days.
fn still_good(certificate: &str, authority: &Authority, names: Option<&ServingNames>) -> bool {
    let Some(der) = first_certificate(certificate) else { return false };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let now = jiff::Timestamp::now().as_second();
    // One that begins later was made by a clock that was ahead.
    parsed.validity().not_before.timestamp() <= now
        && parsed.validity().not_after.timestamp() > now + 30 * 24 * 3600
        && authority.issued(&parsed)
        && names.is_none_or(|names| names.are_in(&parsed))
}

/// The first certificate of a PEM text, DER.
#[must_use]
pub fn first_certificate(text: &str) -> Option<CertificateDer<'static>> {
    let block = pem::parse_many(text).ok()?.into_iter().find(|block| block.tag() == "CERTIFICATE")?;
    Some(CertificateDer::from(block.into_contents()))
}

fn load_or_make_service_account_key(dir: &Path) -> Result<String, PkiError> {
    let path = dir.join("sa.key");
    if let Some(text) = files::read(&path)? {
        return Ok(text);
    }
    let key = rcgen::KeyPair::generate().map_err(|source| PkiError::Make { what: "service account key", source })?;
    let text = key.serialize_pem();
    files::write_private(&path, text.as_bytes())?;
    files::write_public(&dir.join("sa.pub"), key.public_key_pem().as_bytes())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, Issuer, KeyPair};

    #[test]
    fn certificates_of_another_year_are_made_anew_and_an_authority_serves_both() {
        let dir = tempfile::tempdir().expect("dir");
        let authority = Authority::load_or_create(dir.path(), "ca", "test").expect("authority");
        let key = KeyPair::from_pem(authority.key()).expect("key");
        let issuer = Issuer::from_ca_cert_der(authority.der(), key).expect("issuer");
        let year = i32::from(jiff::Zoned::now().year());
        for (from, until, good) in [(-10, -9, false), (-1, 1, true), (9, 11, false)] {
            let mut params = CertificateParams::default();
            params.not_before = rcgen::date_time_ymd(year + from, 1, 1);
            params.not_after = rcgen::date_time_ymd(year + until, 12, 31);
            let made = params.signed_by(&KeyPair::generate().expect("key"), &issuer).expect("certificate").pem();
            assert_eq!(still_good(&made, &authority, None), good, "{from} to {until}");
        }
        let (_, own) = x509_parser::parse_x509_certificate(authority.der()).expect("certificate");
        assert_eq!(own.validity().not_before.timestamp(), 1_735_689_600, "2025-01-01");
    }
}
