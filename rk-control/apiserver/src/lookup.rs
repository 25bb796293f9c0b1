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
        let cache = self.storage.cache(&resource).await?;
        self.storage.settled().await?;
        Ok(cache.get(namespace, name).map(|object| object.value()))
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
        let cache = self.cache(group, version, plural).await?;
        let floor = self.storage.settled().await?;
        Ok(cache.snapshot(namespace, floor, |_| true).objects.iter().map(|object| object.value()).collect())
    }
}
