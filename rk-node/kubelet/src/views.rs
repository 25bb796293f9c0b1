//! The pods of this node as the manager last showed them, for all others.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::pod::spec;
use crate::pod::worker::{Desired, Stage};
use crate::static_pods::is_static;

/// What the manager shows.
#[derive(Default)]
pub struct View {
    /// Pods that should be here.
    pub pods: Vec<Arc<Pod>>,
    /// All workers, also of pods that should not be here any more.
    pub works: Vec<Work>,
    /// Whether the API has told of all pods of this node.
    pub listed: bool,
    /// Whether any list of them is here: the API's, or what was known before when the API does not answer.
    pub known: bool,
}

/// A worker as others see it; it stays true without the manager.
pub struct Work {
    desired: watch::Receiver<Desired>,
    stage: watch::Receiver<Stage>,
    adopted: bool,
}

impl Work {
    /// The work at a pod; `adopted` if only the runtime told of it.
    pub fn new(desired: watch::Receiver<Desired>, stage: watch::Receiver<Stage>, adopted: bool) -> Self {
        Self { desired, stage, adopted }
    }

    fn life(&self) -> Life {
        let desired = self.desired.borrow();
        Life {
            stage: *self.stage.borrow(),
            wanted: matches!(*desired, Desired::Present(_)),
            from_file: is_static(desired.pod()),
            adopted: self.adopted,
        }
    }
}

/// Where a pod is between its source and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// What its worker is at.
    pub stage: Stage,
    /// The API or a manifest asks for it.
    pub wanted: bool,
    /// It comes from a manifest of the node.
    pub from_file: bool,
    /// Only the runtime told of it.
    pub adopted: bool,
}

/// The pods of this node as last seen; shared with the HTTPS server.
#[derive(Clone)]
pub struct PodViews {
    view: watch::Receiver<View>,
}

impl PodViews {
    /// An empty view and its other end, for the manager.
    pub fn new() -> (watch::Sender<View>, Self) {
        let (sender, view) = watch::channel(View::default());
        (sender, Self { view })
    }

    /// All pods.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.view.borrow().pods.clone()
    }

    /// Whether the pods of this node are known. Until then none of them is shown, whatever runs here.
    pub fn are_known(&self) -> bool {
        self.view.borrow().known
    }

    /// Resolves once the pods of this node are known.
    pub async fn known(&self) {
        if self.view.clone().wait_for(|view| view.known).await.is_err() {
            // Nobody shows pods any more.
            std::future::pending::<()>().await;
        }
    }

    /// The view and its changes.
    pub fn follow(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// A pod by namespace and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let view = self.view.borrow();
        view.pods.iter().find(|p| spec::namespace(p) == namespace && spec::name(p) == name).cloned()
    }

    /// The lives of all pods of which something is left.
    pub fn lives(&self) -> Vec<Life> {
        let view = self.view.borrow();
        view.works.iter().map(Work::life).filter(|life| life.stage != Stage::Removed).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn lives_follow_the_workers_without_the_manager() {
        let (sender, views) = PodViews::new();
        let (desired, of_desired) = watch::channel(Desired::Present(Arc::new(Pod::default())));
        let (stage, of_stage) = watch::channel(Stage::Syncing);
        sender.send_replace(View {
            pods: Vec::new(),
            works: vec![Work::new(of_desired, of_stage, false)],
            ..View::default()
        });
        let life = Life { stage: Stage::Syncing, wanted: true, from_file: false, adopted: false };
        assert_eq!(views.lives(), [life]);
        desired.send_replace(Desired::Gone(Arc::new(Pod::default())));
        stage.send_replace(Stage::Terminating);
        assert_eq!(views.lives(), [Life { stage: Stage::Terminating, wanted: false, ..life }]);
        stage.send_replace(Stage::Removed);
        assert!(views.lives().is_empty());
    }

    #[test]
    fn who_waits_for_the_pods_waits_for_the_first_list() {
        let (sender, views) = PodViews::new();
        let mut known = std::pin::pin!(views.known());
        assert!(known.as_mut().now_or_never().is_none() && !views.are_known());
        sender.send_replace(View { works: Vec::new(), ..View::default() });
        assert!(known.as_mut().now_or_never().is_none(), "pods of a manifest alone");
        sender.send_replace(View { known: true, ..View::default() });
        assert!(known.as_mut().now_or_never().is_some() && views.are_known());
    }
}
