//! What the load is made of: built-in kinds, or custom resources of the same size, which a server without built-in kinds takes, too.

use super::client::Client;
use serde_json::{Value, json};

const GROUP: &str = "load.rk.dev";

/// Which objects are written, watched and listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// ConfigMaps, a Secret and Pods.
    BuiltIn,
    /// Custom resources whose schemas leave open what is in `spec`.
    Custom,
}

impl Kinds {
    /// Makes what the objects need to be there first.
    pub async fn prepare(self, admin: &mut Client) -> anyhow::Result<()> {
        if self == Kinds::BuiltIn {
            for name in ["bench", "watched"] {
                admin.post("/api/v1/namespaces", json!({"metadata": {"name": name}})).await?;
            }
            return admin.wait("/api/v1/namespaces/bench/serviceaccounts/default").await;
        }
        for kind in ["Small", "Watched", "Large"] {
            admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(kind)).await?;
            admin.wait(&collection(kind)).await?;
        }
        Ok(())
    }

    /// A small object and where it belongs.
    pub fn small(self, number: usize) -> (String, Value) {
        let name = format!("c-{number}");
        let data = json!({"key": "x".repeat(512)});
        match self {
            Kinds::BuiltIn => {
                ("/api/v1/namespaces/bench/configmaps".to_owned(), json!({"metadata": {"name": name}, "data": data}))
            }
            Kinds::Custom => (collection("Small"), object("Small", json!({"name": name}), data)),
        }
    }

    /// The object that is watched and where it belongs.
    pub fn watched(self) -> (String, Value) {
        let metadata = json!({"name": "one"});
        match self {
            Kinds::BuiltIn => (
                "/api/v1/namespaces/watched/secrets".to_owned(),
                json!({"metadata": metadata, "stringData": {"a": "b"}}),
            ),
            Kinds::Custom => (collection("Watched"), object("Watched", metadata, json!({"a": "b"}))),
        }
    }

    /// A pod, or what is as large as one, and where it belongs.
    pub fn large(self, number: usize) -> (String, Value) {
        let container = json!({"name": "main", "image": "registry.example.com/app:v1", "env": [{"name": "A", "value": "x".repeat(64)}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}, "ports": [{"containerPort": 8080}]});
        let labels = json!({"app": format!("app-{}", number % 100), "team": "bench"});
        let metadata = json!({"name": format!("p-{number}"), "labels": labels});
        // Nobody schedules these, so that they stay as they are.
        let spec = json!({"schedulerName": "nobody", "containers": [container]});
        match self {
            Kinds::BuiltIn => ("/api/v1/namespaces/bench/pods".to_owned(), json!({"metadata": metadata, "spec": spec})),
            Kinds::Custom => (collection("Large"), object("Large", metadata, spec)),
        }
    }

    /// Where a list is short.
    pub fn short_list(self) -> String {
        match self {
            Kinds::BuiltIn => "/api/v1/namespaces".to_owned(),
            Kinds::Custom => collection("Watched"),
        }
    }

    /// Where all the large ones are listed, and what they are called.
    pub fn list(self) -> (String, &'static str) {
        match self {
            Kinds::BuiltIn => ("/api/v1/pods".to_owned(), "pods"),
            Kinds::Custom => (collection("Large"), "custom resources"),
        }
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

fn collection(kind: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/default/{}", plural(kind))
}

fn object(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "spec": spec})
}

fn definition(kind: &str) -> Value {
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", plural(kind))},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural(kind), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}
