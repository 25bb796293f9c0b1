//! Who changed which fields, as a change is about to be let in.

use rk_api::managed;
use rk_api::status::Status;
use serde_json::Value;

use super::call::Call;
use crate::conversion;

/// Records who changed which fields from `present`, in the path's version, to `new`, in that of the store. They are named as the request names
/// them.
pub(super) async fn count(call: &Call, present: &Value, new: &mut Value, subresource: &str) -> Result<(), Status> {
    if call.resource.is_hub() {
        return own(call, Some(present), new, subresource).await;
    }
    let mut spoken = conversion::to(&call.core, new.clone(), &call.resource).await?;
    own(call, Some(present), &mut spoken, subresource).await?;
    managed::hand_over(&mut spoken, new);
    Ok(())
}

/// Records who changed which fields; both objects are in the path's version.
pub(super) async fn own(call: &Call, old: Option<&Value>, new: &mut Value, subresource: &str) -> Result<(), Status> {
    let manager = call.field_manager()?;
    let request = managed::Request {
        schema: &call.resource.schema,
        manager: &manager,
        api_version: &call.resource.api_version(),
        subresource,
        force: false,
        now: jiff::Timestamp::now(),
        has_status: call.resource.subresource("status").is_some(),
        status_resets: rk_api::strategy::status_resets(&call.resource),
        versions: &*call.versions,
    };
    if !call.versions.are_asked_for() {
        managed::update(old, new, &request);
        return Ok(());
    }
    call.versions.forget();
    loop {
        let mut counted = new.clone();
        managed::update(old, &mut counted, &request);
        match call.versions.learn(&call.core).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(status) => {
                tracing::warn!(%status, "nobody owns an object that cannot be had in the versions of its owners")
            }
        }
        *new = counted;
        return Ok(());
    }
}
