//! Mutating webhooks, one after the other, and once more for those that want to see what others changed.

use std::sync::Arc;

use rk_api::decode::{self, FieldValidation};
use rk_api::meta;
use rk_api::patch::json_patch;
use rk_api::resources::Resource;
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::Value;

use super::super::{Request, matching};
use super::ask::ask;
use super::hook::{Hook, Kind, hooks};
use crate::conversion;

/// One change on its way through the mutating webhooks.
pub(crate) struct Round {
    hooks: Arc<Vec<Hook>>,
    /// The object as each webhook that wants to be asked again left it.
    left: Vec<Option<Value>>,
}

impl Round {
    /// The webhooks as of now.
    pub(crate) async fn of(request: &Request<'_>) -> Result<Self, Status> {
        Ok(Self { hooks: hooks(request, Kind::Mutating).await?, left: Vec::new() })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Asks every webhook that the change concerns; tells whether one of them changed the object.
    pub(crate) async fn first(
        &mut self,
        request: &Request<'_>,
        mut object: Option<&mut Value>,
        warnings: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let mut changed = false;
        for hook in &*Arc::clone(&self.hooks) {
            let asked = one(hook, request, object.as_deref_mut(), warnings).await?;
            changed |= asked == Some(true);
            let left = asked.filter(|_| hook.again).and_then(|_| object.as_deref().cloned());
            self.left.push(left);
        }
        Ok(changed)
    }

    /// Asks those again whose work others changed since.
    pub(crate) async fn again(
        self,
        request: &Request<'_>,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        for (hook, left) in self.hooks.iter().zip(self.left) {
            if left.is_some_and(|left| left != *object) {
                one(hook, request, Some(object), warnings).await?;
            }
        }
        Ok(())
    }
}

/// Asks one webhook, if the change concerns it; answers whether it changed the object.
async fn one(
    hook: &Hook,
    request: &Request<'_>,
    object: Option<&mut Value>,
    warnings: &mut Vec<String>,
) -> Result<Option<bool>, Status> {
    let Some(row) = matching::row(&hook.scope, request, object.as_deref()).await? else { return Ok(None) };
    let Some(outcome) = ask(hook, request, Arc::clone(&row), object.as_deref(), true).await? else { return Ok(None) };
    warnings.extend(outcome.warnings);
    outcome.verdict?;
    let Some(patch) = outcome.patch.filter(|patch| *patch != Value::Array(Vec::new())) else { return Ok(Some(false)) };
    let Some(object) = object else { return Err(unchangeable(&hook.name)) };
    let patched =
        changed_by(request, &row, object, |shown| json_patch(shown, &patch).map_err(Status::internal)).await?;
    let changed = patched != *object;
    *object = patched;
    Ok(Some(changed))
}

/// A webhook wants to change what is not there, as in a deletion.
fn unchangeable(hook: &str) -> Status {
    let what = "attempted to modify the object, which is not supported for this operation";
    Status::internal(format!("admission webhook {hook:?} {what}"))
}

/// The object after a change that was made for the version of `row`, complete again.
///
/// # Errors
/// The change fails, or leaves what cannot be such an object.
pub(in super::super) async fn changed_by(
    request: &Request<'_>,
    row: &Resource,
    object: &Value,
    change: impl FnOnce(&mut Value) -> Result<(), Status>,
) -> Result<Value, Status> {
    let own_kind = object.get("kind").and_then(Value::as_str) != Some(&*request.resource.gvk.kind);
    let mut shown = if own_kind { object.clone() } else { conversion::to(request.core, object.clone(), row).await? };
    if request.subresource == "scale" {
        let mut view = rk_api::scale::view(row, &shown)?;
        change(&mut view)?;
        let scaled = rk_api::scale::apply(row, &shown, &view)?;
        return conversion::to_stored(request.core, scaled, request.resource).await;
    }
    change(&mut shown)?;
    if own_kind {
        return Ok(shown);
    }
    refuse_kind(&shown, row)?;
    let (kind, version) = (&row.gvk.kind, &row.gvk.version);
    let fitted = decode::finish(shown, Vec::new(), &row.schema, FieldValidation::Ignore);
    let mut shown = fitted.map_err(|error| error.into_status(kind, version, &[]))?.object;
    match &row.custom {
        Some(custom) => custom.default(&mut shown),
        None => rk_api::defaults::apply(&row.gvk, &mut shown),
    }
    conversion::to_stored(request.core, shown, request.resource).await
}

/// A change must leave the kind as it is. Of custom kinds the rules say so, of the others the decoder.
fn refuse_kind(changed: &Value, row: &Resource) -> Result<(), Status> {
    let (version, kind) = (meta::text(changed, &["apiVersion"]), meta::text(changed, &["kind"]));
    if kind == row.gvk.kind {
        return Ok(());
    }
    if kind.is_empty() {
        return Err(Status::internal(format!("Object 'Kind' is missing in '{changed}'")));
    }
    if row.custom.is_none() {
        return Err(Status::internal(decode::unregistered(kind, version)));
    }
    let mut errors = FieldErrors::new();
    errors.invalid(&Path::new("kind"), kind, format!("must be {}", row.gvk.kind));
    Err(Status::invalid(&row.gvk.group, kind, meta::name(changed), &errors.0))
}

#[cfg(test)]
mod tests {
    use rk_api::resources::Registry;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_not_changed() {
        let registry = Registry::builtin();
        let maps = registry.get("", "v1", "configmaps").unwrap();
        let changed = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
        assert!(refuse_kind(&changed("ConfigMap"), maps).is_ok());
        let why = refuse_kind(&changed("ZZ"), maps).unwrap_err().message;
        assert!(why.starts_with("Internal error occurred: no kind \"ZZ\" is registered for version \"v1\""), "{why}");
        let why = refuse_kind(&json!({}), maps).unwrap_err().message;
        assert_eq!(why, "Internal error occurred: Object 'Kind' is missing in '{}'");
    }

    #[test]
    fn what_is_deleted_is_not_changed() {
        let want = "Internal error occurred: admission webhook \"a.b.c\" attempted to modify the object, which is not supported for this operation";
        let status = unchangeable("a.b.c");
        assert_eq!((status.code, status.message.as_str()), (500, want));
    }
}
