//! Who may use devices that others have, and who may write which part of a claim's status (`pkg/registry/resource`).
//!
//! What upstream's strategies ask of the namespace and of the authorizer: the answers are errors of fields, like those of validation.

use std::collections::{BTreeMap, BTreeSet};

use rk_api::meta::{self, list};
use rk_api::status::{FieldErrors, Path, Status};
use serde_json::Value;

use super::{Operation, Request};
use crate::authn::{SERVICE_ACCOUNT_PREFIX, User};
use crate::authz::Attributes;

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";
/// Says of a namespace that claims in it may have devices that others have.
const ADMIN_ACCESS: &str = "resource.kubernetes.io/admin-access";

/// What is wrong with a change that is made by `verb`, one of the verbs of requests.
///
/// # Errors
/// The namespace cannot be read.
pub(crate) async fn check(request: &Request<'_>, verb: &str, new: &Value) -> Result<FieldErrors, Status> {
    let mut errors = FieldErrors::new();
    let requests: &[&str] = match (&*request.resource.plural, request.subresource) {
        _ if request.resource.gvk.group != GROUP => return Ok(errors),
        (CLAIMS, "") if request.creates() => &["spec", "devices", "requests"],
        ("resourceclaimtemplates", "") if request.creates() => &["spec", "spec", "devices", "requests"],
        (CLAIMS, "status") if request.operation == Operation::Update => {
            status(request, verb, new, &mut errors).await?;
            return Ok(errors);
        }
        _ => return Ok(errors),
    };
    let asks = |request: &Value| meta::at(request, &["exactly", "adminAccess"]) == true;
    // Upstream names the field as if it were the request's own, and that of a template as if it were a claim's.
    if let Some(index) = list(new, requests).iter().position(asks) {
        admin(request, &format!("spec.devices.requests[{index}].adminAccess"), &mut errors).await?;
    }
    Ok(errors)
}

/// Adds an error unless the namespace allows admin access.
async fn admin(request: &Request<'_>, field: &str, errors: &mut FieldErrors) -> Result<(), Status> {
    let namespace = request.core.consult("", "v1", "namespaces", "", request.namespace).await?;
    if namespace.is_some_and(|own| meta::text(&own, &["metadata", "labels", ADMIN_ACCESS]) == "true") {
        return Ok(());
    }
    let why = format!("admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace");
    errors.forbidden(&Path::new(field), why);
    Ok(())
}

/// The status of a claim has several authors, each with a part that is its own.
async fn status(request: &Request<'_>, verb: &str, new: &Value, errors: &mut FieldErrors) -> Result<(), Status> {
    let old = request.old.unwrap_or(&Value::Null);
    let granted = |claim: &Value| {
        let results = list(claim, &["status", "allocation", "devices", "results"]);
        results.iter().position(|result| meta::at(result, &["adminAccess"]) == true)
    };
    if let Some(index) = granted(new).filter(|_| granted(old).is_none()) {
        admin(request, &format!("status.allocation.devices.results[{index}].adminAccess"), errors).await?;
    }
    if is_bound_anew(new, old) {
        // At the scope of the cluster: who allocates does so everywhere.
        let attributes = attributes(request, verb, "binding");
        if let Err(refusal) = request.core.authorizer.check(request.core, request.user, &attributes).await {
            let what = format!("resource=\"resourceclaims/binding\", verb=\"{verb}\"");
            let why = format!("changing status.allocation or status.reservedFor requires {what} permission: ");
            errors.forbidden(&Path::new("status"), why + &refusal.message);
        }
    }
    let verbs = driver_verbs(request.user, new, verb);
    for driver in modified_drivers(new, old) {
        if let Some(refusal) = refused_driver(request, &verbs, driver).await {
            let what = format!("resource=\"resourceclaims/driver\", verb=\"[{}]\"", verbs.join(" "));
            let why = format!("changing status.devices requires {what} permission: {refusal}");
            errors.forbidden(&Path::new("status.devices"), why);
        }
    }
    Ok(())
}

/// Whether what is allocated changes, or for whom.
fn is_bound_anew(new: &Value, old: &Value) -> bool {
    let allocation = |claim| meta::at(claim, &["status", "allocation"]);
    allocation(new) != allocation(old) || list(new, &["status", "reservedFor"]) != list(old, &["status", "reservedFor"])
}

fn attributes(request: &Request<'_>, verb: &str, part: &str) -> Attributes {
    Attributes {
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        version: request.requested.gvk.version.to_string(),
        resource: CLAIMS.to_owned(),
        subresource: part.to_owned(),
        ..Attributes::default()
    }
}

/// Why nobody with one of these verbs may tell of the driver's devices; the first reason counts.
async fn refused_driver(request: &Request<'_>, verbs: &[String], driver: &str) -> Option<String> {
    let mut why = None;
    for verb in verbs {
        let attributes = Attributes {
            namespace: request.namespace.to_owned(),
            name: driver.to_owned(),
            ..attributes(request, verb, "driver")
        };
        match request.core.authorizer.check(request.core, request.user, &attributes).await {
            Ok(()) => return None,
            Err(refusal) => why = why.or(Some(refusal.message)),
        }
    }
    why
}

/// Verbs of which one is enough: a driver may have the right for the devices of its own node alone.
fn driver_verbs(user: &User, claim: &Value, verb: &str) -> Vec<String> {
    let associated = user.name.starts_with(SERVICE_ACCOUNT_PREFIX)
        && allocated_node(claim).is_some_and(|node| user.node_of_token() == Some(node));
    let prefixes: &[&str] = if associated { &["associated-node", "arbitrary-node"] } else { &["arbitrary-node"] };
    prefixes.iter().map(|prefix| format!("{prefix}:{verb}")).collect()
}

/// The node whose devices a claim has, where its allocation names one.
fn allocated_node(claim: &Value) -> Option<&str> {
    let [term] = list(claim, &["status", "allocation", "nodeSelector", "nodeSelectorTerms"]) else { return None };
    let [field] = list(term, &["matchFields"]) else { return None };
    let [Value::String(node)] = list(field, &["values"]) else { return None };
    let is_name = meta::text(field, &["key"]) == "metadata.name" && meta::text(field, &["operator"]) == "In";
    (is_name && !node.is_empty() && list(term, &["matchExpressions"]).is_empty()).then_some(node.as_str())
}

/// The drivers of whose devices a change tells something new, or nothing any more. What goes with its allocation is not theirs: whoever
/// may take devices back needs no right of their drivers.
fn modified_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    fn identity(device: &Value) -> [&str; 4] {
        ["driver", "pool", "device", "shareID"].map(|key| meta::text(device, &[key]))
    }
    let told = ["status", "devices"];
    let mut before: BTreeMap<[&str; 4], &Value> = list(old, &told).iter().map(|own| (identity(own), own)).collect();
    let mut modified = BTreeSet::new();
    for device in list(new, &told) {
        let identity = identity(device);
        if before.remove(&identity) != Some(device) {
            modified.insert(identity[0]);
        }
    }
    let (had, has) = (allocated(old), allocated(new));
    let given_back = |[driver, pool, device, _]: &[&str; 4]| {
        let device = [*driver, *pool, *device];
        had.contains(&device) && !has.contains(&device)
    };
    modified.extend(before.keys().filter(|identity| !given_back(identity)).map(|identity| identity[0]));
    modified
}

/// Driver, pool and name of each device that a claim has.
fn allocated(claim: &Value) -> BTreeSet<[&str; 3]> {
    let results = list(claim, &["status", "allocation", "devices", "results"]).iter();
    results.map(|result| ["driver", "pool", "device"].map(|key| meta::text(result, &[key]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::NODE_OF_TOKEN;
    use serde_json::json;

    #[test]
    fn drivers_are_asked_about_where_what_is_told_of_their_devices_changes() {
        let device = |driver: &str, name: &str, data: Value| json!({"driver": driver, "pool": "p", "device": name, "data": data});
        let claim = |devices: Value| json!({"status": {"devices": devices}});
        let old = claim(json!([device("a", "x", json!(1)), device("b", "x", json!(1)), device("c", "x", json!(1))]));
        assert!(modified_drivers(&old, &old).is_empty());
        let new = claim(json!([device("b", "x", json!(2)), device("c", "x", json!(1)), device("d", "x", json!(1))]));
        assert_eq!(modified_drivers(&new, &old).into_iter().collect::<Vec<_>>(), ["a", "b", "d"]);
        assert_eq!(modified_drivers(&Value::Null, &old).len(), 3);
        let mut had = old.clone();
        had["status"]["allocation"] =
            json!({"devices": {"results": [device("a", "x", Value::Null), device("b", "y", Value::Null)]}});
        let left: Vec<_> = modified_drivers(&Value::Null, &had).into_iter().collect();
        assert_eq!(left, ["b", "c"], "the device of the first is given back");
        let mut still = had.clone();
        still["status"]["devices"].take();
        assert_eq!(modified_drivers(&still, &had).len(), 3);
        assert!(!is_bound_anew(&new, &old));
        assert!(!is_bound_anew(&json!({"status": {"reservedFor": []}}), &Value::Null));
        assert!(is_bound_anew(&json!({"status": {"allocation": {}}}), &Value::Null));
    }

    #[test]
    fn an_account_is_associated_with_the_node_that_its_token_is_used_on() {
        let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
        let claim = |terms: Value| json!({"status": {"allocation": {"nodeSelector": {"nodeSelectorTerms": terms}}}});
        let account = |node: &str| {
            let mut user = User::service_account("default", "driver", "");
            user.extra.insert(NODE_OF_TOKEN.to_owned(), vec![node.to_owned()]);
            user
        };
        let mut person = account("n");
        person.name = "jane".to_owned();
        let mut labelled = term.clone();
        labelled["matchExpressions"] = json!([{"key": "zone", "operator": "Exists"}]);
        for (user, terms, associated) in [
            (account("n"), json!([term]), true),
            (account("other"), json!([term]), false),
            (person, json!([term]), false),
            (account("n"), json!([term, term]), false),
            (account("n"), json!([labelled]), false),
            (account("n"), Value::Null, false),
        ] {
            let verbs = driver_verbs(&user, &claim(terms.clone()), "patch");
            let wanted: &[&str] =
                if associated { &["associated-node:patch", "arbitrary-node:patch"] } else { &["arbitrary-node:patch"] };
            assert_eq!(verbs, wanted, "{} {terms}", user.name);
        }
    }
}
