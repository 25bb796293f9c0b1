//! The images that a container needs: its own, and those of its pod's volumes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use rk_cri_api::v1 as cri;

use super::Launch;
use crate::context::Context;
use crate::events::PodRef;
use crate::images::ImageError;
use crate::pod::spec;

impl Launch<'_> {
    /// Has all images of the container here, and answers with its own. An event tells that it does not start for want of one.
    pub(super) async fn images(
        &self,
        container: &Container,
        about: &PodRef,
        config: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, ImageError> {
        let secrets = pull_secrets(self.context, self.pod).await;
        let found = self.ensure_all(container, about, &secrets, config).await;
        found.inspect_err(|error| self.context.recorder.warning(about, "Failed", format!("Error: {}", error.reason)))
    }

    /// Counts what became of the volumes of the container that are images.
    pub(super) fn count_image_volumes(&self, container: &Container, good: bool) {
        let mounts = container.volume_mounts.iter().flatten();
        for _ in mounts.filter(|mount| self.volumes.images.contains_key(&mount.name)) {
            self.context.runtime.meters.image_volumes.mounted(good);
        }
    }

    async fn ensure_all(
        &self,
        container: &Container,
        about: &PodRef,
        secrets: &[Secret],
        config: &cri::PodSandboxConfig,
    ) -> Result<cri::Image, ImageError> {
        let images = &self.context.images;
        for (reference, policy) in self.volumes.images.values() {
            let about = PodRef::of(self.pod);
            self.context.runtime.meters.image_volumes.requested();
            images.ensure(self.pod, &about, reference, policy.as_deref(), secrets, config).await?;
        }
        let name = container.image.as_deref().unwrap_or_default();
        images.ensure(self.pod, about, name, container.image_pull_policy.as_deref(), secrets, config).await
    }
}

/// Pull secrets of the pod that exist.
async fn pull_secrets(context: &Context, pod: &Pod) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for reference in pod.spec.as_ref().and_then(|s| s.image_pull_secrets.as_deref()).unwrap_or_default() {
        match context.volumes.objects().secret(spec::namespace(pod), &reference.name, Duration::from_secs(30)).await {
            Ok(Some(secret)) => secrets.push((*secret).clone()),
            Ok(None) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                context.recorder.warning(&PodRef::of(pod), "FailedToRetrieveImagePullSecret", message);
            }
            Err(error) => {
                tracing::warn!(secret = %reference.name, "reading a pull secret: {}", crate::api_error::chain(&error))
            }
        }
    }
    secrets
}
