//! Deleting an object: at once, or by marking it until its grace period and finalizers are done.

use rk_api::meta;
use rk_api::resources::Resource;
use rk_api::status::{Status, precondition_missed};
use rk_api::strategy;
use rk_store::{Expect, Revision, StoreError};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::options::{DeleteOptions, Propagation};
use super::write::{PATIENCE, outraced};
use crate::admission::{self, Operation};
use crate::alloc::is_service;
use crate::server::Core;
use crate::storage::store_status;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What became of a deletion.
pub(super) enum Removed {
    /// The object is gone; its last state.
    Gone(Value),
    /// The object waits for its grace period or finalizers.
    Waiting(Value),
}

/// Deletes an object of the path's collection.
pub(super) async fn remove(call: &mut Call, name: &str, options: &DeleteOptions) -> Result<Removed, Status> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Some((object, revision)) = call.core.storage.read(&call.hub, &call.path.namespace, name).await? else {
            return Err(Status::not_found(&call.resource, name));
        };
        check_preconditions(call, name, options, &object)?;
        // What is on its way already has its period.
        let grace = match meta::is_deleting(&object) {
            true => None,
            false => strategy::grace_period(&call.hub, &object, options.grace)?,
        };
        let request = admission::Request {
            core: &call.core,
            user: &call.user,
            resource: &call.hub,
            requested: &call.resource,
            subresource: "",
            namespace: &call.path.namespace,
            // What is asked for is the collection.
            name: if call.verb == "deletecollection" { "" } else { name },
            base: "",
            operation: Operation::Delete,
            old: Some(&object),
            dry_run: options.dry_run,
            options: options.told(grace.or(options.grace)),
        };
        admission::announce(&request, &mut call.warnings).await?;
        let _held = admission::validate(&request, None, &mut call.warnings).await?;
        let decision = decide(&call.hub, &object, options)?;
        match carry_out(&call.core, &call.hub, (object, revision), decision, options.dry_run).await {
            Ok(Removed::Gone(last)) => {
                if !options.dry_run {
                    clear_up(&call.core, &call.hub, &last).await;
                }
                return Ok(Removed::Gone(last));
            }
            Ok(waiting) => return Ok(waiting),
            Err(StoreError::Conflict { current: None, .. }) => return Err(Status::not_found(&call.resource, name)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(store_status(&error)),
        }
    }
    Err(outraced())
}

/// Does what was decided of an object, if that is still what the store has; in a dry run nothing is done.
async fn carry_out(
    core: &Core,
    hub: &Resource,
    (object, revision): (Value, Revision),
    decision: Decision,
    dry_run: bool,
) -> Result<Removed, StoreError> {
    let storage = &core.storage;
    match decision {
        Decision::Nothing => Ok(Removed::Waiting(object)),
        Decision::Delete if dry_run => Ok(Removed::Gone(object)),
        Decision::Mark(marked) if dry_run => Ok(Removed::Waiting(marked)),
        Decision::Mark(marked) => storage.put(hub, marked, Expect::At(revision)).await.map(Removed::Waiting),
        Decision::Delete => {
            let (namespace, name) = (meta::namespace(&object), meta::name(&object));
            let written = storage.delete(hub, namespace, name, Expect::At(revision)).await?;
            let mut last = object;
            last["metadata"]["resourceVersion"] = json!(written.revision.to_string());
            Ok(Removed::Gone(last))
        }
    }
}

/// Does what follows when an object is out of the store. What fails of it is told in the log alone: the object is gone.
pub(super) async fn clear_up(core: &Core, hub: &Resource, last: &Value) {
    if is_service(hub)
        && let Err(status) = remove_endpoints(core, last).await
    {
        tracing::error!(%status, namespace = meta::namespace(last), name = meta::name(last), "the Endpoints of a Service stay");
    }
    core.services.release(core, hub, last).await;
}

/// Deletes the Endpoints object of a Service's name, whoever made it, so that another Service of the name begins without. As upstream
/// does it: nobody is asked, and one with finalizers waits for them.
async fn remove_endpoints(core: &Core, service: &Value) -> Result<(), Status> {
    let hub = core.resource("", "v1", "endpoints")?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let found = core.storage.read(&hub, meta::namespace(service), meta::name(service)).await?;
        let Some((object, revision)) = found else { return Ok(()) };
        let decision = decide(&hub, &object, &DeleteOptions::default())?;
        match carry_out(core, &hub, (object, revision), decision, false).await {
            Err(StoreError::Conflict { .. }) => {}
            outcome => return outcome.map(drop).map_err(|error| store_status(&error)),
        }
    }
    Err(outraced())
}

/// Refuses a deletion whose `uid` or `resourceVersion` is not the object's.
pub(super) fn check_preconditions(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
    object: &Value,
) -> Result<(), Status> {
    let named = [
        ("UID", options.uid.as_deref(), meta::uid(object), "deleted and then recreated"),
        ("ResourceVersion", options.resource_version.as_deref(), meta::resource_version(object), "modified"),
    ];
    for (what, wanted, own, fate) in named {
        let Some(wanted) = wanted.filter(|wanted| *wanted != own) else { continue };
        if is_deleted_in_steps(&call.hub) {
            return Err(Status::conflict(&call.resource, name, &precondition_missed(what, wanted, own)));
        }
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({own}). The object might have been {fate}"
        );
        return Err(Status::conflict_on((&*call.hub.gvk.group, &*call.hub.gvk.kind), name, &why));
    }
    Ok(())
}

/// Whether a kind is emptied before it goes: upstream deletes these by code of their own, which has words of its own.
fn is_deleted_in_steps(hub: &Resource) -> bool {
    is_definition(hub) || (hub.gvk.group.is_empty() && hub.plural == "namespaces")
}

fn is_definition(hub: &Resource) -> bool {
    hub.gvk.group == "apiextensions.k8s.io" && hub.plural == "customresourcedefinitions"
}

#[derive(Debug, PartialEq)]
enum Decision {
    /// It is on its way already, and sooner than asked.
    Nothing,
    /// Take it out of the store.
    Delete,
    /// Write it with its deletion marks.
    Mark(Value),
}

/// What a deletion does to an object; pure but for the clock.
fn decide(hub: &Resource, object: &Value, options: &DeleteOptions) -> Result<Decision, Status> {
    if is_definition(hub) && !meta::is_deleting(object) {
        return Ok(Decision::Mark(crate::custom::retired(object, jiff::Timestamp::now())));
    }
    let grace = strategy::grace_period(hub, object, options.grace)?;
    let finalizers = finalizers_after(hub, object, options.propagation);
    let changed_finalizers = finalizers != finalizers_of(object);
    let mut marked = object.clone();
    if changed_finalizers {
        marked["metadata"]["finalizers"] = json!(finalizers);
    }
    if meta::is_deleting(object) {
        let left = meta::at(object, &["metadata", "deletionGracePeriodSeconds"]).as_i64();
        match (grace, left) {
            // Only ever sooner: a second deletion may shorten the first.
            (Some(wanted), Some(left)) if wanted < left => set_deletion(&mut marked, deleted_at(object, left), wanted),
            (Some(_), Some(left)) if left > 0 => {
                return Ok(if changed_finalizers { Decision::Mark(marked) } else { Decision::Nothing });
            }
            (_, None) => marked["metadata"]["deletionGracePeriodSeconds"] = json!(0),
            _ => {}
        }
    } else {
        set_deletion(&mut marked, jiff::Timestamp::now(), grace.unwrap_or(0));
        terminate_namespace(hub, &mut marked);
    }
    if is_finished(hub, &marked) {
        return Ok(Decision::Delete);
    }
    Ok(if marked == *object { Decision::Nothing } else { Decision::Mark(marked) })
}

/// Whether nothing keeps a marked object alive any more.
pub(super) fn is_finished(hub: &Resource, object: &Value) -> bool {
    let waiting = |path: &[&str]| meta::at(object, path).as_array().is_some_and(|list| !list.is_empty());
    let grace = meta::at(object, &["metadata", "deletionGracePeriodSeconds"]).as_i64().unwrap_or(0);
    let namespace = hub.gvk.group.is_empty() && hub.plural == "namespaces";
    meta::is_deleting(object)
        && grace == 0
        && !waiting(&["metadata", "finalizers"])
        && !(namespace && waiting(&["spec", "finalizers"]))
}

/// When the deletion began: the mark minus the period that it was made with.
fn deleted_at(object: &Value, grace: i64) -> jiff::Timestamp {
    let mark: Option<jiff::Timestamp> = meta::text(object, &["metadata", "deletionTimestamp"]).parse().ok();
    mark.and_then(|mark| mark.checked_sub(jiff::SignedDuration::from_secs(grace)).ok())
        .unwrap_or_else(jiff::Timestamp::now)
}

fn set_deletion(object: &mut Value, begun: jiff::Timestamp, grace: i64) {
    let at = begun.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(begun);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let mark = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let first = metadata.insert("deletionTimestamp".to_owned(), mark).is_none_or(|before| before.is_null());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    // The mark is a change of what is wanted; that it moves is none.
    let generation = metadata.get("generation").and_then(Value::as_i64);
    if let Some(generation) = generation.filter(|generation| first && *generation > 0) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
}

fn terminate_namespace(hub: &Resource, object: &mut Value) {
    if hub.gvk.group.is_empty() && hub.plural == "namespaces" {
        object["status"]["phase"] = json!("Terminating");
    }
}

fn finalizers_of(object: &Value) -> Vec<String> {
    meta::at(object, &["metadata", "finalizers"])
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// The finalizers with those that the propagation policy adds or takes away.
fn finalizers_after(hub: &Resource, object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut list = finalizers_of(object);
    let had = |name: &str| list.iter().any(|own| own == name);
    let default = strategy::default_propagation(hub);
    let policy = propagation.or_else(|| {
        // Without a word the marks that are there decide, then the kind.
        match (had(ORPHAN), had(FOREGROUND), default) {
            (true, _, _) => Some(Propagation::Orphan),
            (_, true, _) => Some(Propagation::Foreground),
            (_, _, "Orphan") => Some(Propagation::Orphan),
            _ => Some(Propagation::Background),
        }
    });
    let wanted = match policy {
        _ if default == "Unsupported" => None,
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        _ => None,
    };
    list.retain(|own| (own != ORPHAN && own != FOREGROUND) || Some(own.as_str()) == wanted);
    if let Some(wanted) = wanted.filter(|wanted| !list.iter().any(|own| own == wanted)) {
        list.push(wanted.to_owned());
    }
    list
}
