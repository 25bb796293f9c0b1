//! Getting a container's image: pull policy, back-off, and the events that tell about it.
//!
//! [`credentials`] finds those of the pod and of the node, [`providers`] asks plugins for more, [`records`] remembers with whose an image
//! came, and [`verification`] says when a pod has to show its own for an image that is here already.

mod access;
mod credentials;
mod providers;
mod pulling;
mod records;
mod verification;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use rk_cri_api::v1 as cri;
use tokio::sync::{Notify, Semaphore};

use access::PullSource;
pub use credentials::NodeCredentials;
use credentials::{Credential, lookup};
pub use providers::Providers;
use pulling::Pulling;
pub use records::PullRecords;
pub use verification::{Verification, pattern_problem};

use crate::events::{PodRef, Recorder};
use crate::pace::Pace;
use crate::pod::backoff::BackOff;
use crate::pod::spec;
use crate::runtime::{Runtime, RuntimeError};
use crate::throttle::Throttle;

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
    node: NodeCredentials,
    providers: Providers,
    records: Arc<PullRecords>,
    back_off: Mutex<BackOff>,
    failures: Mutex<BTreeMap<String, (Timestamp, String)>>,
    pulling: Pulling,
    slots: Semaphore,
    throttle: Throttle,
    /// Notified of pulls that had no room.
    lack: Arc<Notify>,
}

/// An image that has to be pulled.
struct Wanted<'a> {
    image: &'a str,
    /// The ID of what was here under this name without a pull.
    preloaded: Option<&'a str>,
    /// Whether it is pulled even if it is here.
    always: bool,
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
    /// A puller over this runtime, with the node's own credentials, its plugins and the records of what was pulled with whose. It pulls
    /// so often and so many images at a time as `pace` says; `lack` hears of pulls that had no room.
    pub fn new(
        runtime: Runtime,
        recorder: Recorder,
        node: NodeCredentials,
        providers: Providers,
        records: Arc<PullRecords>,
        pace: &Pace,
        lack: Arc<Notify>,
    ) -> Self {
        Self {
            runtime,
            recorder,
            node,
            providers,
            records,
            back_off: Mutex::default(),
            failures: Mutex::default(),
            pulling: Pulling::default(),
            slots: Semaphore::new(pace.parallel_pulls.clamp(1, Semaphore::MAX_PERMITS)),
            throttle: Throttle::new(pace.pulls, Instant::now()),
            lack,
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
        let present = self.runtime.image_status(image).await.map_err(|e| {
            let message = format!("Failed to inspect image \"{image}\": {e}");
            self.recorder.warning(about, "InspectFailed", message.clone());
            ImageError { reason: "ImageInspectError", message, retry: Some(Duration::from_secs(10)) }
        })?;
        let policy = pull_policy(image, policy);
        let mut found = lookup(image, secrets, &self.node);
        // A pull that is given up takes from nobody what was everybody's before it.
        let preloaded = present.as_ref().map(|found| found.id.clone());
        let preloaded = preloaded.filter(|id| !self.records.pulled_here(image, id));
        let mut usable = self.usable(image, present.clone(), &found);
        // Plugins cost a process each: they run when nothing else suffices.
        let wanted = policy != "Never" || present.is_some();
        if policy == "Always" || (usable.is_none() && wanted) {
            found.extend(self.providers.credentials(pod, image).await);
            usable = self.usable(image, present, &found);
        }
        match (policy, usable) {
            ("IfNotPresent" | "Never", Some(found)) => {
                self.recorder.normal(about, "Pulled", already_present(image));
                return Ok(found);
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.recorder.warning(about, "ErrImageNeverPull", message.clone());
                return Err(ImageError { reason: "ErrImageNeverPull", message, retry: None });
            }
            _ => {}
        }
        let asked = Wanted { image, preloaded: preloaded.as_deref(), always: policy == "Always" };
        self.pull(pod, about, &asked, found, sandbox).await
    }

    /// An image that this pod has not shown to be allowed to use is as good as absent.
    fn usable(&self, image: &str, present: Option<cri::Image>, found: &[Credential]) -> Option<cri::Image> {
        let sources: Vec<PullSource> = found.iter().filter_map(|credential| credential.source.clone()).collect();
        present.filter(|present| !self.records.must_pull(image, &present.id, &sources))
    }

    async fn pull(
        &self,
        pod: &Pod,
        about: &PodRef,
        wanted: &Wanted<'_>,
        credentials: Vec<Credential>,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, ImageError> {
        let image = wanted.image;
        let key = format!("{}_{image}", spec::uid(pod));
        if let Some(error) = self.held_back(&key, image) {
            self.recorder.normal(about, "BackOff", format!("Back-off pulling image \"{image}\""));
            return Err(error);
        }
        self.recorder.normal(about, "Pulling", format!("Pulling image \"{image}\""));
        let asked = Instant::now();
        self.pulling.began(spec::uid(pod), asked);
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let began = Instant::now();
        if let Some(found) = self.came_meanwhile(wanted, &credentials).await {
            self.pulling.ended(spec::uid(pod), Instant::now());
            self.recorder.normal(about, "Pulled", already_present(image));
            return Ok(found);
        }
        match self.pull_noted(image, wanted.preloaded, credentials, sandbox).await {
            Ok(found) => {
                self.pulling.ended(spec::uid(pod), Instant::now());
                self.back_off.lock().unwrap_or_else(PoisonError::into_inner).forget(&key);
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                self.runtime.meters.pulled(found.size, began.elapsed());
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
                // Soon after, the state moves on to ImagePullBackOff, as users know it.
                Err(ImageError { reason: "ErrImagePull", message: error, retry: Some(Duration::from_secs(3)) })
            }
        }
    }

    /// What another pod's pull has brought while this one waited for a slot: many pods of one new image must not use up the pace of pulls.
    async fn came_meanwhile(&self, wanted: &Wanted<'_>, credentials: &[Credential]) -> Option<cri::Image> {
        if wanted.always {
            return None;
        }
        let present = self.runtime.image_status(wanted.image).await.ok()?;
        self.usable(wanted.image, present, credentials)
    }

    fn held_back(&self, key: &str, image: &str) -> Option<ImageError> {
        let (failed_at, error) = self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()?;
        let left =
            self.back_off.lock().unwrap_or_else(PoisonError::into_inner).remaining(key, failed_at, Timestamp::now())?;
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {error}");
        Some(ImageError { reason: "ImagePullBackOff", message, retry: Some(left) })
    }

    /// Pulls an image, and notes whose credentials it came by.
    async fn pull_noted(
        &self,
        image: &str,
        preloaded: Option<&str>,
        credentials: Vec<Credential>,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, String> {
        self.throttle.take(Instant::now()).map_err(|_| "pull QPS exceeded".to_owned())?;
        let pulling = self.records.begin(image, preloaded)?;
        let (reference, source) = match self.try_credentials(image, credentials, sandbox).await {
            Ok(pulled) => pulled,
            Err(error) => {
                pulling.failed();
                return Err(error);
            }
        };
        // The image is here: what goes wrong from now on leaves it noted as one that somebody pulls.
        match self.runtime.image_status(&reference).await {
            Ok(Some(found)) => {
                pulling.succeeded(&found.id, source.as_ref());
                Ok(found)
            }
            Ok(None) => Err(format!("the runtime pulled {reference} and does not know it")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Without credentials last, so that a public image pulls even with a wrong secret. Answers with whose did it, unless they are the
    /// node's.
    async fn try_credentials(
        &self,
        image: &str,
        credentials: Vec<Credential>,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<(String, Option<PullSource>), String> {
        for Credential { auth, source } in credentials {
            match self.runtime.pull_image(image, Some(auth), sandbox.clone()).await {
                Ok(reference) => return Ok((reference, source)),
                Err(error) => tracing::debug!(image, of_node = source.is_none(), "pulling with credentials: {error}"),
            }
        }
        let pulled = self.runtime.pull_image(image, None, sandbox.clone()).await;
        if pulled.as_ref().is_err_and(RuntimeError::no_room) {
            // Unused images may make room until the next attempt.
            self.lack.notify_one();
        }
        pulled.map(|reference| (reference, None)).map_err(|error| error.brief())
    }

    /// For how long images of a pod were pulled, those that are here.
    pub fn pulling(&self, uid: &str) -> Duration {
        self.pulling.of(uid)
    }

    /// Forgets the back-off, the pulls and the tokens of a pod.
    pub fn forget(&self, uid: &str) {
        self.pulling.forget(uid);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !key.starts_with(uid));
        self.providers.forget(uid);
    }
}

fn already_present(image: &str) -> String {
    format!("Container image \"{image}\" already present on machine and can be accessed by the pod")
}

fn short(duration: Duration) -> String {
    if duration.as_secs() > 0 {
        format!("{:.3}s", duration.as_secs_f64())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
