//! POST of a new object.

use http::{Response, StatusCode};
use rk_api::decode;
use rk_api::meta;
use rk_api::status::{Reason, Status};
use rk_api::strategy;
use rk_store::{Expect, StoreError};
use serde_json::{Value, json};

use super::call::Call;
use super::options::WriteOptions;
use super::ownership::own;
use super::render;
use super::write::{AFTER_ADMISSION, Intent, change, fix_namespace, name_owners_once, named_version, refuse_invalid};
use crate::admission::{self, Held, Operation};
use crate::conversion;
use crate::http::Body;
use crate::storage::Stored;

/// How often another name is generated when the generated one is taken; upstream's figure.
const NAME_ATTEMPTS: usize = 8;
/// How often what others make, and perhaps take away again, is looked at anew; a refusal may have the same reason.
const TURNS: usize = 5;

/// What a new object comes of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A POST.
    Post,
    /// A change of what is not there.
    Change,
    /// Server-side apply: the object carries its field ownership.
    Apply,
}

/// Serves POST.
pub(super) async fn create(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse(call)?;
    let body = call.read(body).await?;
    let mut object = call.decode(&body, options.validation)?;
    name_owners_once(&mut object, "", &mut call.warnings);
    let created = create_stored(call, object, &options, Origin::Post).await?;
    render::stored(call, StatusCode::CREATED, &created)
}

/// Changes the object that the path names, or makes the one that `make` answers where there is none. What another request makes
/// meanwhile is changed.
pub(super) async fn change_or_create(
    call: &mut Call,
    options: &WriteOptions,
    intent: &Intent<'_>,
    make: impl Fn(&Call) -> Result<Value, Status> + Send + Sync,
) -> Result<(StatusCode, Value), Status> {
    let told = call.warnings.len();
    let origin = if intent.owned { Origin::Apply } else { Origin::Change };
    for turn in 1.. {
        match change(call, options, intent).await {
            Err(status) if status.reason == Reason::NotFound => call.warnings.truncate(told),
            outcome => return outcome.map(|changed| (StatusCode::OK, changed)),
        }
        let object = make(call)?;
        call.authorize_creation().await?;
        match create_object(call, object, options, origin).await {
            Err(status) if status.reason == Reason::AlreadyExists && turn < TURNS => call.warnings.truncate(told),
            outcome => return outcome.map(|created| (StatusCode::CREATED, created)),
        }
    }
    Err(Status::internal("a change or creation ended without an answer"))
}

/// Creates an object of the path's version and returns it in that version.
async fn create_object(
    call: &mut Call,
    object: Value,
    options: &WriteOptions,
    origin: Origin,
) -> Result<Value, Status> {
    create_stored(call, object, options, origin).await.map(|stored| stored.object)
}

/// As [`create_object`], with its text where that is in the path's version.
async fn create_stored(
    call: &mut Call,
    mut object: Value,
    options: &WriteOptions,
    origin: Origin,
) -> Result<Stored, Status> {
    if call.resource.is_closing() {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(&call.resource, meta::name(&object), why));
    }
    fix_namespace(call, &mut object)?;
    meta::wipe_system_fields(&mut object);
    call.complete(&mut object);
    strategy::fold(&call.resource, &mut object);
    if origin != Origin::Apply {
        // Before it is converted: who makes it owns what the request says, as that says it.
        own(call, None, &mut object, "").await?;
    }
    let mut object = conversion::to_stored(&call.core, object, &call.hub).await?;
    // What gets its name later is asked about without one.
    let asked = meta::name(&object).to_owned();
    admit(call, &asked, &mut object, options).await?;
    let versioned = is_versioned(origin, &object)?;
    call.warnings.extend(strategy::early_warnings(&call.hub, &object));
    let has_base = !meta::text(&object, &["metadata", "generateName"]).is_empty();
    let generated = has_base && meta::name(&object).is_empty();
    let told = call.warnings.len();
    for attempt in 1.. {
        // Only a name that is made up is tried again with another.
        let mut candidate = if generated { object.clone() } else { std::mem::take(&mut object) };
        meta::fill_system_fields(&mut candidate, jiff::Timestamp::now());
        // After the name and uid are known: a Job's selector is made of them.
        strategy::prepare_for_create(&call.hub, &mut candidate);
        strategy::fill_times(&call.hub, &mut candidate, jiff::Timestamp::now());
        record_requester(call, &mut candidate);
        match store(call, (&asked, versioned, origin), candidate, options).await {
            Err(StoreOutcome::Taken(_)) if generated && attempt < NAME_ATTEMPTS => call.warnings.truncate(told),
            Err(StoreOutcome::Taken(name)) => return Err(taken(call, &name, has_base).await),
            Err(StoreOutcome::Failed(status)) => return Err(status),
            Ok(created) if call.resource.is_hub() => return Ok(refilled(call, created)),
            Ok(created) => {
                let Stored { object, .. } = refilled(call, created);
                let object = conversion::to(&call.core, object, &call.resource).await?;
                return Ok(Stored { object, json: None });
            }
        }
    }
    Err(Status::internal("name generation ended without an answer"))
}

/// Whether a new object names a version that its store refuses, as upstream's does of a POST alone; there, what is no version goes unsaid.
/// What a change or an applied configuration makes names one in vain.
fn is_versioned(origin: Origin, object: &Value) -> Result<bool, Status> {
    match (origin, named_version(object)) {
        (Origin::Post, version) => Ok(version.is_ok_and(|version| version != 0)),
        (_, version) => version.map(|_| false),
    }
}

/// A new object as its readers find it: the status that was taken out of it may have a default.
fn refilled(call: &Call, created: Stored) -> Stored {
    let Some(custom) = call.hub.custom.as_ref().filter(|custom| custom.has_default_status()) else { return created };
    let mut object = created.object.clone();
    custom.default(&mut object);
    if object == created.object { created } else { Stored { object, json: None } }
}

/// 409 for a name that is taken, also by what is on its way out.
async fn taken(call: &Call, name: &str, has_base: bool) -> Status {
    let mut status = if has_base {
        Status::no_unique_name(&call.resource, name)
    } else {
        Status::already_exists(&call.resource, name)
    };
    if let Ok(Some((present, _))) = call.core.storage.read(&call.hub, &call.path.namespace, name).await
        && meta::is_deleting(&present)
    {
        status.message.insert_str(0, "object is being deleted: ");
    }
    status
}

/// A CertificateSigningRequest says who filed it; nobody may say that for themselves.
fn record_requester(call: &Call, object: &mut Value) {
    if call.hub.gvk.kind != "CertificateSigningRequest" {
        return;
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), json!(call.user.name));
    spec.insert("groups".to_owned(), json!(call.user.groups));
    if !call.user.uid.is_empty() {
        spec.insert("uid".to_owned(), json!(call.user.uid));
    }
    if !call.user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(call.user.extra));
    }
}

enum StoreOutcome {
    Taken(String),
    Failed(Status),
}

impl From<Status> for StoreOutcome {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// Lets admission change a new object as its author sent it: what the server alone writes comes later.
async fn admit(call: &mut Call, name: &str, object: &mut Value, options: &WriteOptions) -> Result<(), Status> {
    let base = meta::text(object, &["metadata", "generateName"]).to_owned();
    let mut told = Vec::new();
    let request = question(call, (name, &base), options);
    let mutators = admission::Mutators::of(&request).await?;
    let admitted = admission::mutate(&request, mutators, object, &mut told).await;
    call.warnings.append(&mut told);
    admitted?;
    name_owners_once(object, AFTER_ADMISSION, &mut call.warnings);
    fix_namespace(call, object)
}

/// What admission is asked about a new object; `base` is what its name will begin with.
fn question<'a>(call: &'a Call, (name, base): (&'a str, &'a str), options: &WriteOptions) -> admission::Request<'a> {
    admission::Request {
        core: &call.core,
        user: &call.user,
        resource: &call.hub,
        requested: &call.resource,
        subresource: "",
        namespace: &call.path.namespace,
        name,
        base,
        operation: Operation::Create,
        old: None,
        dry_run: options.dry_run,
        options: call.told_options(),
    }
}

/// Judges a new object that is otherwise ready to be stored. What is returned must be held until it is.
async fn judge(
    call: &Call,
    name: &str,
    object: &Value,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Held, Status> {
    let request = question(call, (name, ""), options);
    let mut errors = admission::device_access::check(&request, &call.verb, object).await?;
    errors.extend(strategy::validate_create(&call.hub, object));
    strategy::validate_requested(&call.resource, object, None, &mut errors);
    admission::expression::check(&call.core.metrics.cel, &call.hub, object, &mut errors);
    admission::signing_request::check(&call.hub, object, &mut errors);
    admission::expression::judge(&call.core.metrics.cel, &call.hub, object, None, &mut errors, warnings);
    if errors.is_empty() {
        errors.extend(admission::param_access::check(&request, object).await?);
    }
    refuse_invalid(call, object, &errors)?;
    // Who is refused by admission is warned as well, and who breaks a rule is not.
    warnings.extend(strategy::warnings(&call.hub, None, object, None));
    admission::validate(&request, Some(object), warnings).await
}

/// Stores a new object that was `asked` about by this name, empty when it had none yet. One that came `versioned` is refused only here:
/// upstream's store does it, after all who judge it, and has no answer of its own for it. Unless it was applied, it is kept without its
/// owners where it is too large with them.
async fn store(
    call: &mut Call,
    (asked, versioned, origin): (&str, bool, Origin),
    mut object: Value,
    options: &WriteOptions,
) -> Result<Stored, StoreOutcome> {
    let name = meta::name(&object).to_owned();
    let asked = if asked.is_empty() { name.as_str() } else { asked };
    let reservation = call.core.services.reserve(&call.core, &call.hub, &mut object, None, options.dry_run).await?;
    let mut told = Vec::new();
    let judged = judge(call, asked, &object, options, &mut told).await;
    call.warnings.append(&mut told);
    let _held = judged?;
    decode::as_kept(&mut object, &call.hub.schema);
    if options.dry_run {
        if call.core.storage.read(&call.hub, &call.path.namespace, &name).await?.is_some() {
            return Err(StoreOutcome::Taken(name));
        }
        return Ok(Stored { object, json: None });
    }
    if versioned {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(StoreOutcome::Failed(Status::new(Reason::Unknown, why)));
    }
    match call.core.storage.put_told(&call.hub, object, Expect::Absent, origin != Origin::Apply).await {
        Ok(created) => {
            reservation.keep().await;
            Ok(created)
        }
        Err(StoreError::Conflict { .. }) => Err(StoreOutcome::Taken(name)),
        Err(error) => Err(StoreOutcome::Failed(crate::storage::store_status(&error))),
    }
}
