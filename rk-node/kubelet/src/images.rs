//! Getting a container's image: pull policy, pull secrets, back-off, and the events that tell about it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use base64::Engine;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use rk_cri_api::v1 as cri;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::events::{PodRef, Recorder};
use crate::pod::backoff::BackOff;
use crate::pod::spec;
use crate::runtime::Runtime;

/// Pulls at the same time on one node: more only shares the same link and unpacks slower.
const PARALLEL_PULLS: usize = 4;

/// Why there is no image: a reason of the API and a message.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageError {
    /// `ErrImagePull`, `ImagePullBackOff`, `InvalidImageName`, `ErrImageNeverPull`, `ImageInspectError`.
    pub reason: &'static str,
    /// The details.
    pub message: String,
    /// When to try again.
    pub retry: Option<Duration>,
}

/// Pulls images for all pods.
pub struct Images {
    runtime: Runtime,
    recorder: Recorder,
    back_off: Mutex<BackOff>,
    failures: Mutex<BTreeMap<String, (Timestamp, String)>>,
    slots: Semaphore,
}

/// The policy that holds for an image: `Always` for `latest` and tagless names, unless told.
pub fn pull_policy<'a>(image: &str, policy: Option<&'a str>) -> &'a str {
    match policy {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let name = image.rsplit('/').next().unwrap_or(image);
            let tagged = name.contains('@') || name.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest");
            if tagged { "IfNotPresent" } else { "Always" }
        }
    }
}

/// The registry host of an image name, by Docker's rule.
pub fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Whether a name can name an image: a lower-case path, optional tag and digest.
fn plausible(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let rest = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => name,
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let part_ok = |part: &str| {
        !part.is_empty()
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    let tag_ok = |tag: &str| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    path.split('/').all(part_ok)
        && tag.is_none_or(tag_ok)
        && digest.is_none_or(|d| d.contains(':') && !d.ends_with(':'))
}

impl Images {
    /// A puller over this runtime.
    pub fn new(runtime: Runtime, recorder: Recorder) -> Self {
        Self {
            runtime,
            recorder,
            back_off: Mutex::default(),
            failures: Mutex::default(),
            slots: Semaphore::new(PARALLEL_PULLS),
        }
    }

    /// Makes sure that the image is here; returns what the runtime knows of it.
    pub async fn ensure(
        &self,
        pod: &Pod,
        about: &PodRef,
        image: &str,
        policy: Option<&str>,
        secrets: &[Secret],
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, ImageError> {
        if !plausible(image) {
            let message = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            );
            self.recorder.warning(about, "InspectFailed", message.clone());
            return Err(ImageError { reason: "InvalidImageName", message, retry: None });
        }
        let present = self.runtime.image_status(image).await.map_err(|e| ImageError {
            reason: "ImageInspectError",
            message: format!("Failed to inspect image \"{image}\": {e}"),
            retry: Some(Duration::from_secs(10)),
        })?;
        match (pull_policy(image, policy), present) {
            ("IfNotPresent" | "Never", Some(found)) => {
                self.recorder.normal(
                    about,
                    "Pulled",
                    format!("Container image \"{image}\" already present on machine and can be accessed by the pod"),
                );
                return Ok(found);
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.recorder.warning(about, "ErrImageNeverPull", message.clone());
                return Err(ImageError { reason: "ErrImageNeverPull", message, retry: None });
            }
            _ => {}
        }
        self.pull(pod, about, image, secrets, sandbox).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        about: &PodRef,
        image: &str,
        secrets: &[Secret],
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, ImageError> {
        let key = format!("{}_{image}", spec::uid(pod));
        if let Some(error) = self.held_back(&key, image) {
            self.recorder.normal(about, "BackOff", format!("Back-off pulling image \"{image}\""));
            return Err(error);
        }
        self.recorder.normal(about, "Pulling", format!("Pulling image \"{image}\""));
        let asked = Instant::now();
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let began = Instant::now();
        let pulled = self.try_credentials(image, secrets, sandbox).await;
        let pulled = match pulled {
            Ok(reference) => match self.runtime.image_status(&reference).await {
                Ok(Some(found)) => Ok(found),
                Ok(None) => Err(format!("the runtime pulled {reference} and does not know it")),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error),
        };
        match pulled {
            Ok(found) => {
                self.back_off.lock().unwrap_or_else(PoisonError::into_inner).forget(&key);
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                let message = format!(
                    "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
                    short(began.elapsed()),
                    short(asked.elapsed()),
                    found.size
                );
                self.recorder.normal(about, "Pulled", message);
                Ok(found)
            }
            Err(error) => {
                let now = Timestamp::now();
                let mut back_off = self.back_off.lock().unwrap_or_else(PoisonError::into_inner);
                back_off.note(&key, now, now);
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), (now, error.clone()));
                self.recorder.warning(about, "Failed", format!("Failed to pull image \"{image}\": {error}"));
                self.recorder.warning(about, "Failed", "Error: ErrImagePull");
                // Soon after, the state moves on to ImagePullBackOff, as users know it.
                Err(ImageError { reason: "ErrImagePull", message: error, retry: Some(Duration::from_secs(3)) })
            }
        }
    }

    fn held_back(&self, key: &str, image: &str) -> Option<ImageError> {
        let (failed_at, error) = self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()?;
        let left =
            self.back_off.lock().unwrap_or_else(PoisonError::into_inner).remaining(key, failed_at, Timestamp::now())?;
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {error}");
        Some(ImageError { reason: "ImagePullBackOff", message, retry: Some(left) })
    }

    /// Without credentials last, so that a public image pulls even with a wrong secret.
    async fn try_credentials(
        &self,
        image: &str,
        secrets: &[Secret],
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<String, String> {
        for auth in credentials(image, secrets) {
            match self.runtime.pull_image(image, Some(auth), sandbox.clone()).await {
                Ok(reference) => return Ok(reference),
                Err(error) => tracing::debug!(image, "pulling with a pull secret: {error}"),
            }
        }
        self.runtime.pull_image(image, None, sandbox.clone()).await.map_err(|e| e.to_string())
    }

    /// Forgets the back-off of a pod.
    pub fn forget(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !key.starts_with(uid));
    }
}

fn short(duration: Duration) -> String {
    if duration.as_secs() > 0 {
        format!("{:.3}s", duration.as_secs_f64())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[derive(Deserialize)]
struct DockerConfig {
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

/// Credentials of pull secrets that are for the image's registry, the longest match first.
fn credentials(image: &str, secrets: &[Secret]) -> Vec<cri::AuthConfig> {
    let registry = registry_of(image);
    let full = if image.starts_with(registry) { image.to_owned() } else { format!("{registry}/{image}") };
    let mut found: Vec<(usize, cri::AuthConfig)> = Vec::new();
    for secret in secrets {
        let data = secret.data.as_ref();
        let auths = match data.and_then(|d| d.get(".dockerconfigjson")) {
            Some(json) => serde_json::from_slice::<DockerConfig>(&json.0).map(|c| c.auths),
            None => match data.and_then(|d| d.get(".dockercfg")) {
                Some(json) => serde_json::from_slice(&json.0),
                None => continue,
            },
        };
        match auths {
            Ok(auths) => found.extend(auths.into_iter().filter_map(|(place, auth)| {
                let place = place.trim_start_matches("https://").trim_start_matches("http://");
                let place = place.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
                let place = if place == "index.docker.io" { "docker.io" } else { place };
                let fits = full == place || full.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
                fits.then(|| (place.len(), auth_config(place, auth)))
            })),
            Err(_) => tracing::warn!(
                secret = secret.metadata.name.as_deref().unwrap_or_default(),
                "a pull secret is not valid JSON"
            ),
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn auth_config(place: &str, auth: DockerAuth) -> cri::AuthConfig {
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
    let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (auth.username, auth.password),
    };
    cri::AuthConfig {
        username,
        password,
        server_address: place.to_owned(),
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_policy_follows_the_tag() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image, None), want, "{image}");
        }
        assert_eq!(pull_policy("nginx", Some("Never")), "Never");
    }

    #[test]
    fn names_are_told_from_nonsense() {
        for image in
            ["nginx", "a/b:1.2", "registry.k8s.io/e2e-test-images/agnhost:2.53", "h:5000/x@sha256:abc", "localhost/x"]
        {
            assert!(plausible(image), "{image}");
        }
        for image in ["", "Nginx", "a//b", "x:", "x:ta g", "/x", "FROM nginx", "a/b@"] {
            assert!(!plausible(image), "{image}");
        }
    }

    #[test]
    fn secrets_are_used_for_their_registry_only() {
        let config = json!({"auths": {"https://r.io/v1/": {"auth": "dTpw"}, "r.io/team": {"username": "t", "password": "q"}, "other.io": {}}});
        let secret: Secret = serde_json::from_value(json!({"data": {".dockerconfigjson":
            base64::engine::general_purpose::STANDARD.encode(config.to_string())}}))
        .unwrap();
        let users = |image| {
            credentials(image, std::slice::from_ref(&secret)).into_iter().map(|a| a.username).collect::<Vec<_>>()
        };
        assert_eq!(users("r.io/team/app:1"), ["t", "u"]);
        assert_eq!(users("r.io/app"), ["u"]);
        assert!(users("nginx").is_empty());
    }
}
