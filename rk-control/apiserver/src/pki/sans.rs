//! The names that the API server's certificate must carry.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::SanType;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Host names and addresses under which clients reach the API server.
#[derive(Debug, Clone, Default)]
pub struct ServingNames {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl ServingNames {
    /// The names that every cluster has, plus the given ones. `service` is the address of the Service `kubernetes`.
    pub fn new(dns_domain: &str, service: IpAddr, extra: impl IntoIterator<Item = String>) -> Self {
        let mut made = Self::default();
        for name in ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"] {
            made.names.insert(name.to_owned());
        }
        made.names.insert(format!("kubernetes.default.svc.{dns_domain}"));
        made.addresses.insert(IpAddr::from([127, 0, 0, 1]));
        made.addresses.insert(service);
        for name in extra {
            made.add(&name);
        }
        made
    }

    /// Adds a host name or an address in text; unspecified addresses (`0.0.0.0`, `::`) name nobody and are ignored.
    pub fn add(&mut self, name: &str) {
        match name.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => {}
            Ok(address) => {
                self.addresses.insert(address);
            }
            Err(_) if !name.is_empty() => {
                self.names.insert(name.to_owned());
            }
            Err(_) => {}
        }
    }

    pub(super) fn into_sans(self) -> Result<Vec<SanType>, rcgen::Error> {
        let names = self.names.into_iter().map(|name| Ok(SanType::DnsName(name.try_into()?)));
        let addresses = self.addresses.into_iter().map(|address| Ok(SanType::IpAddress(address)));
        names.chain(addresses).collect()
    }

    /// Whether `certificate` names all of them; further names are no reason to replace it.
    pub(super) fn are_in(&self, certificate: &X509Certificate<'_>) -> bool {
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
        let mut missing = self.clone();
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => {
                    missing.names.remove(*name);
                }
                GeneralName::IPAddress(octets) => {
                    if let Some(address) = address_of(octets) {
                        missing.addresses.remove(&address);
                    }
                }
                _ => {}
            }
        }
        missing.names.is_empty() && missing.addresses.is_empty()
    }
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}
