//! Priority: a pod's priority class becomes a number.

use std::sync::Arc;

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request};

const GROUP: &str = "scheduling.k8s.io";
/// Priorities above this are for the system's own classes.
const USER_MAXIMUM: i64 = 1_000_000_000;

pub(super) async fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is("", "pods") || request.operation == Operation::Delete {
        return Ok(());
    }
    if let (Operation::Update, Some(old)) = (request.operation, request.old) {
        // Both are immutable; an update that leaves them out keeps them.
        for field in ["priority", "preemptionPolicy", "priorityClassName"] {
            let kept = meta::at(old, &["spec", field]);
            if meta::at(pod, &["spec", field]).is_null() && !kept.is_null() {
                pod["spec"][field] = kept.clone();
            }
        }
        return Ok(());
    }
    let name = meta::text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        default_class(request).await?
    } else {
        let found = request.core.consult(GROUP, "v1", "priorityclasses", "", &name).await?;
        Some(found.ok_or_else(|| request.forbid(&format!("no PriorityClass with name {name} was found")))?)
    };
    let (value, policy, class_name) = match &class {
        Some(class) => (
            class.get("value").and_then(Value::as_i64).unwrap_or(0),
            class.get("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority").to_owned(),
            meta::name(class).to_owned(),
        ),
        None => (0, "PreemptLowerPriority".to_owned(), String::new()),
    };
    if let Some(own) = meta::at(pod, &["spec", "priority"]).as_i64().filter(|own| *own != value) {
        return Err(request.forbid(&format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    if let Some(own) = meta::at(pod, &["spec", "preemptionPolicy"]).as_str().filter(|own| *own != policy) {
        return Err(request.forbid(&format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    pod["spec"]["priority"] = json!(value);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    if !class_name.is_empty() {
        pod["spec"]["priorityClassName"] = json!(class_name);
    }
    Ok(())
}

async fn default_class(request: &Request<'_>) -> Result<Option<Arc<Value>>, Status> {
    let classes = request.core.consult_all(GROUP, "v1", "priorityclasses", "").await?;
    let global = classes.into_iter().filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true));
    // Of several defaults the lowest wins, as upstream decides.
    Ok(global.min_by_key(|class| class.get("value").and_then(Value::as_i64).unwrap_or(0)))
}

pub(super) async fn validate(request: &Request<'_>, class: Option<&Value>) -> Result<(), Status> {
    let Some(class) = class.filter(|_| request.is(GROUP, "priorityclasses")) else { return Ok(()) };
    let value = class.get("value").and_then(Value::as_i64).unwrap_or(0);
    if request.creates() && value > USER_MAXIMUM && !meta::name(class).starts_with("system-") {
        return Err(request.forbid(&format!("maximum allowed value of a user defined priority is {USER_MAXIMUM}")));
    }
    if class.get("globalDefault").and_then(Value::as_bool) != Some(true) {
        return Ok(());
    }
    match default_class(request).await? {
        Some(other) if meta::name(&other) != meta::name(class) => Err(request.forbid(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            meta::name(&other)
        ))),
        _ => Ok(()),
    }
}
