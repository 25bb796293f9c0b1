//! The IPAddress objects that say which Service holds which address (KEP-1880). Their creation is atomic, so that two servers on
//! one store never give the same address twice.

use std::net::IpAddr;
use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::Status;
use rk_store::{Expect, StoreError};
use serde_json::{Value, json};

use super::addresses;
use crate::server::Core;
use crate::storage::store_status;

/// Marks the records that the server keeps; it leaves all others alone.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// A Service by namespace and name.
pub(super) type Owner = (String, String);

/// Whose a Service is.
pub(super) fn owner_of(service: &Value) -> Owner {
    (meta::namespace(service).to_owned(), meta::name(service).to_owned())
}

/// The Service that a record of ours names; `None` for records of others.
pub(super) fn named_owner(record: &Value) -> Option<Owner> {
    let parent = meta::at(record, &["spec", "parentRef"]);
    let ours = meta::text(meta::labels(record), &[MANAGED_BY]) == ALLOCATOR;
    let text = |field: &str| meta::text(parent, &[field]).to_owned();
    (ours && text("resource") == "services" && text("group").is_empty()).then(|| (text("namespace"), text("name")))
}

/// The record of an address.
fn record(address: IpAddr, owner: &Owner) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut object = json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": address.to_string(), "labels": {MANAGED_BY: ALLOCATOR, "ipaddress.kubernetes.io/ip-family": family}},
        "spec": {"parentRef": {"resource": "services", "namespace": owner.0, "name": owner.1}},
    });
    meta::fill_system_fields(&mut object, jiff::Timestamp::now());
    object
}

fn resource(core: &Core) -> Result<Arc<Resource>, Status> {
    core.resource("networking.k8s.io", "v1", "ipaddresses")
}

/// Writes down that a Service holds an address. `false` when another one does.
pub(super) async fn claim(core: &Core, address: IpAddr, owner: &Owner) -> Result<bool, Status> {
    let hub = resource(core)?;
    let mut object = record(address, owner);
    let request = rk_api::managed::Request {
        schema: &hub.schema,
        manager: "kube-apiserver",
        api_version: &hub.api_version(),
        subresource: "",
        force: false,
        now: jiff::Timestamp::now(),
        has_status: false,
        status_resets: &rk_api::managed::SPEC,
        versions: &rk_api::managed::OneVersion,
    };
    rk_api::managed::update(None, &mut object, &request);
    match core.storage.put(&hub, object, Expect::Absent).await {
        Ok(_) => Ok(true),
        // A record that is left of an earlier attempt for the same Service is as good as a new one.
        Err(StoreError::Conflict { .. }) => {
            let present = core.storage.read(&hub, "", &address.to_string()).await?;
            Ok(present.and_then(|(object, _)| named_owner(&object)).as_ref() == Some(owner))
        }
        Err(error) => Err(store_status(&error)),
    }
}

/// The addresses that a Service has in the store.
pub(super) async fn addresses_of(core: &Core, owner: &Owner) -> Result<Vec<IpAddr>, Status> {
    let hub = core.resource("", "v1", "services")?;
    let found = core.storage.read(&hub, &owner.0, &owner.1).await?;
    Ok(found.map(|(service, _)| addresses::of(&service)).unwrap_or_default())
}

/// Removes the records of addresses, as far as they are the Service's. What fails is repaired later.
pub(super) async fn release(core: &Core, addresses: impl IntoIterator<Item = IpAddr>, owner: &Owner) {
    for address in addresses {
        if let Err(status) = release_one(core, address, owner).await {
            tracing::warn!(%status, %address, "the record of a free address stays until it is repaired");
        }
    }
}

async fn release_one(core: &Core, address: IpAddr, owner: &Owner) -> Result<(), Status> {
    remove(core, address, owner, true).await
}

/// Writes down that a Service has an address, whatever stood there instead. A record that another server wrote meanwhile, and that says so,
/// stays.
pub(super) async fn rewrite(core: &Core, address: IpAddr, owner: &Owner) -> Result<(), Status> {
    remove(core, address, owner, false).await?;
    claim(core, address, owner).await.map(drop)
}

/// Removes the record of an address, if it is the owner's, or if it is not.
async fn remove(core: &Core, address: IpAddr, owner: &Owner, is_owners: bool) -> Result<(), Status> {
    let hub = resource(core)?;
    let name = address.to_string();
    let Some((object, revision)) = core.storage.read(&hub, "", &name).await? else { return Ok(()) };
    if (named_owner(&object).as_ref() == Some(owner)) != is_owners {
        return Ok(());
    }
    match core.storage.delete(&hub, "", &name, Expect::At(revision)).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(store_status(&error)),
    }
}
