//! Deleting a namespace: remove everything in it, then let it go.

mod conditions;
mod content;

use crate::context::Context;
use crate::discovery::{Discovery, Served};
use conditions::Progress;
use k8s_openapi::api::core::v1::Namespace;
use rk_client::{BoxError, Informer, ObjectKey, Outcome, Queue, RateLimiter, Verbs, is_not_found};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FINALIZER: &str = "kubernetes";

struct Controller {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    discovery: Discovery,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        namespaces: ctx.informers.of(),
        discovery: Discovery::new(ctx.client.clone()),
    });
    let queue: Queue<ObjectKey> = Queue::new(pace());
    let q = queue.clone();
    controller.namespaces.on_change(move |change| {
        if change.object().metadata.deletion_timestamp.is_some() {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("namespace", queue, 4, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

/// Content goes away in its own time, and nobody tells when the last finalizer went: looks are eight seconds apart at most.
fn pace() -> RateLimiter<ObjectKey> {
    RateLimiter::new(Duration::from_millis(50), Duration::from_secs(8), 20.0, 100.0)
}

/// Whether a namespace is being deleted and waits for this controller.
fn must_go(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && namespace.spec.iter().flat_map(|s| s.finalizers.iter().flatten()).any(|f| f == FINALIZER)
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        if !self.namespaces.get(key).is_some_and(|cached| must_go(&cached)) {
            return Ok(Outcome::AwaitChange);
        }
        // What is cached may have ended a moment ago, and what is in the one that has its name by now is nobody's to delete.
        let mut namespace = match self.client.get::<Namespace>(key).await {
            Ok(namespace) if must_go(&namespace) => namespace,
            Ok(_) => return Ok(Outcome::AwaitChange),
            Err(error) if is_not_found(&error) => return Ok(Outcome::AwaitChange),
            Err(error) => return Err(error.into()),
        };
        let status = namespace.status.get_or_insert_default();
        if status.phase.as_deref() != Some("Terminating") {
            status.phase = Some("Terminating".to_owned());
            namespace = self.namespaces.replace_status(&namespace).await?;
        }
        let progress = self.clear(&key.name).await.unwrap_or_else(|error| Progress {
            discovery_failures: vec![rk_client::message(&error)],
            ..Progress::default()
        });
        if conditions::apply(&mut namespace, &progress) {
            namespace = self.namespaces.replace_status(&namespace).await?;
        }
        if progress.is_done() {
            return self.finalize(namespace).await;
        }
        match progress.wait {
            Some(grace) => Ok(Outcome::RequeueAfter(grace)),
            None => Err(format!("namespace {key} still has content").into()),
        }
    }

    /// Deletes what there is, and tells how far that came; fails when nobody tells what may be there.
    async fn clear(&self, namespace: &str) -> kube::Result<Progress> {
        let begun = Instant::now();
        let known = self.discovery.served().await?;
        let progress = self.clear_of(namespace, &known).await;
        if !progress.is_done() {
            return Ok(progress);
        }
        // A kind that is newer than the answer that was at hand may have objects here, too, and nothing would delete them later.
        let now = self.discovery.served_since(begun).await?;
        let same = now.failed.is_empty() && now.resources == known.resources;
        Ok(if same { progress } else { self.clear_of(namespace, &now).await })
    }

    async fn clear_of(&self, namespace: &str, served: &Served) -> Progress {
        let mut progress = Progress { discovery_failures: served.failed.clone(), ..Progress::default() };
        content::delete_all(&self.client, namespace, &served.resources, &mut progress).await;
        progress
    }

    async fn finalize(&self, mut namespace: Namespace) -> Result<Outcome, BoxError> {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER);
        }
        let result: kube::Result<Namespace> = self.client.replace_sub("finalize", &namespace).await;
        match result {
            Ok(_) => Ok(Outcome::AwaitChange),
            Err(error) if is_not_found(&error) => Ok(Outcome::AwaitChange),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use rk_client::Informers;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    fn namespace(uid: &str, revision: &str, is_going: bool) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "spec": {"finalizers": [FINALIZER]}, "metadata": {"name": "n",
            "uid": uid, "resourceVersion": revision, "deletionTimestamp": is_going.then_some("2026-01-01T00:00:00Z")}})
    }

    /// What is asked of a server where a namespace is as told, once the cache still has the one before.
    async fn asked(now: Value) -> Vec<String> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let server = tower::service_fn(move |request: http::Request<Body>| {
            noted.lock().expect("whole").push(format!("{} {}", request.method(), request.uri().path()));
            let answer = http::Response::builder().status(if now.is_null() { 404_u16 } else { 200_u16 });
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "it is gone"});
            let body = if now.is_null() { status.to_string() } else { now.to_string() };
            let answer = answer.body(Body::from(body.into_bytes())).map_err(tower::BoxError::from);
            std::future::ready(answer)
        });
        let client = kube::Client::new(server, "default");
        let namespaces = Informers::new(client.clone()).of::<Namespace>();
        namespaces.observe(serde_json::from_value(namespace("before", "5", true)).expect("valid"));
        let controller = Controller { discovery: Discovery::new(client.clone()), client, namespaces };
        let outcome = controller.sync(&ObjectKey::cluster("n")).await.expect("nothing to do");
        assert_eq!(outcome, Outcome::AwaitChange);
        asked.lock().expect("whole").clone()
    }

    #[test]
    fn a_namespace_whose_content_is_held_is_looked_at_soon_again() {
        let (mut pace, key, now) = (pace(), ObjectKey::cluster("n"), Instant::now());
        let waits: Vec<Duration> = (0..20).map(|_| pace.next(&key, now)).collect();
        assert_eq!(waits.first(), Some(&Duration::from_millis(50)));
        assert_eq!(waits.last(), Some(&Duration::from_secs(8)));
    }

    #[tokio::test]
    async fn what_is_in_a_namespace_that_was_made_anew_stays() {
        for now in [namespace("after", "9", false), Value::Null] {
            assert_eq!(asked(now).await, ["GET /api/v1/namespaces/n"]);
        }
    }
}
