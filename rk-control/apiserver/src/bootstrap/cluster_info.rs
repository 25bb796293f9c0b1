//! What joining nodes read: `cluster-info` in `kube-public`, and the bootstrap token as a Secret.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::{ensure, replace};
use crate::config::BootstrapToken;
use crate::pki::{Kubeconfig, Login};
use crate::server::Core;

pub(super) async fn reconcile(core: &Arc<Core>) -> Result<(), Status> {
    let wanted = cluster_info(core);
    match core.object("", "v1", "configmaps", "kube-public", "cluster-info").await? {
        None => ensure(core, "", "v1", "configmaps", wanted).await?,
        Some(mut present) => {
            let before = present.clone();
            for (key, value) in wanted.get("data").and_then(Value::as_object).into_iter().flatten() {
                present["data"][key.as_str()] = value.clone();
            }
            if present != before {
                replace(core, "", "v1", "configmaps", &present).await?;
            }
        }
    }
    match &core.config.bootstrap_token {
        Some(token) => ensure(core, "", "v1", "secrets", secret(token)).await,
        None => Ok(()),
    }
}

fn cluster_info(core: &Core) -> Value {
    let server = core.config.server_url();
    let kubeconfig =
        Kubeconfig { server: &server, ca: &core.ca_certificate, cluster: "", user: "", login: Login::Nobody }.render();
    let mut data = json!({"kubeconfig": kubeconfig});
    if let Some(token) = &core.config.bootstrap_token {
        data[format!("jws-kubeconfig-{}", token.id)] = json!(sign(&kubeconfig, token));
    }
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": data,
    })
}

/// A detached JWS (RFC 7515, appendix F) by which a holder of the token knows that the kubeconfig is genuine.
fn sign(content: &str, token: &BootstrapToken) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": token.id}).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

fn secret(token: &BootstrapToken) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system"},
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
            "description": "The token that nodes of this cluster join with.",
        },
    })
}
