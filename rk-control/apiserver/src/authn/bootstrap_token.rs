//! Bootstrap tokens: Secrets `bootstrap-token-<id>` in `kube-system`, for nodes that join.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_api::status::Status;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::User;
use crate::config::BootstrapToken;
use crate::server::Core;

/// Type of the Secrets that hold bootstrap tokens.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// How long a token is held until the cluster's own objects are made.
const FIRST_START: std::time::Duration = std::time::Duration::from_secs(5);

/// The user of a bootstrap token; `None` when it is not one, or not valid.
///
/// # Errors
/// Secrets cannot be read.
pub async fn authenticate(core: &Core, token: &str) -> Result<Option<User>, Status> {
    let Some(token) = BootstrapToken::parse(token) else { return Ok(None) };
    // Nodes of a new cluster come before the Secret that lets them in.
    core.health.wait_bootstrapped(FIRST_START).await;
    let name = format!("bootstrap-token-{}", token.id);
    let Some(secret) = core.known_object("", "v1", "secrets", "kube-system", &name).await? else { return Ok(None) };
    Ok(judge(&secret, &token, jiff::Timestamp::now()))
}

fn judge(secret: &Value, token: &BootstrapToken, now: jiff::Timestamp) -> Option<User> {
    let field = |name: &str| {
        let text = secret.get("data")?.get(name)?.as_str()?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let of_type = secret.get("type").and_then(Value::as_str) == Some(SECRET_TYPE);
    let expected = field("token-secret")?;
    let same: bool = expected.as_bytes().ct_eq(token.secret.as_bytes()).into();
    if !of_type || rk_api::meta::is_deleting(secret) || field("token-id")? != token.id || !same {
        return None;
    }
    if let Some(expiration) = field("expiration") {
        let expiration: jiff::Timestamp = expiration.parse().ok()?;
        if expiration <= now {
            tracing::debug!(id = %token.id, "bootstrap token expired");
            return None;
        }
    }
    if field("usage-bootstrap-authentication").as_deref() != Some("true") {
        return None;
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    let extra = extra.split(',').filter(|group| group.starts_with("system:bootstrappers:")).map(str::to_owned);
    Some(User::new(format!("system:bootstrap:{}", token.id), std::iter::once(GROUP.to_owned()).chain(extra)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(expiration: &str) -> Value {
        let mut data = serde_json::Map::new();
        for (name, value) in [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token,other"),
            ("expiration", expiration),
        ] {
            data.insert(name.into(), json!(STANDARD.encode(value)));
        }
        json!({"type": SECRET_TYPE, "metadata": {}, "data": data})
    }

    #[test]
    fn a_live_token_becomes_a_bootstrapper_and_an_expired_one_nobody() {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").unwrap();
        let now: jiff::Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let user = judge(&secret("2030-01-02T00:00:00Z"), &token, now).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert!(user.in_group("system:bootstrappers:kubeadm:default-node-token") && !user.in_group("other"));
        assert_eq!(judge(&secret("2029-12-31T00:00:00Z"), &token, now), None);
        let wrong = BootstrapToken::parse("abcdef.fedcba9876543210").unwrap();
        assert_eq!(judge(&secret("2030-01-02T00:00:00Z"), &wrong, now), None);
    }
}
