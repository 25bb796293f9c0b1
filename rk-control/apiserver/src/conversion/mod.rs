//! Objects from one version of their kind to another: built-in kinds by rule, custom kinds by relabelling or by their webhook.
//!
//! Objects of a custom kind that a webhook converts are stored as they were written; whoever reads them asks for the version that
//! is wanted, in one call for as many as there are.

mod owners;
mod review;

use std::time::Duration;

use rk_api::meta;
use rk_api::resources::{Registry, Resource};
use rk_api::status::{Reason, Status};
use serde_json::Value;

use crate::server::Core;

pub use owners::OwnersVersions;

/// How long a conversion may take; upstream's figure.
const LIMIT: Duration = Duration::from_secs(30);
/// Most objects in one question, so that questions and answers stay far below what is read of them.
const BATCH: usize = 500;

/// An object in the version of a row.
///
/// # Errors
/// There is no way between the two, or the webhook failed.
pub async fn to(core: &Core, object: Value, row: &Resource) -> Result<Value, Status> {
    let mut objects = all_to(core, vec![object], row).await?;
    objects.pop().ok_or_else(|| Status::internal("a conversion lost its object"))
}

/// An object as it is stored: in that version, with the defaults that its readers would find.
///
/// # Errors
/// As [`to`].
pub async fn to_stored(core: &Core, object: Value, hub: &Resource) -> Result<Value, Status> {
    let mut object = to(core, object, hub).await?;
    if let Some(custom) = &hub.custom {
        custom.default(&mut object);
    }
    Ok(object)
}

/// Objects in the version of a row, in their order, without what that does not know. Its defaults do not come: they belong to the version in
/// which an object was sent, and to the one in which it is stored.
///
/// # Errors
/// As [`to`].
pub async fn all_to(core: &Core, mut objects: Vec<Value>, row: &Resource) -> Result<Vec<Value>, Status> {
    let Some(custom) = &row.custom else { return undefaulted(core, objects, row).await };
    let (wanted, registry) = (row.api_version(), core.registry());
    objects.iter_mut().for_each(|object| settle(&registry, row, object));
    let foreign: Vec<bool> = objects.iter().map(|object| meta::text(object, &["apiVersion"]) != wanted).collect();
    let mut objects = undefaulted(core, objects, row).await?;
    for (object, _) in objects.iter_mut().zip(foreign).filter(|(_, foreign)| *foreign) {
        custom.prune(object, &row.schema);
    }
    Ok(objects)
}

/// Gives an object of a custom kind the form of its own version as that is now, unless that is the stored one: of that it has it already.
fn settle(registry: &Registry, row: &Resource, object: &mut Value) {
    let (group, version) = meta::text(object, &["apiVersion"]).split_once('/').unwrap_or_default();
    let own = registry.known(group, version, &row.plural).filter(|own| own.hub == row.hub && !own.is_hub());
    if let Some((own, custom)) = own.and_then(|own| Some((own, own.custom.as_ref()?))) {
        custom.complete(object, &own.schema);
    }
}

/// As [`all_to`], without what the version would add by itself.
async fn undefaulted(core: &Core, mut objects: Vec<Value>, row: &Resource) -> Result<Vec<Value>, Status> {
    let wanted = row.api_version();
    let Some(webhook) = row.custom.as_ref().and_then(|custom| custom.conversion.as_ref()) else {
        return objects.into_iter().map(|object| by_rule(object, row, &wanted)).collect();
    };
    let foreign = |object: &Value| meta::text(object, &["apiVersion"]) != wanted;
    let places: Vec<usize> = (0..objects.len()).filter(|index| objects.get(*index).is_some_and(foreign)).collect();
    for places in places.chunks(BATCH) {
        let asked: Vec<&Value> = places.iter().filter_map(|place| objects.get(*place)).collect();
        let version = asked.first().map(|object| meta::text(object, &["apiVersion"]).to_owned()).unwrap_or_default();
        let failed = |why: String| {
            Status::new(Reason::Unknown, format!("conversion webhook for {version}, Kind={} {why}", row.gvk.kind))
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let question = review::question(&webhook.version, &uid, &wanted, &asked);
        let answer = core.callouts.post(core, &webhook.client, &question, LIMIT).await;
        let answer = answer.map_err(|error| failed(format!("failed: {error}")))?;
        let converted =
            review::answer(&answer, (webhook.version.as_str(), uid.as_str()), &wanted, &asked).map_err(failed)?;
        for (place, object) in places.iter().zip(converted) {
            if let Some(own) = objects.get_mut(*place) {
                *own = object;
            }
        }
    }
    Ok(objects)
}

fn by_rule(object: Value, row: &Resource, wanted: &str) -> Result<Value, Status> {
    if meta::text(&object, &["apiVersion"]) == wanted {
        return Ok(object);
    }
    rk_api::convert::convert(object, &row.gvk)
}
