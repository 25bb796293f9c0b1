//! Collecting the files of one volume from the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource, VolumeProjection};

use super::atomic_writer::Payload;
use super::objects::Objects;
use super::payload::{common_user, config_map_data, downward, keyed, private_entry, secret_data};
use super::token::Tokens;
use super::trust::trust_anchors;
use crate::api_error;
use crate::pod::spec;
use crate::translate::FieldContext;

/// Sources of a volume that the API is asked for at once: every pod has a token and the cluster's authority in one.
const AT_ONCE: usize = 4;

/// What files are collected from.
pub struct Collector<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Node facts for the downward API.
    pub fields: &'a FieldContext,
    /// ConfigMaps and Secrets.
    pub objects: &'a Objects,
    /// Service account tokens.
    pub tokens: &'a Tokens,
    /// How old objects may be.
    pub max_age: Duration,
}

impl Collector<'_> {
    /// The files of a configMap volume.
    pub async fn config_map(
        &self,
        name: &str,
        items: Option<&[k8s_openapi::api::core::v1::KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Payload, String> {
        let found = self.objects.config_map(spec::namespace(self.pod), name, self.max_age).await;
        keyed("config", keys(found, config_map_data, ("configmap", name), optional)?, items, mode, optional)
    }

    /// The files of a secret volume.
    pub async fn secret(
        &self,
        name: &str,
        items: Option<&[k8s_openapi::api::core::v1::KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Payload, String> {
        let found = self.objects.secret(spec::namespace(self.pod), name, self.max_age).await;
        keyed("secret", keys(found, secret_data, ("secret", name), optional)?, items, mode, optional)
    }

    /// The files of a projected volume, all sources together.
    pub async fn projected(&self, volume: &ProjectedVolumeSource) -> Result<Payload, String> {
        let mut files = Payload::new();
        let mut problems = Vec::new();
        for some in volume.sources.as_deref().unwrap_or_default().chunks(AT_ONCE) {
            let mut asked = Vec::new();
            for source in some {
                asked.push(self.projection(source, volume.default_mode));
            }
            for answer in join_all(asked).await {
                match answer {
                    // Where two have a file, the later one's counts.
                    Ok(some) => files.extend(some),
                    // All problems are told at once: fixing them one by one is tedious.
                    Err(problem) => problems.push(problem),
                }
            }
        }
        match problems.as_slice() {
            [] => Ok(files),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    fn fs_group(&self) -> Option<i64> {
        self.pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|c| c.fs_group)
    }

    async fn projection(&self, source: &VolumeProjection, mode: Option<i32>) -> Result<Payload, String> {
        if let Some(map) = &source.config_map {
            return self.config_map(&map.name, map.items.as_deref(), mode, map.optional == Some(true)).await;
        }
        if let Some(secret) = &source.secret {
            return self.secret(&secret.name, secret.items.as_deref(), mode, secret.optional == Some(true)).await;
        }
        if let Some(fields) = &source.downward_api {
            return downward(self.pod, self.fields, fields.items.as_deref().unwrap_or_default(), mode);
        }
        if let Some(projection) = &source.service_account_token {
            let token = self.tokens.get(self.objects.client(), self.pod, projection).await?;
            let entry = private_entry(token.into_bytes(), mode, common_user(self.pod), self.fs_group());
            return Ok(Payload::from([(projection.path.clone(), entry)]));
        }
        if let Some(projection) = &source.cluster_trust_bundle {
            let anchors = trust_anchors(self.objects.client(), projection).await?;
            let entry = private_entry(anchors, mode, common_user(self.pod), self.fs_group());
            return Ok(Payload::from([(projection.path.clone(), entry)]));
        }
        if source.pod_certificate.is_some() {
            return Err("projected volume source podCertificate is not supported by this node".to_owned());
        }
        // The API server drops a source of a feature that is off, and leaves its place.
        Ok(Payload::new())
    }
}

/// The keys of what the API was asked for; none where there is no such object and need not be.
fn keys<T>(
    found: Result<Option<Arc<T>>, kube::Error>,
    of: fn(&T) -> BTreeMap<String, Vec<u8>>,
    (kind, name): (&str, &str),
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    match found.map_err(|error| api_error::text(&error))? {
        Some(object) => Ok(of(&object)),
        None if optional => Ok(BTreeMap::new()),
        None => Err(format!("{kind} \"{name}\" not found")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;
    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn sources_of_a_volume_are_asked_for_side_by_side_and_the_later_one_counts() {
        let both = Arc::new(Barrier::new(2));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let both = Arc::clone(&both);
            async move {
                // Whoever asks for one after the other gets no answer.
                both.wait().await;
                let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                    "data": {"same": name, (name.clone()): ""}});
                let answer = kube::client::Body::from(map.to_string().into_bytes());
                Ok::<_, tower::BoxError>(http::Response::builder().status(200).body(answer)?)
            }
        });
        let objects = Objects::new(kube::Client::new(service, "default"));
        let (pod, fields, tokens) = (Pod::default(), FieldContext::default(), Tokens::default());
        let collector =
            Collector { pod: &pod, fields: &fields, objects: &objects, tokens: &tokens, max_age: Duration::ZERO };
        let volume = json!({"sources": [{"configMap": {"name": "a"}}, {"configMap": {"name": "b"}}]});
        let volume: ProjectedVolumeSource = serde_json::from_value(volume).unwrap();
        let files = tokio::time::timeout(Duration::from_secs(60), collector.projected(&volume)).await.unwrap().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b", "same"]);
        assert_eq!(files["same"].data, b"b");
    }

    #[test]
    fn what_is_not_there_has_no_keys_where_it_need_not_be() {
        let map = ConfigMap { data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])), ..ConfigMap::default() };
        let named = |found: Option<Arc<ConfigMap>>, optional: bool| {
            keys(Ok(found), config_map_data, ("configmap", "a"), optional)
        };
        for optional in [true, false] {
            let want = BTreeMap::from([("k".to_owned(), b"v".to_vec())]);
            assert_eq!(named(Some(Arc::new(map.clone())), optional), Ok(want));
        }
        assert_eq!(named(None, true), Ok(BTreeMap::new()));
        assert_eq!(named(None, false), Err("configmap \"a\" not found".to_owned()));
    }
}
