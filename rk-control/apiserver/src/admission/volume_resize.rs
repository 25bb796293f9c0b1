//! PersistentVolumeClaimResize: only bound claims of classes that allow it may grow.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::quantity::amount;
use super::{Operation, Request};

pub(super) async fn validate(request: &Request<'_>, claim: Option<&Value>) -> Result<(), Status> {
    let (Some(claim), Some(old)) = (claim, request.old) else { return Ok(()) };
    if !request.is("", "persistentvolumeclaims") || request.operation != Operation::Update {
        return Ok(());
    }
    let size = |claim: &Value| amount(meta::at(claim, &["spec", "resources", "requests", "storage"]));
    if size(claim) <= size(old) {
        return Ok(());
    }
    if meta::text(old, &["status", "phase"]) != "Bound" {
        return Err(request.forbid("Only bound persistent volume claims can be expanded"));
    }
    let name = meta::text(old, &["spec", "storageClassName"]);
    let class = request.core.object("storage.k8s.io", "v1", "storageclasses", "", name).await?;
    let allowed = class.is_some_and(|class| class.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true));
    if allowed {
        return Ok(());
    }
    Err(request.forbid("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}
