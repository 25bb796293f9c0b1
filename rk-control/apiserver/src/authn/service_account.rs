//! Service account tokens: issuing bound ones and judging those that come back (KEP-1205, KEP-4193).

use rk_api::status::Status;
use serde_json::{Value, json};

use super::Verdict;
use super::jwk::PublicKey;
use super::jwt::{JwtError, SigningKey};
use super::user::User;
use crate::authz::quoted;
use crate::server::Core;

/// Lifetime of a token when nobody asked for one, in seconds.
const DEFAULT_SECONDS: i64 = 3600;
/// Shortest lifetime that may be asked for.
pub const MINIMUM_SECONDS: i64 = 600;
/// Longest lifetime that may be asked for.
pub const MAXIMUM_SECONDS: i64 = 1 << 32;
/// How long tokens live that are extended, as upstream's.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;
/// kubelets ask for this lifetime for the projected token of every pod; upstream extends those to one year, so that clients which
/// never read the file again keep working, and marks when they should have.
const INJECTED_SECONDS: i64 = 3607;
/// Clock difference that is tolerated, in seconds; upstream's figure.
const LEEWAY: i64 = 60;

/// The object that a token dies with.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    /// `Pod`, `Secret` or `Node`; empty for none.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Name and UID of the node that a bound pod runs on.
    pub node: Option<(String, String)>,
}

/// Signs and judges service account tokens.
pub struct TokenIssuer {
    key: SigningKey,
    /// All whose tokens are taken, the own one first.
    trusted: Vec<PublicKey>,
    issuer: String,
}

impl TokenIssuer {
    /// From a private key in PEM, and further keys whose tokens are taken: those of other control planes, or the one before.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(key: &str, others: &[String], issuer: &str) -> Result<Self, JwtError> {
        let key = SigningKey::from_pem(key)?;
        let mut trusted = vec![key.public().clone()];
        for text in others {
            for other in PublicKey::all_from_pem(text)? {
                if !trusted.contains(&other) {
                    trusted.push(other);
                }
            }
        }
        Ok(Self { key, trusted, issuer: issuer.to_owned() })
    }

    /// The issuer's URL, also the default audience.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The algorithms of signatures, each once.
    #[must_use]
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut all: Vec<_> = self.trusted.iter().map(PublicKey::algorithm).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The public keys, as JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.trusted.iter().map(PublicKey::to_jwk).collect::<Vec<_>>()})
    }

    /// The claims of a token that one of the trusted keys signed.
    fn verify(&self, token: &str) -> Result<Value, JwtError> {
        let mut refused = JwtError::Signature;
        for key in &self.trusted {
            match key.verify(token) {
                Ok(claims) => return Ok(claims),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Signs a token for a service account; returns it with its time of expiry in seconds since the epoch.
    ///
    /// # Errors
    /// Signing failed.
    pub fn issue(
        &self,
        account: (&str, &str, &str),
        bound: &Bound,
        audiences: &[String],
        seconds: Option<i64>,
    ) -> Result<(String, i64), JwtError> {
        let (namespace, name, uid) = account;
        let now = jiff::Timestamp::now().as_second();
        let wanted = seconds.unwrap_or(DEFAULT_SECONDS).clamp(MINIMUM_SECONDS, MAXIMUM_SECONDS);
        let own_audience = audiences.is_empty() || audiences == [self.issuer.clone()];
        let extended = bound.kind == "Pod" && wanted == INJECTED_SECONDS && own_audience;
        let expiry = now + if extended { EXTENDED_SECONDS } else { wanted };
        let mut private = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
        if extended {
            private["warnafter"] = json!(now + wanted);
        }
        let reference = json!({"name": bound.name, "uid": bound.uid});
        match bound.kind.as_str() {
            "Pod" => private["pod"] = reference,
            "Secret" => private["secret"] = reference,
            "Node" => private["node"] = reference,
            _ => {}
        }
        if let Some((node, uid)) = &bound.node {
            private["node"] = if uid.is_empty() { json!({"name": node}) } else { json!({"name": node, "uid": uid}) };
        }
        let audience = if audiences.is_empty() { vec![self.issuer.clone()] } else { audiences.to_vec() };
        let claims = json!({
            "aud": audience,
            "exp": expiry,
            "iat": now,
            "iss": self.issuer,
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": private,
            "nbf": now,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        Ok((self.key.sign(&claims)?, now + wanted))
    }

    /// Judges a token: signature, times, audience, and that everything it is bound to still lives.
    ///
    /// # Errors
    /// The objects cannot be read.
    pub async fn authenticate(&self, core: &Core, token: &str, audiences: &[String]) -> Result<Verdict, Status> {
        let claims = match self.verify(token) {
            Ok(claims) => claims,
            Err(error) => {
                tracing::debug!(%error, "bearer token refused");
                return Ok(Err(String::new()));
            }
        };
        let (own, now) = ([self.issuer.clone()], jiff::Timestamp::now().as_second());
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let valid_for = match judge_claims(&claims, &self.issuer, wanted, now) {
            Ok(audiences) => audiences,
            Err(why) => {
                tracing::debug!(%why, subject = rk_api::meta::text(&claims, &["sub"]), "bearer token refused");
                return Ok(Err(why));
            }
        };
        let user = judge_objects(core, &claims, token).await?;
        Ok(user.map(|user| (user, valid_for)).ok_or_else(String::new))
    }
}

/// For which of the wanted audiences a token is valid now; else why it is not. Of a token of another issuer there is nothing to say.
fn judge_claims(claims: &Value, issuer: &str, wanted: &[String], now: i64) -> Result<Vec<String>, String> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(String::new());
    }
    let given: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let common: Vec<String> = wanted.iter().filter(|audience| given.contains(&audience.as_str())).cloned().collect();
    if common.is_empty() {
        let (given, wanted) = (quoted(&given), quoted(wanted));
        return Err(format!("token audiences {given} is invalid for the target audiences {wanted}"));
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    if time("exp").is_none_or(|exp| exp + LEEWAY <= now) {
        return Err("service account token has expired".to_owned());
    }
    if time("nbf").is_some_and(|nbf| nbf - LEEWAY > now) {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(common)
}

async fn judge_objects(core: &Core, claims: &Value, token: &str) -> Result<Option<User>, Status> {
    let Some(private) = claims.get("kubernetes.io") else { return Ok(None) };
    let text = |path: &[&str]| rk_api::meta::text(private, path).to_owned();
    let namespace = text(&["namespace"]);
    let (name, uid) = (text(&["serviceaccount", "name"]), text(&["serviceaccount", "uid"]));
    let Some(account) = core.object("", "v1", "serviceaccounts", &namespace, &name).await? else { return Ok(None) };
    if rk_api::meta::uid(&account) != uid || gone_for_long(&account) {
        return Ok(None);
    }
    let mut user = User::service_account(&namespace, &name, &uid);
    for (claim, resource, key) in [("pod", "pods", "pod"), ("secret", "secrets", ""), ("node", "nodes", "node")] {
        let (bound, bound_uid) = (text(&[claim, "name"]), text(&[claim, "uid"]));
        if bound.is_empty() {
            continue;
        }
        // A node beside a pod only informs; a node alone is what the token is bound to.
        let binding = claim != "node" || private.get("pod").is_none();
        if binding {
            let within = if resource == "nodes" { "" } else { namespace.as_str() };
            let Some(object) = core.object("", "v1", resource, within, &bound).await? else { return Ok(None) };
            if rk_api::meta::uid(&object) != bound_uid || gone_for_long(&object) {
                return Ok(None);
            }
            if claim == "secret" && !core.secret_tokens.admit(&object, token) {
                tracing::debug!(namespace, name = bound, "bearer token refused: its Secret marks it as void");
                return Ok(None);
            }
        }
        if !key.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}-name"), vec![bound]);
            if !bound_uid.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{key}-uid"), vec![bound_uid]);
            }
        }
    }
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
    }
    Ok(Some(user))
}

/// A deleted object still vouches for its token for a minute, so that a pod can shut down in an orderly way.
fn gone_for_long(object: &Value) -> bool {
    let deleted: Option<jiff::Timestamp> = rk_api::meta::text(object, &["metadata", "deletionTimestamp"]).parse().ok();
    deleted.is_some_and(|at| jiff::Timestamp::now().as_second() > at.as_second() + 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> TokenIssuer {
        TokenIssuer::new(&rcgen::KeyPair::generate().unwrap().serialize_pem(), &[], "https://issuer").unwrap()
    }

    #[test]
    fn a_token_is_valid_for_its_audiences_until_it_expires() {
        let issuer = issuer();
        let audiences = ["https://issuer".to_owned(), "vault".to_owned()];
        let (token, expiry) = issuer.issue(("ns", "sa", "uid"), &Bound::default(), &audiences, Some(600)).unwrap();
        let claims = issuer.verify(&token).unwrap();
        assert_eq!(
            judge_claims(&claims, "https://issuer", &["vault".into()], expiry - 1),
            Ok(vec!["vault".to_owned()])
        );
        let why = |issuer: &str, audience: &str, now: i64| judge_claims(&claims, issuer, &[audience.to_owned()], now);
        let other =
            r#"token audiences ["https://issuer" "vault"] is invalid for the target audiences ["other"]"#.to_owned();
        assert_eq!(why("https://issuer", "other", expiry - 1), Err(other));
        let expired = "service account token has expired".to_owned();
        assert_eq!(why("https://issuer", "vault", expiry + LEEWAY), Err(expired));
        assert_eq!(why("https://else", "vault", expiry - 1), Err(String::new()));
    }

    #[test]
    fn the_token_of_a_pod_names_the_pod_and_its_node() {
        let issuer = issuer();
        let bound =
            Bound { kind: "Pod".into(), name: "p".into(), uid: "u".into(), node: Some(("n".into(), "nu".into())) };
        let (token, _) = issuer.issue(("ns", "sa", "uid"), &bound, &[], None).unwrap();
        let claims = issuer.verify(&token).unwrap();
        assert_eq!(claims["kubernetes.io"]["pod"], json!({"name": "p", "uid": "u"}));
        assert_eq!(claims["kubernetes.io"]["node"], json!({"name": "n", "uid": "nu"}));
        assert_eq!(claims["sub"], "system:serviceaccount:ns:sa");
    }
}
