//! Reading objects for the server's own use.

use std::sync::Arc;

use rk_api::resources::Resource;
use rk_api::status::Status;
use serde_json::Value;

use crate::server::Core;
use crate::storage::ResourceCache;

impl Core {
    /// The row of a resource that is known to be served.
    ///
    /// # Errors
    /// 404 when it is not.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Result<Arc<Resource>, Status> {
        self.registry().get(group, version, plural).cloned().ok_or_else(Status::unknown_path)
    }

    /// Whether what a row says of stored objects holds still: definitions of custom kinds change and go.
    #[must_use]
    pub fn is_current(&self, hub: &Resource) -> bool {
        self.registry().hub(hub).is_some_and(|now| now.has_form_of(hub))
    }

    /// The cache of a resource (in its storage version).
    ///
    /// # Errors
    /// 404 for an unknown resource; the store cannot be read.
    pub async fn cache(&self, group: &str, version: &str, plural: &str) -> Result<Arc<ResourceCache>, Status> {
        let resource = self.resource(group, version, plural)?;
        self.storage.cache(&resource).await
    }

    /// One object in its storage version, as of this server's last write.
    ///
    /// # Errors
    /// As [`Core::cache`].
    pub async fn object(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let resource = self.resource(group, version, plural)?;
        Ok(self.storage.cached(&resource, namespace, name).await?.map(|object| object.value()))
    }

    /// As [`Core::object`], from the cache alone: an object that another server made a moment ago may not be there yet. For names that
    /// anybody may make up, so that none of them costs the store a read.
    ///
    /// # Errors
    /// As [`Core::cache`].
    pub async fn known_object(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let resource = self.resource(group, version, plural)?;
        Ok(self.storage.settled_cache(&resource).await?.get(namespace, name).map(|object| object.value()))
    }

    /// Every object of a namespace (empty: of all) as of this server's last write.
    ///
    /// # Errors
    /// As [`Core::cache`].
    pub async fn objects(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
    ) -> Result<Vec<Value>, Status> {
        let resource = self.resource(group, version, plural)?;
        Ok(self.storage.all_cached(&resource, namespace).await?.iter().map(|object| object.value()).collect())
    }

    /// As [`Core::object`], for the kinds that nearly every request is judged by: their trees are kept.
    ///
    /// # Errors
    /// As [`Core::cache`].
    pub async fn consult(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status> {
        let resource = self.resource(group, version, plural)?;
        Ok(self.storage.cached(&resource, namespace, name).await?.map(|object| object.tree()))
    }

    /// As [`Core::objects`], for the kinds that nearly every request is judged by: their trees are kept.
    ///
    /// # Errors
    /// As [`Core::cache`].
    pub async fn consult_all(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
    ) -> Result<Vec<Arc<Value>>, Status> {
        let resource = self.resource(group, version, plural)?;
        Ok(self.storage.all_cached(&resource, namespace).await?.iter().map(|object| object.tree()).collect())
    }
}
