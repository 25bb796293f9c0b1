//! ResourceQuota: what a namespace may use, counted when something is added.

mod item;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuotaSpec;
use rk_api::meta::{self, Quantity};
use rk_api::status::{Reason, Status};
use rk_quota::Usage;
use rk_store::{Expect, Revision, StoreError};
use serde_json::{Map, Value, json};

use super::quantity::amount;
use super::typed::typed;
use super::{Held, Operation, Request};
use item::Item;

type Gates = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// Changes of one namespace are counted one at a time: the sum of two that both fit may not fit.
static GATES: LazyLock<Gates> = LazyLock::new(Gates::default);

fn gate(namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    Arc::clone(gates.entry(namespace.to_owned()).or_default())
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>, held: &mut Held) -> Result<(), Status> {
    let Some(object) = object.filter(|object| counts(request, object)) else { return Ok(()) };
    let resource = request.core.resource("", "v1", "resourcequotas")?;
    if request.core.storage.settled_cache(&resource).await?.is_empty() {
        return Ok(());
    }
    let guard = gate(request.namespace).lock_owned().await;
    let quotas = request.core.objects("", "v1", "resourcequotas", request.namespace).await?;
    if quotas.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let new = Item::read(request, object, now).await?;
    let updates = request.operation == Operation::Update;
    let old = match request.old.filter(|_| updates) {
        Some(old) => Some(Item::read(request, old, now).await?),
        None => None,
    };
    let mut asked = Vec::new();
    for quota in &quotas {
        let spec: ResourceQuotaSpec = typed(meta::at(quota, &["spec"]))?;
        let Some(hard) = hard(quota).filter(|_| new.is_covered(&spec)) else { continue };
        let name = meta::name(quota);
        if let Some(missing) = new.missing(hard.keys().map(String::as_str)) {
            return Err(request.forbid(&format!("failed quota: {name}: {missing}")));
        }
        if let Some(resources) = uncounted(quota, &new.usage) {
            return Err(request.forbid(&format!("status unknown for quota: {name}, resources: {resources}")));
        }
        // What the quota did not speak of before is new to it.
        let before = old.as_ref().filter(|old| old.is_covered(&spec));
        let growth = before.map_or_else(|| new.usage.clone(), |old| rk_quota::growth(&new.usage, &old.usage));
        if let Some(raised) = ask(request, name, &growth).await? {
            asked.push((name, growth, raised));
        }
    }
    if request.dry_run {
        return Ok(());
    }
    // What one refuses is charged to none.
    for (name, growth, raised) in asked {
        charge(request, name, &growth, raised).await?;
    }
    held.push(guard);
    Ok(())
}

/// The limits in force, or those asked for while the controller has not seen them.
fn hard(quota: &Value) -> Option<&Map<String, Value>> {
    meta::at(quota, &["status", "hard"]).as_object().or_else(|| meta::at(quota, &["spec", "hard"]).as_object())
}

/// What of the limits in force an object takes, by name, when one of these was not counted yet.
fn uncounted(quota: &Value, usage: &Usage) -> Option<String> {
    let in_force = meta::at(quota, &["status", "hard"]).as_object()?;
    let used = meta::at(quota, &["status", "used"]);
    let taken: Vec<&str> = in_force.keys().map(String::as_str).filter(|name| usage.contains_key(*name)).collect();
    taken.iter().any(|name| used.get(*name).is_none()).then(|| taken.join(","))
}

/// Whether the change can make anything larger: a new object, or one of a kind that grows or that another quota may come to speak of.
fn counts(request: &Request<'_>, object: &Value) -> bool {
    if request.namespace.is_empty() || !request.resource.is_stored() {
        return false;
    }
    match request.operation {
        Operation::Create => request.subresource.is_empty(),
        Operation::Update => match (&*request.resource.gvk.group, &*request.resource.plural, request.subresource) {
            ("", "pods", "") => request.old.is_some_and(|old| has_deadline(old) != has_deadline(object)),
            ("", "pods", "resize")
            | ("", "persistentvolumeclaims", "" | "status")
            | ("", "services", "")
            | ("resource.k8s.io", "resourceclaims", "") => true,
            _ => false,
        },
        Operation::Delete | Operation::Connect => false,
    }
}

fn has_deadline(pod: &Value) -> bool {
    meta::at(pod, &["spec", "activeDeadlineSeconds"]).as_i64().is_some_and(|seconds| seconds >= 0)
}

/// One amount that a quota does not allow.
struct Excess {
    key: String,
    requested: Quantity,
    used: Quantity,
    limited: Quantity,
}

/// What `used` becomes, and what of it is too much. `None`: the quota limits nothing of this.
fn raised(quota: &Value, growth: &Usage) -> Option<(Map<String, Value>, Vec<Excess>)> {
    let limits = hard(quota)?;
    let mut used = meta::at(quota, &["status", "used"]).as_object().cloned().unwrap_or_default();
    let mut exceeded = Vec::new();
    let mut changed = false;
    for (key, wanted) in growth.iter().filter(|(_, wanted)| wanted.sign() > 0) {
        let Some(limit) = limits.get(key) else { continue };
        let present = used.get(key).map(amount).unwrap_or_default();
        let total = present + *wanted;
        if total > amount(limit) {
            exceeded.push(Excess { key: key.clone(), requested: *wanted, used: present, limited: amount(limit) });
        }
        used.insert(key.clone(), json!(total.to_string()));
        changed = true;
    }
    changed.then_some((used, exceeded))
}

fn refusal(name: &str, exceeded: &[Excess]) -> String {
    let list = |pick: fn(&Excess) -> Quantity| {
        exceeded.iter().map(|excess| format!("{}={}", excess.key, pick(excess))).collect::<Vec<_>>().join(",")
    };
    format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        list(|excess| excess.requested),
        list(|excess| excess.used),
        list(|excess| excess.limited)
    )
}

/// Asks a quota for room. Answers what becomes of it, and the revision that this was made from; `None`: it is gone, or limits nothing
/// of this. What a status tells is true already and is only counted.
async fn ask(request: &Request<'_>, name: &str, growth: &Usage) -> Result<Option<(Value, Revision)>, Status> {
    let resource = request.core.resource("", "v1", "resourcequotas")?;
    let Some((mut quota, revision)) = request.core.storage.read(&resource, request.namespace, name).await? else {
        return Ok(None);
    };
    let Some((used, exceeded)) = raised(&quota, growth) else { return Ok(None) };
    if !exceeded.is_empty() && request.subresource != "status" {
        return Err(request.forbid(&refusal(name, &exceeded)));
    }
    // Which limits are in force is the controller's to say, when it has counted all that they speak of.
    quota["status"]["used"] = Value::Object(used);
    Ok(Some((quota, revision)))
}

/// Writes what becomes of a quota; one that was changed meanwhile is asked again.
async fn charge(
    request: &Request<'_>,
    name: &str,
    growth: &Usage,
    (mut quota, mut revision): (Value, Revision),
) -> Result<(), Status> {
    let resource = request.core.resource("", "v1", "resourcequotas")?;
    loop {
        match request.core.storage.put(&resource, quota, Expect::At(revision)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(Status::new(Reason::InternalError, error.to_string())),
        }
        match ask(request, name, growth).await? {
            Some(again) => (quota, revision) = again,
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_and_not_counted_is_let_in_by_nobody() {
        let quota = |status: Value| json!({"spec": {"hard": {"pods": "1", "services": "1"}}, "status": status});
        let hard = json!({"pods": "1", "requests.cpu": "1", "services": "1"});
        let usage: Usage =
            ["pods", "requests.cpu"].iter().map(|name| ((*name).to_owned(), "1".parse().unwrap())).collect();
        for (status, want) in [
            (json!({}), None),
            (json!({"used": {"pods": "0"}}), None),
            (json!({"hard": hard, "used": {"pods": "0", "requests.cpu": "0"}}), None),
            (json!({"hard": hard, "used": {"pods": "0"}}), Some("pods,requests.cpu")),
            (json!({"hard": hard}), Some("pods,requests.cpu")),
            (json!({"hard": {"services": "1"}}), None),
        ] {
            assert_eq!(uncounted(&quota(status.clone()), &usage).as_deref(), want, "{status}");
        }
    }

    #[test]
    fn what_is_too_much_is_told_by_name() {
        let quota = json!({"spec": {"hard": {"pods": "9"}}, "status": {
            "hard": {"pods": "2", "requests.cpu": "1", "requests.memory": "1Gi"}, "used": {"pods": "2", "requests.cpu": "500m"}}});
        let growth = |amounts: &[(&str, &str)]| -> Usage {
            amounts.iter().map(|(name, amount)| ((*name).to_owned(), amount.parse().unwrap())).collect()
        };
        let (used, exceeded) =
            raised(&quota, &growth(&[("requests.cpu", "500m"), ("requests.memory", "1Gi")])).unwrap();
        assert!(exceeded.is_empty());
        assert_eq!(used, *json!({"pods": "2", "requests.cpu": "1", "requests.memory": "1Gi"}).as_object().unwrap());
        let (_, exceeded) =
            raised(&quota, &growth(&[("pods", "1"), ("requests.cpu", "600m"), ("services", "7")])).unwrap();
        assert_eq!(
            refusal("q", &exceeded),
            "exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=2,requests.cpu=500m, limited: pods=2,requests.cpu=1"
        );
        assert!(raised(&quota, &growth(&[("services", "1"), ("pods", "0")])).is_none());
    }
}
