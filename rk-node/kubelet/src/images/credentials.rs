//! Credentials for pulls: those of the pod's secrets first, then the node's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use k8s_openapi::api::core::v1::Secret;
use rk_cri_api::v1 as cri;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::access::{PullSource, SecretSource};
use super::registry_of;
use crate::options::RegistryAuth;

/// The node's credentials in Docker's form, below the kubelet's root; upstream's names.
const NODE_FILE: &str = "config.json";
/// The same in the form before that, looked at when the other is not there.
const OLD_NODE_FILE: &str = ".dockercfg";
/// Larger files hold no credentials.
const MAX_BYTES: u64 = 1 << 20;

/// Credentials for a registry, and whose they are.
#[derive(Clone)]
pub struct Credential {
    /// What the runtime shows to the registry.
    pub auth: cri::AuthConfig,
    /// Whose they are; the node's own serve every pod.
    pub source: Option<PullSource>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

/// Credentials by the place that they are for: a registry, or a path in it.
type Auths = BTreeMap<String, DockerAuth>;

/// The node's own credentials. They are read for every pull: who replaces the file has its next pull go by it.
pub struct NodeCredentials {
    root: PathBuf,
    /// Those of the machine config.
    told: Vec<RegistryAuth>,
}

impl NodeCredentials {
    /// Those that the node was told, and those in files of the kubelet's root (`/var/lib/kubelet`).
    pub fn new(root: &Path, told: &[RegistryAuth]) -> Self {
        Self { root: root.to_owned(), told: told.to_vec() }
    }

    /// For one place, what the node was told holds.
    fn read(&self) -> Auths {
        let new = parsed(&self.root.join(NODE_FILE), docker_config);
        let mut auths = new.or_else(|| parsed(&self.root.join(OLD_NODE_FILE), docker_cfg)).unwrap_or_default();
        for told in &self.told {
            let auth = DockerAuth {
                username: told.username.clone(),
                password: told.password.clone(),
                identitytoken: told.identity_token.clone(),
                ..DockerAuth::default()
            };
            auths.insert(told.place.clone(), auth);
        }
        auths
    }
}

/// Docker's form of today.
fn docker_config(text: &[u8]) -> serde_json::Result<Auths> {
    serde_json::from_slice::<DockerConfig>(text).map(|config| config.auths)
}

/// The form before that: without a head.
fn docker_cfg(text: &[u8]) -> serde_json::Result<Auths> {
    serde_json::from_slice(text)
}

/// What a file says; `None` when it is not there or says nothing that can be read.
fn parsed(path: &Path, parse: fn(&[u8]) -> serde_json::Result<Auths>) -> Option<Auths> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %path.display(), "the node's registry credentials: {error}");
            return None;
        }
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        tracing::warn!(file = %path.display(), "the node's registry credentials: no file of at most {MAX_BYTES} bytes");
        return None;
    }
    let read = std::fs::read(path).map_err(|error| error.to_string());
    // What was read is never told: it may be a secret.
    let found = read.and_then(|text| parse(&text).map_err(|_| "it is not valid JSON of Docker's form".to_owned()));
    found
        .inspect_err(|problem| tracing::warn!(file = %path.display(), "the node's registry credentials: {problem}"))
        .ok()
}

/// All credentials for an image in upstream's order: pull secrets before the node's own, in each the longest match first.
pub fn lookup(image: &str, secrets: &[Secret], node: &NodeCredentials) -> Vec<Credential> {
    let mut found: Vec<(usize, Credential)> = Vec::new();
    for secret in secrets {
        let of = |(length, auth): (usize, cri::AuthConfig)| {
            let source = Some(PullSource::Secret(source(secret, &auth)));
            (length, Credential { auth, source })
        };
        found.extend(matching(image, auths_of(secret)).into_iter().map(of));
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let mut own = matching(image, node.read());
    own.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let own = own.into_iter().map(|(_, auth)| Credential { auth, source: None });
    found.into_iter().map(|(_, credential)| credential).chain(own).collect()
}

/// What a pull secret holds.
fn auths_of(secret: &Secret) -> Auths {
    let data = secret.data.as_ref();
    let auths = match data.and_then(|d| d.get(".dockerconfigjson")) {
        Some(json) => docker_config(&json.0),
        None => match data.and_then(|d| d.get(".dockercfg")) {
            Some(json) => docker_cfg(&json.0),
            None => return Auths::new(),
        },
    };
    auths.unwrap_or_else(|_| {
        let secret = secret.metadata.name.as_deref().unwrap_or_default();
        tracing::warn!(secret, "a pull secret is not valid JSON");
        Auths::new()
    })
}

/// Those that are for the image's registry, with the length of the match.
fn matching(image: &str, auths: Auths) -> Vec<(usize, cri::AuthConfig)> {
    let registry = registry_of(image);
    let full = if image.starts_with(registry) { image.to_owned() } else { format!("{registry}/{image}") };
    let of = |(place, auth): (String, DockerAuth)| {
        let place = place.trim_start_matches("https://").trim_start_matches("http://");
        let place = place.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        let place = if place == "index.docker.io" { "docker.io" } else { place };
        let fits = full == place || full.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
        fits.then(|| (place.len(), auth_config(auth)))
    };
    auths.into_iter().filter_map(of).collect()
}

/// Without the server's address, as upstream: that they are for the image's registry is known, and a runtime would ask for the very URL.
fn auth_config(auth: DockerAuth) -> cri::AuthConfig {
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
    let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (auth.username, auth.password),
    };
    cri::AuthConfig {
        username,
        password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
        ..Default::default()
    }
}

/// Which secret credentials come from, and a hash that tells whether others are the same.
fn source(secret: &Secret, auth: &cri::AuthConfig) -> SecretSource {
    let mut hash = Sha256::new();
    for part in [&auth.username, &auth.password, &auth.identity_token, &auth.registry_token] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let meta = &secret.metadata;
    SecretSource {
        uid: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        credential_hash: hex::encode(&hash.finalize()[..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(name: &str, config: &Value) -> Secret {
        let data = base64::engine::general_purpose::STANDARD.encode(config.to_string());
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "data": {".dockerconfigjson": data}}))
            .unwrap()
    }

    fn users(image: &str, secrets: &[Secret], node: &NodeCredentials) -> Vec<String> {
        lookup(image, secrets, node).into_iter().map(|credential| credential.auth.username).collect()
    }

    #[test]
    fn secrets_are_used_for_their_registry_only() {
        let config = json!({"auths": {"https://r.io/v1/": {"auth": "dTpw"}, "r.io/team": {"username": "t", "password": "q"}, "other.io": {}}});
        let (secrets, node) = ([secret("s", &config)], NodeCredentials::new(Path::new("/nonexistent"), &[]));
        assert_eq!(users("r.io/team/app:1", &secrets, &node), ["t", "u"]);
        assert_eq!(users("r.io/app", &secrets, &node), ["u"]);
        assert!(users("nginx", &secrets, &node).is_empty());
        assert!(lookup("r.io/app", &secrets, &node).iter().all(|c| c.auth.server_address.is_empty()));
    }

    #[test]
    fn the_nodes_credentials_come_after_the_pods_and_are_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeCredentials::new(dir.path(), &[]);
        let of = |user: &str| json!({"r.io": {"username": user, "password": "p"}});
        let write = |name: &str, text: &Value| std::fs::write(dir.path().join(name), text.to_string()).unwrap();
        let secrets = [secret("s", &json!({"auths": of("pod")}))];
        assert_eq!(users("r.io/app", &secrets, &node), ["pod"]);
        write(OLD_NODE_FILE, &of("old"));
        assert_eq!(users("r.io/app", &secrets, &node), ["pod", "old"]);
        write(NODE_FILE, &json!({"auths": of("node")}));
        assert_eq!(users("r.io/app", &secrets, &node), ["pod", "node"]);
        assert!(users("other.io/app", &secrets, &node).is_empty());
        std::fs::write(dir.path().join(NODE_FILE), "torn").unwrap();
        assert_eq!(users("r.io/app", &[], &node), ["old"]);
        let told = RegistryAuth { place: "r.io".into(), username: "told".into(), ..Default::default() };
        assert_eq!(users("r.io/app", &[], &NodeCredentials::new(dir.path(), &[told])), ["told"]);
        let found = lookup("r.io/app", &secrets, &node);
        assert_eq!(found.iter().map(|c| c.source.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn credentials_that_are_the_same_have_the_same_hash() {
        let of = |name: &str, password: &str| {
            let config = json!({"auths": {"r.io": {"username": "u", "password": password}}});
            let found =
                lookup("r.io/app", &[secret(name, &config)], &NodeCredentials::new(Path::new("/nonexistent"), &[]));
            let hash = |c: Credential| match c.source {
                Some(PullSource::Secret(source)) => source.credential_hash,
                other => panic!("{other:?}"),
            };
            found.into_iter().map(hash).collect::<Vec<_>>()
        };
        assert_eq!(of("a", "p"), of("b", "p"));
        assert_ne!(of("a", "p"), of("a", "q"));
    }
}
