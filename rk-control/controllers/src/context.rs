//! What every controller is given, and how its loops are started.

use futures::future::BoxFuture;
use kube::Client;
use rk_client::{BoxError, Informers, Outcome, Queue, Recorders, work};
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Certificate and key of the cluster's certificate authority.
#[derive(Clone)]
pub struct Authority {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub key: String,
}

/// A range that every node gets a part of for its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodRange {
    /// The whole.
    pub range: ipnet::IpNet,
    /// Prefix length of one node's part, not below that of the whole.
    pub mask: u8,
}

/// Settings of the controllers.
#[derive(Clone)]
pub struct Config {
    /// Signs certificate requests; without it they stay unsigned.
    pub authority: Option<Authority>,
    /// PEM bundle published to every namespace as `kube-root-ca.crt`.
    pub root_ca: String,
    /// Where nodes get their `podCIDRs` from, the primary first, at most one of each family; none leaves that to someone else.
    pub pod_ranges: Vec<PodRange>,
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
    /// Finished pods kept before the oldest are removed.
    pub finished_pods: usize,
}

impl Config {
    /// Kubernetes' defaults.
    pub fn new(authority: Option<Authority>, root_ca: String, pod_ranges: Vec<PodRange>) -> Self {
        Self { authority, root_ca, pod_ranges, node_grace: Duration::from_secs(40), finished_pods: 12_500 }
    }
}

/// Handed to each controller's `register`.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) recorders: Recorders,
    pub(crate) config: Arc<Config>,
    pub(crate) stop: CancellationToken,
    loops: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Context {
    pub(crate) fn new(
        client: Client,
        informers: Informers,
        recorders: Recorders,
        config: Config,
        stop: CancellationToken,
    ) -> Self {
        Self { client, informers, recorders, config: Arc::new(config), stop, loops: Arc::default() }
    }

    /// The same for a controller with an identity of its own: it shares the watches and writes as itself.
    pub(crate) fn identified(&self, client: Client) -> Self {
        Self {
            informers: self.informers.writing_as(client.clone()),
            client,
            recorders: self.recorders.clone(),
            config: Arc::clone(&self.config),
            stop: self.stop.clone(),
            loops: Arc::clone(&self.loops),
        }
    }

    /// Starts workers once all caches are filled. Figures are told by `name`, which is upstream's where it has such a queue.
    pub(crate) fn work<T, F, Fut>(&self, name: &'static str, queue: Queue<T>, workers: usize, reconcile: F)
    where
        T: Hash + Eq + Ord + Clone + Display + Send + 'static,
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome, BoxError>> + Send + 'static,
    {
        self.task(work(name, queue, workers, self.stop.clone(), reconcile));
    }

    /// Runs `turn` at once and then every `period`, until stopped.
    pub(crate) fn every<F, Fut>(&self, period: Duration, turn: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.task(async move {
            loop {
                turn().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(period) => {}
                }
            }
        });
    }

    /// Runs a loop of its own once all caches are filled; it must end when `stop` is cancelled.
    pub(crate) fn task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(task));
    }

    pub(crate) fn take_tasks(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.loops.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
