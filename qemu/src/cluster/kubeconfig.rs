//! The operator's kubeconfig.

use crate::pki::Pki;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A kubeconfig for the API server on `port` of loopback.
pub fn kubeconfig(cluster: &str, port: u16, pki: &Pki) -> String {
    let data = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {cluster}\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {ca}\n\
         users:\n\
         - name: {cluster}-admin\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n\
         - name: {cluster}\n  context:\n    cluster: {cluster}\n    user: {cluster}-admin\n\
         current-context: {cluster}\n",
        ca = data(&pki.ca.certificate),
        certificate = data(&pki.admin.certificate),
        key = data(&pki.admin.key),
    )
}
