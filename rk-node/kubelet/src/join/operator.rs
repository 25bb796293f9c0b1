//! The connection of an operator, by the kubeconfig that a control plane leaves on its own machine.
//!
//! Read here rather than by `kube`, whose client by file brings a second YAML parser, paths with regular expressions and plugins that
//! log in: this file has the certificates inside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::link::{ApiLink, LinkError};
use super::pki::Identity;

/// Why a kubeconfig gives no connection.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It is none, its current context is not whole, or authority, certificate and key are not inside.
    #[error("the kubeconfig is not usable: {0}")]
    Malformed(String),
    /// What it says cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
}

#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(rename = "current-context")]
    current: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    authority: String,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(rename = "client-certificate-data")]
    certificate: String,
    #[serde(rename = "client-key-data")]
    key: String,
}

/// What the current context leads to: server, authority, certificate and key, the last three in PEM.
fn parse(text: &str) -> Result<(String, [String; 3]), OperatorError> {
    let missing = |what: &str| OperatorError::Malformed(format!("it has no {what} for its current context"));
    let config: Kubeconfig =
        serde_yaml_ng::from_str(text).map_err(|error| OperatorError::Malformed(error.to_string()))?;
    let context = config.contexts.into_iter().find(|known| known.name == config.current);
    let Context { cluster, user } = context.ok_or_else(|| missing("context"))?.context;
    let named = config.clusters.into_iter().find(|known| known.name == cluster);
    let Cluster { server, authority } = named.ok_or_else(|| missing("cluster"))?.cluster;
    let named = config.users.into_iter().find(|known| known.name == user);
    let User { certificate, key } = named.ok_or_else(|| missing("user"))?.user;
    let authority = pem("certificate-authority-data", &authority)?;
    let certificate = pem("client-certificate-data", &certificate)?;
    Ok((server, [authority, certificate, pem("client-key-data", &key)?]))
}

/// The text that stands in a member as base64. What it holds is not told: one of them is a key.
fn pem(member: &str, data: &str) -> Result<String, OperatorError> {
    let bytes = STANDARD.decode(data.trim()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| OperatorError::Malformed(format!("{member} is not text in base64")))
}

impl ApiLink {
    /// A link with the credentials of a kubeconfig's current context.
    ///
    /// # Errors
    /// The text is no kubeconfig with authority, certificate and key inside, or these cannot be used.
    pub fn from_kubeconfig(text: &str) -> Result<Self, OperatorError> {
        let (server, [authority, certificate, key]) = parse(text)?;
        let identity = Identity::new(certificate, key).map_err(LinkError::from)?;
        Ok(Self::new(&server, &authority, Some(&identity), None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: Config
preferences: {}
current-context: admin@rk
contexts:
- {name: other, context: {cluster: none, user: nobody}}
- {name: admin@rk, context: {cluster: rk, user: admin}}
clusters:
- {name: rk, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}}
users:
- {name: admin, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
";

    #[test]
    fn a_kubeconfig_is_followed_by_its_current_context() {
        let (server, pems) = parse(TEXT).unwrap();
        assert_eq!((server.as_str(), pems), ("https://127.0.0.1:6443", ["CA", "CERT", "KEY"].map(str::to_owned)));
        for (from, to, why) in [
            ("current-context: admin@rk", "current-context: gone", "no context"),
            ("current-context: admin@rk", "current-context: other", "no cluster"),
            ("{name: admin, ", "{name: operator, ", "no user"),
            ("S0VZ", "'*'", "client-key-data is not text in base64"),
            ("client-key-data", "token", "client-key-data"),
            ("clusters:", "groups:", "clusters"),
        ] {
            let refused = parse(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(refused.contains(why), "{to}: {refused}");
        }
        assert!(ApiLink::from_kubeconfig(TEXT).is_err_and(|error| error.to_string().contains("certificates")));
    }
}
