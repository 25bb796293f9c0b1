//! What every cluster has from its first second: made when missing, repaired when damaged, at every start.

mod cluster_info;
mod extension_auth;
mod kubernetes_service;
mod objects;
mod roles;

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use rk_api::status::Status;
use serde_json::Value;

use crate::front_door::write;
use crate::health::Hook;
use crate::server::Core;

/// Objects written at once; they share the store's commits.
const AT_ONCE: usize = 32;

/// Makes everything.
pub(crate) async fn run(core: &Arc<Core>) -> Result<(), Status> {
    ensure_all(core, objects::namespaces()).await?;
    core.health.finish(Hook::Namespaces);
    ensure_all(core, objects::classes(core)).await?;
    core.health.finish(Hook::PriorityClasses);
    roles::reconcile(core).await?;
    core.health.finish(Hook::Roles);
    extension_auth::reconcile(core).await?;
    core.health.finish(Hook::ClientAuthorities);
    kubernetes_service::reconcile(core).await?;
    core.health.finish(Hook::KubernetesService);
    cluster_info::reconcile(core).await?;
    core.health.set_bootstrapped();
    tracing::info!("the cluster's own objects are in place");
    Ok(())
}

/// One object to be there: group, version, plural, then the object.
type Wanted = (&'static str, &'static str, &'static str, Value);

async fn ensure_all(core: &Arc<Core>, objects: Vec<Wanted>) -> Result<(), Status> {
    let writes = objects.into_iter().map(|(group, version, plural, object)| {
        let core = Arc::clone(core);
        async move { ensure(&core, group, version, plural, object).await }
    });
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Creates an object unless one of its name exists.
async fn ensure(core: &Arc<Core>, group: &str, version: &str, plural: &str, object: Value) -> Result<(), Status> {
    let (namespace, name) = (rk_api::meta::namespace(&object), rk_api::meta::name(&object));
    if core.object(group, version, plural, namespace, name).await?.is_some() {
        return Ok(());
    }
    let resource = core.resource(group, version, plural)?;
    let Err(status) = write(core, Method::POST, &resource, "", &object).await else { return Ok(()) };
    // Another server may have made it meanwhile; of a Service that is told as an address that is taken.
    let there = core.storage.read(&resource, namespace, name).await?.is_some();
    if there { Ok(()) } else { Err(status) }
}

/// Replaces an object with a changed copy of itself.
async fn replace(core: &Arc<Core>, group: &str, version: &str, plural: &str, object: &Value) -> Result<(), Status> {
    let resource = core.resource(group, version, plural)?;
    write(core, Method::PUT, &resource, "", object).await
}
