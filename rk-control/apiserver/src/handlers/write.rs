//! The way of a change into the store, shared by every verb and subresource that writes.

use std::time::Duration;

use rk_api::decode;
use rk_api::managed;
use rk_api::meta;
use rk_api::status::{FieldErrors, Reason, Status, precondition_missed};
use rk_api::strategy;
use rk_store::{Expect, Revision, StoreError};
use serde_json::Value;
use tokio::time::Instant;

use super::call::Call;
use super::list::parse_unsigned;
use super::options::WriteOptions;
use super::ownership::count;
use super::remove;
use crate::admission::{self, Operation};
use crate::alloc::Reservation;
use crate::conversion;
use crate::storage::told_key;

/// How long a change without a resource version, or a deletion, is computed anew while others write in between: as long as upstream
/// lets a request take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How a change is made from what is there.
pub struct Intent<'a> {
    /// Computes the new object from the present one, both in the path's version; called again after a lost race.
    pub compute: &'a (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync),
    /// The subresource that is written.
    pub subresource: Option<&'a str>,
    /// Whether the computed object already carries its field ownership (server-side apply).
    pub owned: bool,
    /// Whether a resource version is one that the client named (PUT), and not one that the present object had.
    pub conditional: bool,
    /// The UID that the present object must have, empty for any: what a PUT names. Of what a patch makes of it, rules of metadata judge.
    pub uid: &'a str,
}

impl Intent<'_> {
    /// The subresource, where that is a part of the object alone. A scale is a change of the workload's own spec.
    fn part(&self) -> Option<&str> {
        self.subresource.filter(|part| *part != "scale")
    }
}

/// When owners that are named twice were found, as upstream tells it.
pub(super) const AFTER_ADMISSION: &str = " after mutating admission happens";

/// Takes owners that are named twice out of an object, and warns of them; `when` is empty or tells when they were found.
pub(super) fn name_owners_once(object: &mut Value, when: &str, warnings: &mut Vec<String>) {
    let twice = strategy::dedup_owners(object);
    if !twice.is_empty() {
        warnings.push(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such \
             requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
}

/// What became of one try.
enum Outcome {
    /// Done; or, in a dry run, what would have been.
    Done(Value),
    /// Nothing was to be changed in this object.
    Unchanged(Value),
    /// Somebody else wrote in between, and it is worth trying again.
    Lost,
    /// The store itself refused it, or failed: not to be tried again, since it may have happened.
    Failed(Status),
}

/// Changes the object that the path names. Returns it in the path's version.
///
/// The first try starts from the cache. What it writes is checked by the store; a refusal, and that there is nothing to
/// change, holds only if the store has the same revision.
pub(super) async fn change(call: &mut Call, options: &WriteOptions, intent: &Intent<'_>) -> Result<Value, Status> {
    let told = call.warnings.len();
    let mut doubtful = None;
    if let Some((old, revision)) = at_hand(call, options).await {
        match attempt(call, options, intent, old, revision).await {
            Ok(Outcome::Done(done)) => return conversion::to(&call.core, done, &call.resource).await,
            Ok(Outcome::Lost) => {}
            Ok(Outcome::Failed(status)) => return Err(status),
            outcome => doubtful = Some((revision, outcome)),
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Some((old, revision)) = call.core.storage.read(&call.hub, &call.path.namespace, &call.path.name).await?
        else {
            return Err(call.not_found());
        };
        let outcome = match doubtful.take() {
            Some((seen, outcome)) if seen == revision => outcome?,
            _ => {
                call.warnings.truncate(told);
                attempt(call, options, intent, old, revision).await?
            }
        };
        match outcome {
            Outcome::Done(object) | Outcome::Unchanged(object) => {
                return conversion::to(&call.core, object, &call.resource).await;
            }
            Outcome::Lost => {}
            Outcome::Failed(status) => return Err(status),
        }
    }
    Err(outraced())
}

/// 504 when others wrote in between for all of [`PATIENCE`].
pub(super) fn outraced() -> Status {
    Status::timeout("request did not complete within requested timeout - context deadline exceeded", 0)
}

/// The present object without a question to the store. A dry run writes nothing that the store could check.
async fn at_hand(call: &Call, options: &WriteOptions) -> Option<(Value, Revision)> {
    if options.dry_run {
        return None;
    }
    let found = call.core.storage.at_hand(&call.hub, &call.path.namespace, &call.path.name).await?;
    Some((found.value(), found.revision))
}

/// One try, from the object as it is at a revision.
async fn attempt(
    call: &mut Call,
    options: &WriteOptions,
    intent: &Intent<'_>,
    stored: Value,
    revision: Revision,
) -> Result<Outcome, Status> {
    if !intent.uid.is_empty() && intent.uid != meta::uid(&stored) {
        return Err(precondition_failed(call, &call.path.name, "UID", (intent.uid, meta::uid(&stored))));
    }
    // What was written before the storage version changed is brought along by the next change.
    let old = conversion::to(&call.core, stored.clone(), &call.hub).await?;
    let part = intent.part();
    let request = admission::Request {
        core: &call.core,
        user: &call.user,
        resource: &call.hub,
        requested: &call.resource,
        subresource: intent.subresource.unwrap_or_default(),
        namespace: &call.path.namespace,
        name: &call.path.name,
        base: "",
        operation: Operation::Update,
        old: Some(&old),
        dry_run: options.dry_run,
        options: call.told_options(),
    };
    let mutators = admission::Mutators::of(&request).await?;
    let heard = !mutators.is_empty();
    let (mut new, pinned) = propose(call, intent, stored, (&old, heard)).await?;
    admission::mutate(&request, mutators, &mut new, &mut call.warnings).await?;
    name_owners_once(&mut new, AFTER_ADMISSION, &mut call.warnings);
    if heard {
        fix_namespace(call, &mut new)?;
        prepare(call, part, &mut new, &old);
    }
    // A status says nothing of addresses and ports.
    let reservation = match part {
        None => call.core.services.reserve(&call.core, &call.hub, &mut new, Some(&old), options.dry_run).await?,
        Some(_) => Reservation::default(),
    };
    let mut errors = admission::device_access::check(&request, &call.verb, &new).await?;
    let mut noticed = Vec::new();
    errors.extend(errors_of(call, part, &new, &old, &mut noticed));
    call.warnings.extend(noticed);
    if errors.is_empty() {
        errors.extend(admission::param_access::check(&request, &new).await?);
    }
    refuse_invalid(call, &new, &errors)?;
    // Who is refused by admission is warned as well, and who breaks a rule is not.
    call.warnings.extend(strategy::warnings(&call.hub, part, &new, Some(&old)));
    let _held = admission::validate(&request, Some(&new), &mut call.warnings).await?;
    decode::as_kept(&mut new, &call.hub.schema);
    set_version(&mut new, &old);
    if managed::is_unchanged(&old, &new) {
        let (storage, path) = (&call.core.storage, &call.path);
        if options.dry_run || !storage.is_stale(&call.hub, &path.namespace, &path.name).await? {
            return Ok(Outcome::Unchanged(old));
        }
        // Written anew for its form alone, it keeps its times.
        new = old;
    }
    if options.dry_run {
        return Ok(Outcome::Done(new));
    }
    store(call, new, revision, (pinned, !intent.owned), reservation).await
}

/// What is to become of the present object, in its storage version and with its owners, as admission is to see it; and whether the
/// client pinned a resource version. `old` is what is `stored`, in the storage version. What is `heard` of is yet to be prepared.
async fn propose(
    call: &Call,
    intent: &Intent<'_>,
    stored: Value,
    (old, heard): (&Value, bool),
) -> Result<(Value, bool), Status> {
    let present = conversion::to(&call.core, stored, &call.resource).await?;
    let mut new = compute(call, intent, &present).await?;
    call.complete(&mut new);
    fix_namespace(call, &mut new)?;
    let pinned = check_identity(call, &new, &present, intent)?;
    let mut new = conversion::to_stored(&call.core, new, &call.hub).await?;
    let sent = heard.then(|| new.clone());
    prepare(call, intent.part(), &mut new, old);
    if !intent.owned {
        count(call, &present, &mut new, intent.subresource.unwrap_or_default()).await?;
    }
    let Some(mut sent) = sent else { return Ok((new, pinned)) };
    // Nobody owns what is not let in.
    managed::hand_over(&mut new, &mut sent);
    Ok((sent, pinned))
}

/// Makes of what was sent for `part` of an object what is to stand in the place of `old`.
fn prepare(call: &Call, part: Option<&str>, new: &mut Value, old: &Value) {
    strategy::prepare_for_update(&call.hub, part, new, old);
    if part.is_some() {
        strategy::stamp(&call.hub, new, old, jiff::Timestamp::now());
    } else {
        strategy::fill_times(&call.hub, new, jiff::Timestamp::now());
    }
}

/// Puts what was let in in the place of the object that the store had at a revision, if it still has that one; or takes it out, if that was
/// its end. What `sheds` its owners is kept without them where it is too large with them, as upstream does with all but what is applied.
async fn store(
    call: &Call,
    new: Value,
    revision: Revision,
    (pinned, sheds): (bool, bool),
    reservation: Reservation,
) -> Result<Outcome, Status> {
    if remove::is_finished(&call.hub, &new) {
        return Ok(remove_finished(call, new, revision, pinned).await);
    }
    match call.core.storage.put_told(&call.hub, new, Expect::At(revision), sheds).await {
        Ok(stored) => {
            reservation.keep().await;
            Ok(Outcome::Done(stored.object))
        }
        Err(error) => Ok(lost(call, error, pinned)),
    }
}

/// What a change makes of the present object; made anew after every question to a webhook that it needs.
async fn compute(call: &Call, intent: &Intent<'_>, present: &Value) -> Result<Value, Status> {
    call.versions.forget();
    loop {
        let computed = (intent.compute)(present);
        if computed.is_ok() || !call.versions.learn(&call.core).await? {
            return computed;
        }
    }
}

/// Every rule that a change breaks; `part` is the subresource, if any. Rules of what did not change only warn.
fn errors_of(call: &Call, part: Option<&str>, new: &Value, old: &Value, warnings: &mut Vec<String>) -> FieldErrors {
    let mut errors = strategy::validate_update(&call.hub, part, new, old);
    if part.is_none() {
        strategy::validate_requested(&call.resource, new, Some(old), &mut errors);
        let compiled = |object: &Value| {
            let mut errors = FieldErrors::new();
            admission::expression::check(&call.core.metrics.cel, &call.hub, object, &mut errors);
            errors
        };
        errors.extend(strategy::news(compiled(new), || compiled(old)));
    }
    admission::expression::judge(&call.core.metrics.cel, &call.hub, new, Some(old), &mut errors, warnings);
    errors
}

/// Removes an object that was being deleted and whose last finalizer the change took away.
async fn remove_finished(call: &Call, new: Value, revision: Revision, pinned: bool) -> Outcome {
    let (core, path) = (&call.core, &call.path);
    match core.storage.delete(&call.hub, &path.namespace, &path.name, Expect::At(revision)).await {
        Ok(_) => {
            remove::clear_up(core, &call.hub, &new).await;
            Outcome::Done(new)
        }
        Err(error) => lost(call, error, pinned),
    }
}

/// A lost race is tried again unless the client named the version that it meant.
fn lost(call: &Call, error: StoreError, pinned: bool) -> Outcome {
    match error {
        StoreError::Conflict { current: None, .. } => Outcome::Failed(call.not_found()),
        StoreError::Conflict { .. } if pinned => Outcome::Failed(Status::modified(&call.resource, &call.path.name)),
        StoreError::Conflict { .. } => Outcome::Lost,
        other => Outcome::Failed(crate::storage::store_status(&other)),
    }
}

/// 400: the object has no name, and the path has one.
pub(super) fn undeterminable(wanted: &str) -> Status {
    let why = "was undeterminable: name must be provided";
    Status::bad_request(format!("the name of the object ({wanted} based on URL) {why}"))
}

/// 400 unless the object has the name that the path has.
pub(super) fn check_name(call: &Call, object: &Value) -> Result<(), Status> {
    let (name, wanted) = (meta::name(object), &call.path.name);
    if name == wanted {
        return Ok(());
    }
    if name.is_empty() {
        return Err(undeterminable(wanted));
    }
    Err(Status::bad_request(format!("the name of the object ({name}) does not match the name on the URL ({wanted})")))
}

/// 409 in the words of upstream's store: `what` (`UID`, `ResourceVersion`) of the object `name` is not as wanted. Its own is empty where
/// there is no object.
pub(super) fn precondition_failed(call: &Call, name: &str, what: &str, (wanted, own): (&str, &str)) -> Status {
    let key = told_key(&call.hub, &call.path.namespace, name);
    let missed = precondition_missed(what, wanted, own);
    let why =
        format!("StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {missed}");
    Status::conflict(&call.resource, name, &why)
}

/// The version that an object names, zero if none. Of what is no number upstream's store has no answer of its own.
pub(super) fn named_version(object: &Value) -> Result<u64, Status> {
    match meta::resource_version(object) {
        "" => Ok(0),
        version => parse_unsigned(version).map_err(|why| Status::new(Reason::Unknown, why)),
    }
}

/// Checks that the new object is the one that the path names. Returns whether the client pinned a resource version.
fn check_identity(call: &Call, new: &Value, present: &Value, intent: &Intent<'_>) -> Result<bool, Status> {
    check_name(call, new)?;
    let (name, current) = (meta::name(new), meta::resource_version(present));
    match named_version(new)? {
        0 if strategy::allow_unconditional_update(&call.hub) => return Ok(false),
        0 => return Err(Status::unversioned(&call.resource, name)),
        wanted if current.parse::<u64>() != Ok(wanted) => return Err(Status::modified(&call.resource, name)),
        _ => {}
    }
    // A patch carries the present version along without meaning it.
    Ok(intent.conditional)
}

/// Gives a new object the version of the one that it replaces.
fn set_version(new: &mut Value, old: &Value) {
    let version = meta::at(old, &["metadata", "resourceVersion"]).clone();
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), version);
    }
}

/// 422 when rules are broken.
pub(super) fn refuse_invalid(call: &Call, object: &Value, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let gvk = &call.resource.gvk;
    let named = meta::name(object);
    let name = if named.is_empty() { meta::text(object, &["metadata", "generateName"]) } else { named };
    Err(Status::invalid(&gvk.group, &gvk.kind, name, &errors.0))
}

/// Puts the path's namespace into the object, or refuses another one. What belongs to no namespace loses what it says of one.
pub(super) fn fix_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    if !call.resource.namespaced() {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("namespace");
        }
        return Ok(());
    }
    let own = meta::namespace(object);
    if own == call.path.namespace {
        return Ok(());
    }
    if !own.is_empty() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let members = object
        .as_object_mut()
        .map(|members| members.entry("metadata").or_insert_with(|| Value::Object(Default::default())));
    if let Some(metadata) = members.and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), Value::String(call.path.namespace.clone()));
    }
    Ok(())
}
