//! A runtime of a test's own: its directories, no network, shims that the test plays.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use rk_cri_api::v1::{ContainerMetadata, PodSandboxConfig};
use rk_images::Images;
use rk_shim_protocol::{Decoder, Reply, Request, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::container::remove;
use crate::record::{ContainerRecord, Phase, SandboxRecord};
use crate::runtime::Runtime;
use crate::streaming::Tickets;
use crate::tables::{Container, Sandbox};
use crate::{Config, PodAttachment, PodNetwork, Starter, error};

/// Nothing of the machine that tests run on is there.
const NO_CGROUP: &str = "/rk-cri-tests";

struct Nowhere;

impl PodNetwork for Nowhere {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn add(&self, _: PodAttachment) -> BoxFuture<'_, Result<Vec<IpAddr>, String>> {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn delete(&self, _: PodAttachment) -> BoxFuture<'_, Result<(), String>> {
        std::future::ready(Err("nothing is here".to_owned())).boxed()
    }

    fn keep_only(&self, _: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// One with everything below `dir`, where nothing is yet.
pub(crate) async fn runtime(dir: &Path) -> Arc<Runtime> {
    let images = Images::open(rk_images::Config::new(dir.join("images"))).await.unwrap();
    let mut config = Config::new(images, Arc::new(Nowhere), Starter::new().unwrap());
    config.state_dir = dir.join("state");
    config.run_dir = dir.join("run");
    config.netns_dir = dir.join("netns");
    let tickets = Tickets::new(config.streaming);
    Runtime::new(config, tickets)
}

/// A sandbox that is ready, in the node's network; its shim is the caller's.
pub(crate) fn sandbox(runtime: &Runtime, id: &str) -> Arc<Sandbox> {
    let record = SandboxRecord {
        id: id.to_owned(),
        config: PodSandboxConfig::default(),
        runtime_handler: String::new(),
        created_at: 1,
        phase: Phase::Ready,
        netns: None,
        network: false,
        ips: Vec::new(),
        cgroup_parent: NO_CGROUP.into(),
        boot_id: String::new(),
    };
    std::fs::create_dir_all(runtime.run_dir(id)).unwrap();
    let sandbox = Arc::new(Sandbox::new(runtime.sandbox_state(id), record));
    runtime.tables.add_sandbox(sandbox.clone()).unwrap();
    sandbox
}

/// A container of a sandbox, which is taken to run.
pub(crate) fn running(runtime: &Runtime, sandbox: &str, id: &str) -> Arc<Container> {
    let mut record = ContainerRecord {
        id: id.to_owned(),
        sandbox: sandbox.to_owned(),
        stop_signal: crate::signal::TERM,
        cgroup: Path::new(NO_CGROUP).join(id),
        launched_at: 1,
        started_at: 1,
        ..ContainerRecord::default()
    };
    record.config.metadata = Some(ContainerMetadata { name: id.to_owned(), attempt: 0 });
    let container = Arc::new(Container::new(runtime.container_state(id), record));
    runtime.tables.add_container(container.clone()).unwrap();
    container
}

/// What they hear who ask for a turn with a container that has not started, and that is removed before they have it.
pub(crate) async fn removed_before_its_turn<F>(ask: impl FnOnce(Arc<Runtime>) -> F) -> error::Result<()>
where
    F: Future<Output = error::Result<()>> + Send + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime(dir.path()).await;
    sandbox(&runtime, "s");
    let container = running(&runtime, "s", "c");
    container.refine(|record| (record.launched_at, record.started_at) = (0, 0)).unwrap();
    let held = container.step.lock().await;
    let asking = tokio::spawn(ask(runtime.clone()));
    // It has found it, besides this test and the table.
    while Arc::strong_count(&container) < 3 {
        tokio::task::yield_now().await;
    }
    remove::clean(&runtime, "c", "s").await;
    drop(held);
    let heard = asking.await.unwrap();
    assert!(!runtime.container_state("c").exists());
    heard
}

/// The first request of a connection.
pub(crate) async fn request(stream: &mut UnixStream) -> Request {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    loop {
        if let Some(request) = decoder.take().unwrap() {
            return request;
        }
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the connection ended");
        decoder.push(&buffer[..n]);
    }
}

/// Answers a request.
pub(crate) async fn say(stream: &mut UnixStream, reply: &Reply) {
    stream.write_all(&encode(reply).unwrap()).await.unwrap();
}
