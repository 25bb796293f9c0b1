//! LimitRanger: defaults and bounds for containers, pods and claims of a namespace.

use std::sync::Arc;

use rk_api::meta;
use rk_api::status::Status;
use rk_quota::Usage;
use serde_json::{Map, Value};

use super::quantity::amount;
use super::typed::typed;
use super::{Operation, Request};

/// Tells on a pod which of its amounts are a LimitRange's.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn concerns(request: &Request<'_>) -> bool {
    let pods = request.is("", "pods") || (request.is_sub("", "pods", "resize"));
    let claims = request.is("", "persistentvolumeclaims");
    // What is on its way out is left alone.
    let leaving = request.old.is_some_and(meta::is_deleting);
    match request.operation {
        Operation::Create => pods || claims,
        // Resources of pods change through resize alone.
        Operation::Update => !leaving && (claims || request.is_sub("", "pods", "resize")),
        Operation::Delete | Operation::Connect => false,
    }
}

async fn ranges(request: &Request<'_>) -> Result<Vec<Arc<Value>>, Status> {
    request.core.consult_all("", "v1", "limitranges", request.namespace).await
}

/// What a LimitRange says of containers, of pods or of claims.
fn items<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let all = meta::at(range, &["spec", "limits"]).as_array().into_iter().flatten();
    all.filter(move |limit| meta::text(limit, &["type"]) == kind)
}

pub(super) async fn mutate(request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
    if !concerns(request) || &*request.resource.plural != "pods" {
        return Ok(());
    }
    for range in ranges(request).await? {
        let set = default_containers(object, &range);
        // A resize changes amounts alone.
        if request.creates() && !set.is_empty() {
            let told = format!("LimitRanger plugin set: {}", set.join("; "));
            meta::set(object, &["metadata", "annotations", ANNOTATION], told);
        }
    }
    Ok(())
}

/// Fills in what containers leave open, and tells what was filled in where. (That an own limit is the request too is a default of
/// the kind.)
fn default_containers(pod: &mut Value, range: &Value) -> Vec<String> {
    let mut told = Vec::new();
    for (list, noun) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = meta::text(container, &["name"]).to_owned();
            told.extend(fill(container, "requests", range).map(|set| format!("{set} request for {noun} {name}")));
            told.extend(fill(container, "limits", range).map(|set| format!("{set} limit for {noun} {name}")));
        }
    }
    told
}

/// The names that were filled in, if any.
fn fill(container: &mut Value, field: &str, range: &Value) -> Option<String> {
    let default = if field == "requests" { "defaultRequest" } else { "default" };
    let defaults = items(range, "Container").filter_map(|limit| limit.get(default)?.as_object()).flatten();
    let mut set: Vec<&str> = Vec::new();
    for (name, value) in defaults {
        if meta::at(container, &["resources", field, name]).is_null() {
            meta::set(container, &["resources", field, name], value.clone());
            set.push(name);
        }
    }
    set.sort_unstable();
    (!set.is_empty()).then(|| set.join(", "))
}

pub(super) async fn validate(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(object) = object.filter(|_| concerns(request)) else { return Ok(()) };
    for range in ranges(request).await? {
        let mut broken = Vec::new();
        if &*request.resource.plural == "pods" {
            judge_pod(object, &range, &mut broken)?;
        } else {
            judge_claim(object, &range, &mut broken);
        }
        match broken.as_slice() {
            [] => {}
            [one] => return Err(request.forbid(one)),
            many => return Err(request.forbid(&format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

fn judge_pod(pod: &Value, range: &Value, broken: &mut Vec<String>) -> Result<(), Status> {
    for limit in items(range, "Container") {
        let lists = ["containers", "initContainers"];
        let all = lists.iter().flat_map(|list| meta::at(pod, &["spec", list]).as_array().into_iter().flatten());
        for container in all {
            let amounts = Amounts::of(meta::at(container, &["resources"]));
            check(limit, &amounts, "Container", broken);
        }
    }
    for limit in items(range, "Pod") {
        check(limit, &Amounts::of_pod(pod)?, "Pod", broken);
    }
    Ok(())
}

/// Claims have requests alone: both bounds are theirs.
fn judge_claim(claim: &Value, range: &Value, broken: &mut Vec<String>) {
    let asked = Amounts::of(meta::at(claim, &["spec", "resources"])).requests;
    for limit in items(range, "PersistentVolumeClaim") {
        let lower = Amounts { requests: asked.clone(), limits: Usage::new() };
        minima(limit, &lower, "PersistentVolumeClaim", broken);
        for (name, bound) in bounds(limit, "max") {
            let most = amount(bound);
            let why = match asked.get(name) {
                None => ".  No request is specified".to_owned(),
                Some(request) if *request > most => format!(", but request is {request}"),
                Some(_) => continue,
            };
            broken.push(format!("maximum {name} usage per PersistentVolumeClaim is {most}{why}"));
        }
    }
}

/// What is asked for and what is the most.
struct Amounts {
    requests: Usage,
    limits: Usage,
}

impl Amounts {
    fn of(resources: &Value) -> Self {
        let list = |field: &str| {
            let all = meta::at(resources, &[field]).as_object().into_iter().flatten();
            all.map(|(name, value)| (name.clone(), amount(value))).collect()
        };
        Self { requests: list("requests"), limits: list("limits") }
    }

    fn of_pod(pod: &Value) -> Result<Self, Status> {
        let (requests, limits) = rk_quota::spec_amounts(&typed(pod)?);
        Ok(Self { requests, limits })
    }
}

fn bounds<'a>(limit: &'a Value, which: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let bounds: Option<&'a Map<String, Value>> = limit.get(which).and_then(Value::as_object);
    bounds.into_iter().flatten()
}

/// Holds requests and limits against one item of a LimitRange.
fn check(limit: &Value, amounts: &Amounts, kind: &str, broken: &mut Vec<String>) {
    minima(limit, amounts, kind, broken);
    maxima(limit, amounts, kind, broken);
    ratios(limit, amounts, kind, broken);
}

fn minima(limit: &Value, amounts: &Amounts, kind: &str, broken: &mut Vec<String>) {
    for (name, bound) in bounds(limit, "min") {
        let least = amount(bound);
        let why = match (amounts.requests.get(name), amounts.limits.get(name)) {
            (None, _) => ".  No request is specified".to_owned(),
            (Some(request), _) if *request < least => format!(", but request is {request}"),
            (_, Some(own)) if *own < least => format!(", but limit is {own}"),
            _ => continue,
        };
        broken.push(format!("minimum {name} usage per {kind} is {least}{why}"));
    }
}

fn maxima(limit: &Value, amounts: &Amounts, kind: &str, broken: &mut Vec<String>) {
    for (name, bound) in bounds(limit, "max") {
        let most = amount(bound);
        let why = match (amounts.limits.get(name), amounts.requests.get(name)) {
            (None, _) => ".  No limit is specified".to_owned(),
            (Some(own), _) if *own > most => format!(", but limit is {own}"),
            (_, Some(request)) if *request > most => format!(", but request is {request}"),
            _ => continue,
        };
        broken.push(format!("maximum {name} usage per {kind} is {most}{why}"));
    }
}

fn ratios(limit: &Value, amounts: &Amounts, kind: &str, broken: &mut Vec<String>) {
    for (name, bound) in bounds(limit, "maxLimitRequestRatio") {
        let most = amount(bound);
        let set = |amount: Option<&meta::Quantity>| amount.map(meta::Quantity::as_f64).filter(|amount| *amount != 0.0);
        let why = match (set(amounts.requests.get(name)), set(amounts.limits.get(name))) {
            (None, _) => "no request is specified or request is 0".to_owned(),
            (_, None) => "no limit is specified or limit is 0".to_owned(),
            (Some(request), Some(own)) if own / request > most.as_f64() => {
                format!("provided ratio is {:.6}", own / request)
            }
            _ => continue,
        };
        broken.push(format!("{name} max limit to request ratio per {kind} is {most}, but {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limits: Value) -> Value {
        json!({"spec": {"limits": limits}})
    }

    #[test]
    fn containers_get_what_they_leave_open_and_it_is_told() {
        let range = range(json!([{"type": "Container", "default": {"memory": "256Mi", "cpu": "500m"},
            "defaultRequest": {"memory": "64Mi", "cpu": "100m"}}]));
        let mut pod = json!({"spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2", "memory": "1Gi"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1"}}}],
        }});
        assert_eq!(
            default_containers(&mut pod, &range),
            [
                "cpu, memory request for container a",
                "cpu, memory limit for container a",
                "memory limit for container b",
                "memory limit for init container i",
            ]
        );
        let containers = &pod["spec"]["containers"];
        assert_eq!(containers[0]["resources"]["requests"], json!({"cpu": "100m", "memory": "64Mi"}));
        assert_eq!(containers[1]["resources"]["limits"], json!({"cpu": "2", "memory": "256Mi"}));
        assert!(default_containers(&mut pod, &range).is_empty());
    }

    #[test]
    fn bounds_are_held_in_upstreams_words() {
        let limit = json!({"min": {"cpu": "50m", "memory": "1Mi"}, "max": {"memory": "500Mi", "cpu": "1"}});
        let mut broken = Vec::new();
        let amounts = Amounts::of(&json!({"requests": {"cpu": "10m"}, "limits": {"memory": "600Mi"}}));
        check(&limit, &amounts, "Container", &mut broken);
        broken.sort_unstable();
        assert_eq!(
            broken,
            [
                "maximum cpu usage per Container is 1.  No limit is specified",
                "maximum memory usage per Container is 500Mi, but limit is 600Mi",
                "minimum cpu usage per Container is 50m, but request is 10m",
                "minimum memory usage per Container is 1Mi.  No request is specified",
            ]
        );
    }

    #[test]
    fn ratios_need_a_request_and_a_limit() {
        let limit = json!({"maxLimitRequestRatio": {"cpu": "2"}});
        let frame = "cpu max limit to request ratio per Pod is 2, but ";
        for (resources, expected) in [
            (json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), ""),
            (json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}), "provided ratio is 3.000000"),
            (json!({"limits": {"cpu": "3"}}), "no request is specified or request is 0"),
            (json!({"requests": {"cpu": "1"}, "limits": {"cpu": "0"}}), "no limit is specified or limit is 0"),
        ] {
            let mut broken = Vec::new();
            check(&limit, &Amounts::of(&resources), "Pod", &mut broken);
            let told = broken.first().map_or("", |told| told.strip_prefix(frame).unwrap_or(told));
            assert_eq!(told, expected, "{resources}");
        }
    }

    #[test]
    fn pods_are_held_to_what_runs_at_once_and_claims_to_what_they_ask_for() {
        let pods = range(json!([{"type": "Pod", "max": {"cpu": "1"}}]));
        let pod = |sidecar: &str| {
            json!({"spec": {
                "containers": [{"resources": {"limits": {"cpu": "800m"}}}],
                "initContainers": [{"restartPolicy": "Always", "resources": {"limits": {"cpu": sidecar}}}],
            }})
        };
        let judge = |pod: &Value| {
            let mut broken = Vec::new();
            judge_pod(pod, &pods, &mut broken).unwrap();
            broken
        };
        assert!(judge(&pod("200m")).is_empty());
        assert_eq!(judge(&pod("300m")), ["maximum cpu usage per Pod is 1, but limit is 1100m"]);
        let mut whole = pod("300m");
        whole["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
        assert!(judge(&whole).is_empty());

        let claims =
            range(json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]));
        for (asked, expected) in [
            (json!({"storage": "2Gi"}), vec![]),
            (
                json!({"storage": "3Gi"}),
                vec!["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"],
            ),
            (
                json!({"storage": "1Mi"}),
                vec!["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"],
            ),
        ] {
            let mut broken = Vec::new();
            judge_claim(&json!({"spec": {"resources": {"requests": asked}}}), &claims, &mut broken);
            assert_eq!(broken, expected);
        }
    }
}
