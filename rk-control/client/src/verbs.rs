//! API verbs for any typed kind, namespaced or not, by key.

use kube::Client;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::{ObjectList, Request};
use rk_watch::{Object, ObjectKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
pub struct Deletion {
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object still has this revision.
    pub resource_version: Option<String>,
    /// Seconds; `Some(0)` deletes at once.
    pub grace: Option<u32>,
    /// What happens to dependents.
    pub propagation: Option<PropagationPolicy>,
}

impl Deletion {
    /// Deletes only the object with this uid.
    pub fn of_uid(uid: Option<&String>) -> Self {
        Self { uid: uid.cloned(), ..Self::default() }
    }

    /// Skips the grace period.
    pub fn now(mut self) -> Self {
        self.grace = Some(0);
        self
    }

    /// Dependents are deleted by the garbage collector afterwards.
    pub fn background(mut self) -> Self {
        self.propagation = Some(PropagationPolicy::Background);
        self
    }

    fn params(&self) -> DeleteParams {
        let preconditions = (self.uid.is_some() || self.resource_version.is_some())
            .then(|| Preconditions { uid: self.uid.clone(), resource_version: self.resource_version.clone() });
        DeleteParams {
            grace_period_seconds: self.grace,
            propagation_policy: self.propagation.clone(),
            preconditions,
            ..DeleteParams::default()
        }
    }
}

/// Verbs on [`kube::Client`], addressed by [`ObjectKey`].
#[allow(async_fn_in_trait, reason = "for `Client` alone, whose futures are seen to be `Send` where they are spawned")]
pub trait Verbs {
    /// Reads one object.
    async fn get<K: Object>(&self, key: &ObjectKey) -> kube::Result<K>;
    /// Lists a namespace, or everything.
    async fn list<K: Object>(&self, namespace: Option<&str>, params: &ListParams) -> kube::Result<ObjectList<K>>;
    /// Creates an object in the namespace of its metadata.
    async fn create<K: Object>(&self, object: &K) -> kube::Result<K>;
    /// Replaces an object; its resourceVersion guards against lost updates.
    async fn replace<K: Object>(&self, object: &K) -> kube::Result<K>;
    /// Replaces a subresource such as `status`, with the whole object as body.
    async fn replace_sub<K: Object>(&self, subresource: &str, object: &K) -> kube::Result<K>;
    /// Patches an object.
    async fn patch<K: Object, P: Serialize + std::fmt::Debug>(
        &self,
        key: &ObjectKey,
        patch: &Patch<P>,
    ) -> kube::Result<K>;
    /// Patches a subresource.
    async fn patch_sub<K: Object, P: Serialize + std::fmt::Debug>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        patch: &Patch<P>,
    ) -> kube::Result<K>;
    /// Applies a configuration of a subresource as the field manager `manager`, who takes what others own of it.
    async fn apply_sub<K: Object, B: Serialize>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        manager: &str,
        configuration: &B,
    ) -> kube::Result<K>;
    /// Posts to a subresource such as `binding` or `eviction`.
    async fn post_sub<K: Object, B: Serialize, A: DeserializeOwned>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        body: &B,
    ) -> kube::Result<A>;
    /// Deletes an object; answers what was left of it, if the server said so.
    async fn delete<K: Object>(&self, key: &ObjectKey, how: &Deletion) -> kube::Result<Option<K>>;
}

fn request<K: Object>(namespace: Option<&str>) -> Request {
    Request::new(K::url_path(&(), namespace))
}

fn bytes<B: Serialize>(body: &B) -> kube::Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(kube::Error::SerdeError)
}

/// What an answer to a deletion says is left of the object; a `Status` says that nothing is.
fn left_of<K: Object>(text: &str) -> serde_json::Result<Option<K>> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, default)]
        kind: Cow<'a, str>,
    }
    let Kind { kind } = serde_json::from_str(text)?;
    if kind == "Status" { Ok(None) } else { serde_json::from_str(text).map(Some) }
}

impl Verbs for Client {
    async fn get<K: Object>(&self, key: &ObjectKey) -> kube::Result<K> {
        let built = request::<K>(key.scope()).get(&key.name, &GetParams::default());
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn list<K: Object>(&self, namespace: Option<&str>, params: &ListParams) -> kube::Result<ObjectList<K>> {
        let built = request::<K>(namespace).list(params);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn create<K: Object>(&self, object: &K) -> kube::Result<K> {
        let built = request::<K>(object.meta().namespace.as_deref()).create(&PostParams::default(), bytes(object)?);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn replace<K: Object>(&self, object: &K) -> kube::Result<K> {
        let key = ObjectKey::of(object);
        let built = request::<K>(key.scope()).replace(&key.name, &PostParams::default(), bytes(object)?);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn replace_sub<K: Object>(&self, subresource: &str, object: &K) -> kube::Result<K> {
        let key = ObjectKey::of(object);
        let built = request::<K>(key.scope()).replace_subresource(
            subresource,
            &key.name,
            &PostParams::default(),
            bytes(object)?,
        );
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn patch<K: Object, P: Serialize + std::fmt::Debug>(
        &self,
        key: &ObjectKey,
        patch: &Patch<P>,
    ) -> kube::Result<K> {
        let built = request::<K>(key.scope()).patch(&key.name, &PatchParams::default(), patch);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn patch_sub<K: Object, P: Serialize + std::fmt::Debug>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        patch: &Patch<P>,
    ) -> kube::Result<K> {
        let built = request::<K>(key.scope()).patch_subresource(subresource, &key.name, &PatchParams::default(), patch);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn apply_sub<K: Object, B: Serialize>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        manager: &str,
        configuration: &B,
    ) -> kube::Result<K> {
        let (params, patch) = (PatchParams::apply(manager).force(), Patch::Apply(configuration));
        let built = request::<K>(key.scope()).patch_subresource(subresource, &key.name, &params, &patch);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn post_sub<K: Object, B: Serialize, A: DeserializeOwned>(
        &self,
        subresource: &str,
        key: &ObjectKey,
        body: &B,
    ) -> kube::Result<A> {
        let built =
            request::<K>(key.scope()).create_subresource(subresource, &key.name, &PostParams::default(), bytes(body)?);
        self.request(built.map_err(kube::Error::BuildRequest)?).await
    }

    async fn delete<K: Object>(&self, key: &ObjectKey, how: &Deletion) -> kube::Result<Option<K>> {
        let built = request::<K>(key.scope()).delete(&key.name, &how.params());
        let text = self.request_text(built.map_err(kube::Error::BuildRequest)?).await?;
        left_of(&text).map_err(kube::Error::SerdeError)
    }
}
