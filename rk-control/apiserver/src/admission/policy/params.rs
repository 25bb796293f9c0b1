//! The objects that a binding gives its policy as `params`.

use std::sync::Arc;

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::selector::LabelSelector;
use rk_api::status::Status;
use serde_json::Value;

use super::super::Request;
use super::read::{Binding, Policy};
use crate::conversion;

/// Why there are no parameters.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    /// Whether the policy cannot be used, whatever binds it.
    pub(super) policy: bool,
    /// In upstream's words.
    pub(super) why: String,
}

impl Wrong {
    fn binding(why: &str) -> Self {
        Self { policy: false, why: format!("failed to configure binding: {why}") }
    }
}

/// The parameters with which a policy is evaluated: one after the other, null for one that has none.
///
/// # Errors
/// Outside: the store cannot be read. Inside: why policy or binding cannot be used.
pub(super) async fn of(
    policy: &Policy,
    binding: &Binding,
    request: &Request<'_>,
) -> Result<Result<Vec<Value>, Wrong>, Status> {
    let (Some((version, kind)), Some(reference)) = (&policy.param_kind, &binding.param) else {
        return Ok(Ok(vec![Value::Null]));
    };
    let registry = request.core.registry();
    let row = registry.iter().find(|row| row.api_version() == *version && row.gvk.kind == *kind);
    let Some(row) = row.cloned() else {
        let why = format!(
            "failed to configure policy: failed to find resource referenced by paramKind: '{version}, Kind={kind}'"
        );
        return Ok(Err(Wrong { policy: true, why }));
    };
    let namespace = match (row.namespaced(), meta::text(reference, &["namespace"]), request.namespace) {
        (false, "", _) => "",
        (false, ..) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Ok(Err(Wrong::binding(why)));
        }
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Ok(Err(Wrong::binding(why)));
        }
        (true, "", own) => own,
        (true, given, _) => given,
    };
    let found = find(request, &row, namespace, reference).await?;
    if found.is_empty() {
        return Ok(match meta::text(reference, &["parameterNotFoundAction"]) {
            "Allow" => Ok(Vec::new()),
            _ => Err(Wrong::binding("no params found for policy binding with `Deny` parameterNotFoundAction")),
        });
    }
    Ok(Ok(found))
}

async fn find(
    request: &Request<'_>,
    row: &Arc<Resource>,
    namespace: &str,
    reference: &Value,
) -> Result<Vec<Value>, Status> {
    let registry = request.core.registry();
    // By its row, since a version need not be served for objects to be kept in it.
    let (hub, storage) = (registry.hub(row).unwrap_or(row), &request.core.storage);
    let objects: Vec<Value> = match meta::text(reference, &["name"]) {
        "" => {
            let selector = LabelSelector::from_object(meta::at(reference, &["selector"]));
            let selector = selector.unwrap_or(LabelSelector::NOTHING);
            let all = storage.all_cached(hub, namespace).await?;
            let all = all.iter().map(|object| object.value());
            all.filter(|object| selector.matches(meta::labels(object))).collect()
        }
        name => storage.cached(hub, namespace, name).await?.iter().map(|object| object.value()).collect(),
    };
    conversion::all_to(request.core, objects, row).await
}
