//! Keys of the server's TLS (`tlsMinVersion`, `tlsCipherSuites`).

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::{DEFAULT_VERSIONS, SupportedCipherSuite, SupportedProtocolVersion, version};
use serde_json::Value;

use super::Reader;

static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What the kubelet's server takes of TLS. Versions before 1.2 it never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRules {
    /// Nothing but TLS 1.3.
    pub only_13: bool,
    /// Suites of TLS 1.2 by the names of the standard; all that there are when absent. Those of 1.3 are not for choice, as upstream's.
    pub suites: Option<Vec<String>>,
}

fn name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite())
}

impl TlsRules {
    /// Cryptography with these suites.
    pub fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        if let Some(suites) = &self.suites {
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || suites.contains(&name(suite)));
        }
        provider
    }

    /// The versions.
    pub fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        if self.only_13 { ONLY_13 } else { DEFAULT_VERSIONS }
    }
}

impl Reader {
    /// Takes over one of these keys; answers whether it is one.
    pub(super) fn transport(&mut self, rules: &mut TlsRules, key: &str, value: &Value) -> bool {
        match (key, value.as_str()) {
            ("tlsMinVersion", Some("VersionTLS13")) => rules.only_13 = true,
            ("tlsMinVersion", Some("" | "VersionTLS12")) => {}
            ("tlsMinVersion", Some(old @ ("VersionTLS10" | "VersionTLS11"))) => {
                self.warn(key, &format!("{old} is not supported by this node: VersionTLS12 is the least"));
            }
            ("tlsMinVersion", _) => self.warn(key, &format!("unknown tls version {value}: left out")),
            ("tlsCipherSuites", _) => self.suites(key, value, rules),
            _ => return false,
        }
        true
    }

    fn suites(&mut self, key: &str, value: &Value, rules: &mut TlsRules) {
        let mut named: Vec<String> = Vec::new();
        self.set(key, value, &mut named);
        if named.is_empty() {
            return;
        }
        let known: Vec<String> =
            default_provider().cipher_suites.iter().filter(|s| s.tls13().is_none()).map(name).collect();
        // Go has two names for these.
        let standard = |suite: String| match suite.as_str() {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => suite + "_SHA256",
            _ => suite,
        };
        let (suites, others): (Vec<String>, Vec<String>) =
            named.into_iter().map(standard).partition(|suite| known.contains(suite));
        for suite in others {
            // Upstream's kubelet takes the names of TLS 1.3, and they change nothing there either.
            if !["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
                .contains(&suite.as_str())
            {
                self.warn(&format!("{key}[{suite}]"), "is not supported by this node: left out");
            }
        }
        rules.suites = Some(suites);
    }
}

#[cfg(test)]
mod tests {
    use super::super::configure;
    use super::*;
    use crate::{Cluster, Options};
    use serde_json::json;

    fn read(document: Value) -> (TlsRules, usize) {
        let mut options = Options::new("n", Cluster::default());
        let warnings = configure(&mut options, &document).len();
        (options.tls, warnings)
    }

    #[test]
    fn versions_and_suites_of_tls_are_as_told() {
        assert_eq!(read(json!({"tlsMinVersion": "VersionTLS12"})), (TlsRules::default(), 0));
        assert_eq!(read(json!({"tlsMinVersion": "VersionTLS10"})), (TlsRules::default(), 1));
        assert_eq!(read(json!({"tlsMinVersion": "1.3"})), (TlsRules::default(), 1));
        let (rules, _) = read(json!({"tlsMinVersion": "VersionTLS13"}));
        assert_eq!((rules.only_13, rules.versions().len()), (true, 1));
        let one = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        let (rules, warnings) =
            read(json!({"tlsCipherSuites": [one, "TLS_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA"]}));
        assert_eq!((rules.suites.as_deref(), warnings), (Some(&[one.to_owned()][..]), 1));
        let left: Vec<String> =
            rules.provider().cipher_suites.iter().filter(|s| s.tls13().is_none()).map(name).collect();
        assert_eq!(left, [one]);
        assert!(rules.provider().cipher_suites.iter().any(|suite| suite.tls13().is_some()));
    }
}
