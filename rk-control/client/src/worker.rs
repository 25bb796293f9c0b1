//! Workers that take keys from a queue and run a reconcile function on each.

use crate::figures;
use crate::queue::Queue;
use crate::retry::{is_conflict, is_not_found, message};
use crate::running::Running;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Any error of a reconcile run; it is logged and the key is retried with back-off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a successful run asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something changes.
    AwaitChange,
    /// Run again after this time, changes or not.
    RequeueAfter(Duration),
}

/// A reconcile function of any controller: what a program has once instead of once per controller.
type Reconcile<T> = Arc<dyn Fn(T) -> BoxFuture<'static, Result<Outcome, BoxError>> + Send + Sync>;

/// Runs `workers` loops over `queue` until `stop`; keys in progress are finished first.
pub fn work<T, F, Fut>(
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    stop: CancellationToken,
    reconcile: F,
) -> BoxFuture<'static, ()>
where
    T: Hash + Eq + Ord + Clone + Display + Send + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
{
    run(name, queue, workers, stop, Arc::new(move |key| reconcile(key).boxed())).boxed()
}

async fn run<T>(name: &'static str, queue: Queue<T>, workers: usize, stop: CancellationToken, reconcile: Reconcile<T>)
where
    T: Hash + Eq + Ord + Clone + Display + Send + 'static,
{
    queue.tell_as(name);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (queue, reconcile) = (queue.clone(), Arc::clone(&reconcile));
        let task = async move {
            while let Some(key) = queue.take().await {
                let running = Running::begin(name);
                let begun = Instant::now();
                let result = reconcile(key.clone()).await;
                figures::observe("workqueue_work_duration_seconds", &[("name", name)], begun.elapsed());
                drop(running);
                settle(name, &queue, &key, result);
                queue.done(&key);
            }
        };
        tasks.spawn(task.boxed());
    }
    stop.cancelled().await;
    queue.close();
    while tasks.join_next().await.is_some() {}
}

fn settle<T: Hash + Eq + Ord + Clone + Display>(
    name: &str,
    queue: &Queue<T>,
    key: &T,
    result: Result<Outcome, BoxError>,
) {
    match result {
        Ok(Outcome::AwaitChange) => queue.forget(key),
        Ok(Outcome::RequeueAfter(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Err(error) => {
            let expected = error.downcast_ref::<kube::Error>().is_some_and(|e| is_conflict(e) || is_not_found(e));
            if expected || queue.retries(key) < 2 {
                tracing::debug!(controller = name, %key, error = %chain(error.as_ref()), "run failed, will retry");
            } else {
                tracing::warn!(controller = name, %key, error = %chain(error.as_ref()), "run failed again, will retry");
            }
            queue.retry(key.clone());
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // An answer of the API speaks for itself; its structure would only repeat it.
    if let Some(refusal @ kube::Error::Api(_)) = error.downcast_ref::<kube::Error>() {
        return message(refusal);
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
