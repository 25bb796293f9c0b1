//! Objects as plain JSON over the API, for tests that look at many kinds.

use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};

/// How long what must come may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(180);

/// A client of one namespace.
#[derive(Clone)]
pub struct Rest {
    client: Client,
    namespace: String,
}

impl Rest {
    /// Makes a namespace and waits until it has its account.
    pub async fn new(client: Client, namespace: &str) -> Self {
        let this = Self { client, namespace: namespace.to_owned() };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        this.send("POST", "/api/v1/namespaces", &body).await.expect("namespace");
        this.until("serviceaccounts/default", |account| account.is_object()).await;
        this
    }

    /// The path of `pods/x` in the namespace; what begins with a slash stays as it is.
    fn path(&self, place: &str) -> String {
        if place.starts_with('/') {
            return place.to_owned();
        }
        let plural = place.split(['/', '?']).next().unwrap_or_default();
        let root = match plural {
            "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "controllerrevisions" => "/apis/apps/v1",
            "jobs" | "cronjobs" => "/apis/batch/v1",
            "horizontalpodautoscalers" => "/apis/autoscaling/v2",
            "endpointslices" => "/apis/discovery.k8s.io/v1",
            "resourceclaims" | "resourceclaimtemplates" => "/apis/resource.k8s.io/v1",
            "poddisruptionbudgets" => "/apis/policy/v1",
            "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
            _ => "/api/v1",
        };
        format!("{root}/namespaces/{}/{place}", self.namespace)
    }

    async fn send(&self, method: &str, place: &str, body: &Value) -> Result<Value, kube::Error> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send_as(method, place, kind, body).await
    }

    async fn send_as(&self, method: &str, place: &str, kind: &str, body: &Value) -> Result<Value, kube::Error> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(self.path(place)).header("content-type", kind);
        self.client.request(request.body(body).expect("request")).await
    }

    pub async fn try_get(&self, place: &str) -> Result<Value, kube::Error> {
        self.send("GET", place, &Value::Null).await
    }

    pub async fn get(&self, place: &str) -> Value {
        self.try_get(place).await.unwrap_or_else(|error| panic!("GET {place}: {error}"))
    }

    /// The items of a list.
    pub async fn items(&self, place: &str) -> Vec<Value> {
        self.get(place).await["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn create(&self, plural: &str, body: &Value) -> Value {
        self.send("POST", plural, body).await.unwrap_or_else(|error| panic!("POST {plural}: {error}\n{body}"))
    }

    pub async fn patch(&self, place: &str, body: &Value) -> Value {
        self.send("PATCH", place, body).await.unwrap_or_else(|error| panic!("PATCH {place}: {error}\n{body}"))
    }

    /// A patch of another kind than merge patches.
    pub async fn patch_as(&self, place: &str, kind: &str, body: &Value) -> Value {
        self.send_as("PATCH", place, kind, body).await.unwrap_or_else(|error| panic!("PATCH {place}: {error}\n{body}"))
    }

    pub async fn delete(&self, place: &str, options: &Value) {
        self.send("DELETE", place, options).await.unwrap_or_else(|error| panic!("DELETE {place}: {error}"));
    }

    /// Waits until an object or list is as wanted; null stands for one that is not there.
    pub async fn until(&self, place: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = match self.try_get(place).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
                // The server may be under load, or be started anew.
                Err(error) => json!(error.to_string()),
                Ok(seen) => seen,
            };
            if wanted(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {place}; last seen: {seen:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for an Event about an object, for this reason, with a message as wanted.
    pub async fn hears(&self, about: &str, reason: &str, wanted: impl Fn(&str) -> bool) {
        let told = |own: &Value| {
            let message = own["message"].as_str().unwrap_or_default();
            own["involvedObject"]["name"] == about && own["reason"] == reason && wanted(message)
        };
        self.until("events", |list| list["items"].as_array().is_some_and(|all| all.iter().any(told))).await;
    }

    /// Says that a pod is ready, or not, as its kubelet would.
    pub async fn set_ready(&self, pod: &str, ready: bool) {
        let place = format!("pods/{pod}");
        let mut conditions = self.get(&place).await["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|own| own["type"] != "Ready");
        let status = if ready { "True" } else { "False" };
        conditions.push(json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}));
        self.patch(&format!("{place}/status"), &json!({"status": {"conditions": conditions}})).await;
    }

    /// Waits until a list has so many items.
    pub async fn count(&self, place: &str, count: usize) -> Vec<Value> {
        let list = self.until(place, |list| list["items"].as_array().is_some_and(|items| items.len() == count)).await;
        list["items"].as_array().cloned().unwrap_or_default()
    }
}

/// A workload of `plural`'s kind whose pods carry `app: <name>`; `spec` is merged into its spec, `pod` into its pods' spec.
pub fn workload(api_version: &str, kind: &str, name: &str, spec: Value, pod: Value) -> Value {
    let labels = json!({"app": name});
    let mut out = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": {
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example.com/i:1"}]}}}});
    match kind {
        "Job" => {}
        "ReplicationController" => out["spec"]["selector"] = labels,
        _ => out["spec"]["selector"] = json!({"matchLabels": labels}),
    }
    for (place, more) in [("/spec", spec), ("/spec/template/spec", pod)] {
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            out.pointer_mut(place).expect("there")[key] = value;
        }
    }
    out
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The name of an object's controller.
pub fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["name"].as_str()
}

/// Whether an object has a condition.
pub fn has(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|own| own["type"] == condition && own["status"] == "True"))
}
