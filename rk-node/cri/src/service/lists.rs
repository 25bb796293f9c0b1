//! Lists, whole or as streams of parts (KEP-5825).

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use rk_cri_api::v1::*;
use tonic::Status;

use super::Service;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::view;
use crate::{error::Result, stats};

/// Items to a part: far below the message limit for any item that a kubelet makes.
const CHUNK: usize = 100;

/// A stream of parts.
pub(super) type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `items` in parts.
pub(super) fn in_chunks<I, T>(items: Vec<I>, part: impl Fn(Vec<I>) -> T + Send + 'static) -> Chunks<T>
where
    I: Clone + Send + 'static,
    T: Send + 'static,
{
    let parts: Vec<Vec<I>> = items.chunks(CHUNK).map(<[I]>::to_vec).collect();
    stream::iter(parts).map(move |items| Ok(part(items))).boxed()
}

impl Service {
    pub(super) fn sandboxes(&self, filter: Option<PodSandboxFilter>) -> Vec<PodSandbox> {
        let all = self.0.tables.sandboxes();
        let item = |s: &SandboxRecord| view::sandbox_fits(s, filter.as_ref()).then(|| view::sandbox_item(s));
        all.iter().filter_map(|s| s.look(item)).collect()
    }

    pub(super) fn containers(&self, filter: Option<ContainerFilter>) -> Vec<Container> {
        let all = self.0.tables.containers();
        let item = |c: &ContainerRecord| view::container_fits(c, filter.as_ref()).then(|| view::container_item(c));
        all.iter().filter_map(|c| c.look(item)).collect()
    }

    /// Usage of the containers that run and fit.
    pub(super) async fn container_stats_of(&self, filter: Option<ContainerStatsFilter>) -> Vec<ContainerStats> {
        let filter = filter.map(|f| ContainerFilter {
            id: f.id,
            state: Some(ContainerStateValue { state: ContainerState::ContainerRunning.into() }),
            pod_sandbox_id: f.pod_sandbox_id,
            label_selector: f.label_selector,
        });
        let (mut out, layers) = (Vec::new(), stats::of_layers());
        for container in self.0.tables.containers() {
            let record = container.get();
            if record.state() == ContainerState::ContainerRunning && view::container_fits(&record, filter.as_ref()) {
                out.push(stats::container(&self.0, &record, layers).await);
            }
        }
        out
    }

    /// Usage of the sandboxes that are ready and fit.
    pub(super) async fn sandbox_stats_of(&self, filter: Option<PodSandboxStatsFilter>) -> Vec<PodSandboxStats> {
        let filter = PodSandboxFilter {
            id: filter.as_ref().map(|f| f.id.clone()).unwrap_or_default(),
            state: Some(PodSandboxStateValue { state: PodSandboxState::SandboxReady.into() }),
            label_selector: filter.map(|f| f.label_selector).unwrap_or_default(),
        };
        let (mut out, layers) = (Vec::new(), stats::of_layers());
        for sandbox in self.0.tables.sandboxes() {
            let record = sandbox.get();
            if view::sandbox_fits(&record, Some(&filter)) {
                out.push(stats::sandbox(&self.0, &record, layers).await);
            }
        }
        out
    }
}
