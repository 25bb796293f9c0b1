//! LimitRanger: defaults and bounds for containers, pods and claims of a namespace.

use rk_api::meta::{self, Quantity};
use rk_api::status::Status;
use serde_json::Value;

use super::quantity::amount;
use super::{Operation, Request};

fn concerns(request: &Request<'_>) -> bool {
    let pods = request.is("", "pods") || (request.is_sub("", "pods", "resize"));
    let claims = request.is("", "persistentvolumeclaims");
    match request.operation {
        Operation::Create => pods || claims,
        // Resources of pods change through resize alone.
        Operation::Update => claims || request.is_sub("", "pods", "resize"),
        Operation::Delete | Operation::Connect => false,
    }
}

async fn limits(request: &Request<'_>) -> Result<Vec<Value>, Status> {
    let ranges = request.core.consult_all("", "v1", "limitranges", request.namespace).await?;
    let items = ranges.iter().flat_map(|range| meta::at(range, &["spec", "limits"]).as_array().into_iter().flatten());
    Ok(items.cloned().collect())
}

pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    if concerns(request) && &*request.resource.plural == "pods" {
        for limit in limits(request).await?.iter().filter(|limit| meta::text(limit, &["type"]) == "Container") {
            default_containers(object, limit);
        }
    }
    Ok(())
}

/// Fills in what a container leaves open; an own limit without a request becomes the request.
fn default_containers(pod: &mut Value, limit: &Value) {
    let (requests, limits) = (limit.get("defaultRequest"), limit.get("default"));
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let own_limits = meta::at(container, &["resources", "limits"]).clone();
            fill(container, "limits", limits, &Value::Null);
            fill(container, "requests", requests, &own_limits);
        }
    }
}

fn fill(container: &mut Value, field: &str, defaults: Option<&Value>, instead: &Value) {
    for (name, value) in defaults.and_then(Value::as_object).into_iter().flatten() {
        if meta::at(container, &["resources", field, name]).is_null() {
            let value = instead.get(name).unwrap_or(value);
            container["resources"][field][name.as_str()] = value.clone();
        }
    }
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| concerns(request)) else { return Ok(()) };
    let mut broken = Vec::new();
    for limit in limits(request).await? {
        match (meta::text(&limit, &["type"]), &*request.resource.plural) {
            ("Container", "pods") => {
                let lists = ["containers", "initContainers"];
                let all =
                    lists.iter().flat_map(|list| meta::at(object, &["spec", list]).as_array().into_iter().flatten());
                for container in all {
                    check(&limit, container.get("resources").unwrap_or(&Value::Null), "Container", &mut broken);
                }
            }
            ("Pod", "pods") => check(&limit, &pod_totals(object, &limit), "Pod", &mut broken),
            ("PersistentVolumeClaim", "persistentvolumeclaims") => {
                check(&limit, meta::at(object, &["spec", "resources"]), "PersistentVolumeClaim", &mut broken);
            }
            _ => {}
        }
    }
    match broken.as_slice() {
        [] => Ok(()),
        [one] => Err(request.forbid(one)),
        many => Err(request.forbid(&format!("[{}]", many.join(", ")))),
    }
}

/// Sums over the containers of a pod, of the resources that the limit names; init containers run one at a time.
fn pod_totals(pod: &Value, limit: &Value) -> Value {
    let mut totals = serde_json::json!({"requests": {}, "limits": {}});
    let names = ["min", "max", "maxLimitRequestRatio"]
        .iter()
        .filter_map(|bound| limit.get(*bound)?.as_object())
        .flat_map(|map| map.keys());
    for name in names {
        for field in ["requests", "limits"] {
            let of = |list: &str| -> Vec<Quantity> {
                let containers = meta::at(pod, &["spec", list]).as_array().into_iter().flatten();
                containers
                    .map(|container| meta::at(container, &["resources", field, name]))
                    .filter(|value| !value.is_null())
                    .map(amount)
                    .collect()
            };
            let (main, init) = (of("containers"), of("initContainers"));
            if main.is_empty() && init.is_empty() {
                continue;
            }
            let sum = main.into_iter().fold(Quantity::ZERO, |sum, one| sum + one);
            let total = init.into_iter().fold(sum, |most, one| if one > most { one } else { most });
            totals[field][name.as_str()] = Value::String(total.to_string());
        }
    }
    totals
}

/// Holds requests and limits against one item of a LimitRange.
fn check(limit: &Value, resources: &Value, kind: &str, broken: &mut Vec<String>) {
    let bounds = |name: &str| limit.get(name).and_then(Value::as_object).into_iter().flatten();
    let get = |field: &str, name: &str| resources.get(field).and_then(|map| map.get(name));
    for (name, bound) in bounds("min") {
        let least = amount(bound);
        match (get("requests", name), get("limits", name)) {
            (None, _) => broken.push(format!("minimum {name} usage per {kind} is {least}.  No request is specified")),
            (Some(request), _) if amount(request) < least => {
                broken.push(format!("minimum {name} usage per {kind} is {least}, but request is {}", amount(request)));
            }
            (_, Some(own)) if amount(own) < least => {
                broken.push(format!("minimum {name} usage per {kind} is {least}, but limit is {}", amount(own)));
            }
            _ => {}
        }
    }
    for (name, bound) in bounds("max") {
        let most = amount(bound);
        // Claims have no limits: their request is what is bounded.
        let own = if kind == "PersistentVolumeClaim" { get("requests", name) } else { get("limits", name) };
        match (own, get("requests", name)) {
            (None, _) if kind == "PersistentVolumeClaim" => {}
            (None, _) => broken.push(format!("maximum {name} usage per {kind} is {most}.  No limit is specified")),
            (Some(own), _) if amount(own) > most => {
                let what = if kind == "PersistentVolumeClaim" { "request" } else { "limit" };
                broken.push(format!("maximum {name} usage per {kind} is {most}, but {what} is {}", amount(own)));
            }
            (_, Some(request)) if amount(request) > most => {
                broken.push(format!("maximum {name} usage per {kind} is {most}, but request is {}", amount(request)));
            }
            _ => {}
        }
    }
    for (name, bound) in bounds("maxLimitRequestRatio") {
        let ratio = amount(bound).as_f64();
        match (get("requests", name).map(amount), get("limits", name).map(amount)) {
            (Some(request), Some(own)) if request.sign() > 0 => {
                let observed = own.as_f64() / request.as_f64();
                if observed > ratio {
                    broken.push(format!(
                        "{name} max limit to request ratio per {kind} is {}, but provided ratio is {observed:.6}",
                        amount(bound)
                    ));
                }
            }
            _ => broken.push(format!(
                "{name} max limit to request ratio per {kind} is {}, but no request is specified or request is 0",
                amount(bound)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_get_what_they_leave_open() {
        let limit = json!({"type": "Container", "default": {"cpu": "500m", "memory": "256Mi"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"}});
        let mut pod =
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "2"}}}]}});
        default_containers(&mut pod, &limit);
        let containers = &pod["spec"]["containers"];
        assert_eq!(containers[0]["resources"]["requests"], json!({"cpu": "100m", "memory": "64Mi"}));
        assert_eq!(containers[1]["resources"]["limits"]["cpu"], "2");
        assert_eq!(containers[1]["resources"]["requests"]["cpu"], "2");
    }

    #[test]
    fn bounds_are_held_in_upstreams_words() {
        let limit = json!({"min": {"cpu": "50m"}, "max": {"memory": "500Mi"}});
        let mut broken = Vec::new();
        check(&limit, &json!({"requests": {"cpu": "10m"}, "limits": {"memory": "600Mi"}}), "Container", &mut broken);
        assert_eq!(
            broken,
            [
                "minimum cpu usage per Container is 50m, but request is 10m",
                "maximum memory usage per Container is 500Mi, but limit is 600Mi",
            ]
        );
    }
}
