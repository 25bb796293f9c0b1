//! ResourceQuota: what a namespace may use, counted when something is added.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rk_api::meta::{self, Quantity};
use rk_api::selector::{LabelSelector, Operator, Requirement};
use rk_api::status::{Reason, Status};
use rk_store::{Expect, StoreError};
use serde_json::{Map, Value, json};

use super::pod_resources;
use super::quantity::amount;
use super::{Held, Operation, Request};

type Gates = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// Changes of one namespace are counted one at a time: the sum of two that both fit may not fit.
static GATES: LazyLock<Gates> = LazyLock::new(Gates::default);

fn gate(namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    Arc::clone(gates.entry(namespace.to_owned()).or_default())
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>, held: &mut Held) -> Result<(), Status> {
    let Some(object) = object.filter(|_| counts(request)) else { return Ok(()) };
    let cache = request.core.cache("", "v1", "resourcequotas").await?;
    request.core.storage.settled_in(cache.hub()).await?;
    if cache.is_empty() {
        return Ok(());
    }
    let guard = gate(request.namespace).lock_owned().await;
    let resource = request.core.resource("", "v1", "resourcequotas")?;
    let quotas = request.core.objects("", "v1", "resourcequotas", request.namespace).await?;
    if quotas.is_empty() {
        return Ok(());
    }
    let new = usage(request, object);
    let old = request.old.map(|old| usage(request, old)).unwrap_or_default();
    for quota in &quotas {
        let hard =
            meta::at(quota, &["status", "hard"]).as_object().or_else(|| meta::at(quota, &["spec", "hard"]).as_object());
        let Some(hard) = hard else { continue };
        if !in_scope(request, quota, object)? {
            continue;
        }
        demand_requests(request, meta::name(quota), hard, object)?;
        charge(request, &resource, meta::name(quota), &new, &old).await?;
    }
    held.push(guard);
    Ok(())
}

fn counts(request: &Request<'_>) -> bool {
    let object = request.subresource.is_empty() || request.is_sub("", "pods", "resize");
    let kind_that_grows =
        matches!(&*request.resource.plural, "services" | "persistentvolumeclaims") || request.subresource == "resize";
    let operation = match request.operation {
        Operation::Create => true,
        Operation::Update => kind_that_grows,
        Operation::Delete | Operation::Connect => false,
    };
    object && operation && !request.namespace.is_empty() && request.resource.is_stored()
}

type Usage = pod_resources::Amounts;

fn one() -> Quantity {
    Quantity::from_millis(1000)
}

/// What an object uses, by the names that quotas use.
fn usage(request: &Request<'_>, object: &Value) -> Usage {
    let mut out = Usage::new();
    let (group, plural) = (&*request.resource.gvk.group, &*request.resource.plural);
    let counted = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    out.insert(counted, one());
    match (group, plural) {
        ("", "pods") => pod_usage(object, &mut out),
        ("", "services") => service_usage(object, &mut out),
        ("", "persistentvolumeclaims") => {
            out.insert(plural.to_owned(), one());
            let size = amount(meta::at(object, &["spec", "resources", "requests", "storage"]));
            out.insert("requests.storage".to_owned(), size);
            let class = meta::text(object, &["spec", "storageClassName"]);
            if !class.is_empty() {
                out.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), size);
                out.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one());
            }
        }
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            out.insert(plural.to_owned(), one());
        }
        _ => {}
    }
    out
}

fn service_usage(service: &Value, out: &mut Usage) {
    out.insert("services".to_owned(), one());
    let kind = meta::text(service, &["spec", "type"]);
    let ports = meta::at(service, &["spec", "ports"]).as_array().map_or(0, Vec::len);
    if kind == "LoadBalancer" {
        out.insert("services.loadbalancers".to_owned(), one());
    }
    if matches!(kind, "NodePort" | "LoadBalancer") {
        out.insert(
            "services.nodeports".to_owned(),
            Quantity::from_millis(i64::try_from(ports).unwrap_or(i64::MAX / 1000) * 1000),
        );
    }
}

fn is_terminal(pod: &Value) -> bool {
    matches!(meta::text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

fn pod_usage(pod: &Value, out: &mut Usage) {
    if is_terminal(pod) {
        return;
    }
    out.insert("pods".to_owned(), one());
    for (field, prefix) in [("requests", "requests."), ("limits", "limits.")] {
        for (name, total) in pod_totals(pod, field) {
            if field == "requests" && matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                out.insert(name.clone(), total);
            }
            out.insert(format!("{prefix}{name}"), total);
        }
    }
}

/// What a pod takes, with what its runtime takes beside.
fn pod_totals(pod: &Value, field: &str) -> Usage {
    let mut sums = pod_resources::total(pod, field);
    pod_resources::add(&mut sums, meta::at(pod, &["spec", "overhead"]));
    sums
}

/// Whether a quota is about this object at all.
fn in_scope(request: &Request<'_>, quota: &Value, object: &Value) -> Result<bool, Status> {
    let names = meta::at(quota, &["spec", "scopes"]).as_array().cloned().unwrap_or_default();
    let selectors =
        meta::at(quota, &["spec", "scopeSelector", "matchExpressions"]).as_array().cloned().unwrap_or_default();
    if names.is_empty() && selectors.is_empty() {
        return Ok(true);
    }
    if &*request.resource.plural != "pods" {
        return Ok(false);
    }
    let plain = names.iter().filter_map(Value::as_str).all(|scope| pod_in_scope(object, scope, None));
    Ok(plain
        && selectors.iter().all(|selector| pod_in_scope(object, meta::text(selector, &["scopeName"]), Some(selector))))
}

fn pod_in_scope(pod: &Value, scope: &str, selector: Option<&Value>) -> bool {
    let best_effort = pod_totals(pod, "requests").is_empty() && pod_totals(pod, "limits").is_empty();
    let terminating = meta::at(pod, &["spec", "activeDeadlineSeconds"]).as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "PriorityClass" => {
            let class = meta::text(pod, &["spec", "priorityClassName"]);
            let Some(selector) = selector else { return !class.is_empty() };
            let operator = match meta::text(selector, &["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => Operator::Exists,
            };
            let values = meta::at(selector, &["values"])
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned);
            let requirement = Requirement { key: "class".to_owned(), operator, values: values.collect() };
            let labels = if class.is_empty() { json!({}) } else { json!({"class": class}) };
            LabelSelector { requirements: vec![requirement], nothing: false }.matches(&labels)
        }
        _ => false,
    }
}

/// A quota on compute resources forces every container to say what it needs.
fn demand_requests(
    request: &Request<'_>,
    quota: &str,
    hard: &Map<String, Value>,
    object: &Value,
) -> Result<(), Status> {
    if &*request.resource.plural != "pods" {
        return Ok(());
    }
    let containers = meta::at(object, &["spec", "containers"]).as_array().cloned().unwrap_or_default();
    let mut missing: Vec<String> = Vec::new();
    for name in hard.keys() {
        let (field, resource) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            "requests.cpu" | "requests.memory" => ("requests", name.trim_start_matches("requests.")),
            "limits.cpu" | "limits.memory" => ("limits", name.trim_start_matches("limits.")),
            _ => continue,
        };
        if containers.iter().any(|container| meta::at(container, &["resources", field, resource]).is_null()) {
            missing.push(name.clone());
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(request.forbid(&format!("failed quota: {quota}: must specify {}", missing.join(","))))
    }
}

/// One amount that a quota does not allow.
struct Excess {
    key: String,
    requested: Quantity,
    used: Quantity,
    limited: Quantity,
}

/// Adds the difference to the quota's `used`, or refuses.
async fn charge(
    request: &Request<'_>,
    resource: &rk_api::resources::Resource,
    name: &str,
    new: &Usage,
    old: &Usage,
) -> Result<(), Status> {
    loop {
        let Some((mut quota, revision)) = request.core.storage.read(resource, request.namespace, name).await? else {
            return Ok(());
        };
        let hard = meta::at(&quota, &["status", "hard"])
            .as_object()
            .cloned()
            .or_else(|| meta::at(&quota, &["spec", "hard"]).as_object().cloned());
        let Some(hard) = hard else { return Ok(()) };
        let mut used = meta::at(&quota, &["status", "used"]).as_object().cloned().unwrap_or_default();
        let mut exceeded = Vec::new();
        let mut changed = false;
        for (key, limit) in &hard {
            let Some(wanted) = new.get(key) else { continue };
            let delta = *wanted - old.get(key).copied().unwrap_or_default();
            if delta.sign() == 0 {
                continue;
            }
            let present = used.get(key).map(amount).unwrap_or_default();
            let total = present + delta;
            if delta.sign() > 0 && total > amount(limit) {
                exceeded.push(Excess { key: key.clone(), requested: delta, used: present, limited: amount(limit) });
            }
            used.insert(key.clone(), json!(total.to_string()));
            changed = true;
        }
        if !exceeded.is_empty() {
            let list = |pick: fn(&Excess) -> Quantity| {
                exceeded.iter().map(|excess| format!("{}={}", excess.key, pick(excess))).collect::<Vec<_>>().join(",")
            };
            return Err(request.forbid(&format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                list(|excess| excess.requested),
                list(|excess| excess.used),
                list(|excess| excess.limited)
            )));
        }
        if !changed || request.dry_run {
            return Ok(());
        }
        quota["status"]["used"] = Value::Object(used);
        quota["status"]["hard"] = Value::Object(hard);
        match request.core.storage.put(resource, quota, Expect::At(revision)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(Status::new(Reason::InternalError, error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_takes_beside_a_pod_counts() {
        let pod =
            json!({"spec": {"overhead": {"cpu": "50m"}, "containers": [{"resources": {"requests": {"cpu": "100m"}}}]}});
        assert_eq!(pod_totals(&pod, "requests")["cpu"].to_string(), "150m");
    }

    #[test]
    fn scopes_tell_pods_apart() {
        let bare = json!({"spec": {"containers": [{}]}});
        let long = json!({"spec": {"activeDeadlineSeconds": 5, "priorityClassName": "high", "containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
        assert!(pod_in_scope(&bare, "BestEffort", None) && !pod_in_scope(&long, "BestEffort", None));
        assert!(pod_in_scope(&long, "Terminating", None) && pod_in_scope(&bare, "NotTerminating", None));
        let selector = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
        assert!(
            pod_in_scope(&long, "PriorityClass", Some(&selector))
                && !pod_in_scope(&bare, "PriorityClass", Some(&selector))
        );
    }
}
