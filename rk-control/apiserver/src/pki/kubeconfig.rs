//! Kubeconfig files, written as kubeadm writes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Credential;

/// How the kubeconfig's user logs in.
pub enum Login<'a> {
    /// Nobody: only the cluster part, as `cluster-info` publishes it.
    Nobody,
    /// A client certificate.
    Certificate(&'a Credential),
}

/// The contents of a kubeconfig with one cluster, one user and one context.
pub struct Kubeconfig<'a> {
    /// The API server's URL.
    pub server: &'a str,
    /// The authority's certificate, PEM.
    pub ca: &'a str,
    /// The cluster's name inside the file; empty in `cluster-info`.
    pub cluster: &'a str,
    /// The user's name inside the file.
    pub user: &'a str,
    /// The user's credentials.
    pub login: Login<'a>,
}

impl Kubeconfig<'_> {
    /// The file's text. JSON is YAML, but people open this file: so it is written as YAML.
    #[must_use]
    pub fn render(&self) -> String {
        let mut config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": [{
                "name": self.cluster,
                "cluster": {"server": self.server, "certificate-authority-data": STANDARD.encode(self.ca)},
            }],
            "contexts": Value::Null,
            "current-context": "",
            "users": Value::Null,
        });
        if let Login::Certificate(credential) = &self.login {
            let context = format!("{}@{}", self.user, self.cluster);
            config["users"] = json!([{
                "name": self.user,
                "user": {
                    "client-certificate-data": STANDARD.encode(&credential.certificate),
                    "client-key-data": STANDARD.encode(&credential.key),
                },
            }]);
            config["contexts"] = json!([{"name": context, "context": {"cluster": self.cluster, "user": self.user}}]);
            config["current-context"] = Value::String(context);
        }
        serde_yaml_ng::to_string(&config).unwrap_or_else(|_| config.to_string())
    }
}
