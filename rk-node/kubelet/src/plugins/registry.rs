//! The loop that registers plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rk_plugin_api::registration::registration_client::RegistrationClient;
use rk_plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tonic::transport::Channel;

use super::watch::{Socket, Sockets, changes, sockets};
use crate::claims;
use crate::disk::PLUGINS_REGISTRY;
use crate::volumes::{Driver, Drivers, NodeObject};

/// How often the directory is read: one syscall or two.
const PERIOD: Duration = Duration::from_secs(1);
/// A plugin that failed to register is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// Plugins that are asked at once: so many must hang before another one waits for them.
const AT_ONCE: usize = 16;
/// Longest answer of a plugin.
const ASK: Duration = Duration::from_secs(10);

/// Who takes plugins on, by what these are for.
pub struct Takers {
    /// CSI drivers.
    pub volumes: Drivers,
    /// The object that tells which of these there are.
    pub object: NodeObject,
    /// DRA drivers.
    pub claims: claims::Drivers,
}

/// A plugin that was taken on.
#[derive(Debug)]
enum Plugin {
    /// A CSI driver, by its name.
    Volumes(String),
    /// One of a DRA driver's, by the driver's name and its own socket.
    Claims(String, PathBuf),
}

impl Takers {
    /// A plugin has gone; true when that makes the object wrong.
    fn forget(&self, plugin: &Plugin) -> bool {
        match plugin {
            Plugin::Volumes(driver) => {
                tracing::info!(%driver, "a CSI driver has gone");
                self.volumes.remove(driver);
                true
            }
            Plugin::Claims(driver, endpoint) => {
                tracing::info!(%driver, endpoint = %endpoint.display(), "a plugin of a DRA driver has gone");
                self.claims.remove(driver, endpoint);
                false
            }
        }
    }

    async fn admit(&self, socket: &Path, info: PluginInfo) -> Result<Plugin, String> {
        let endpoint = if info.endpoint.is_empty() { socket.to_owned() } else { PathBuf::from(&info.endpoint) };
        match info.r#type.as_str() {
            "CSIPlugin" => self.admit_volumes(info, endpoint).await,
            "DRAPlugin" => {
                self.claims.add(&info.name, &endpoint, &info.supported_versions)?;
                tracing::info!(driver = %info.name, endpoint = %endpoint.display(), "a plugin of a DRA driver has registered");
                Ok(Plugin::Claims(info.name, endpoint))
            }
            other => Err(format!("plugins of type {other:?} are not supported by this node")),
        }
    }

    async fn admit_volumes(&self, info: PluginInfo, endpoint: PathBuf) -> Result<Plugin, String> {
        if !info.supported_versions.iter().any(|v| v.trim_start_matches('v').starts_with("1.")) {
            return Err(format!("none of its versions {:?} is supported: CSI 1.x is", info.supported_versions));
        }
        self.volumes.add(Driver::ask(&info.name, endpoint, self.volumes.meters().clone()).await?);
        self.object.write().await.inspect_err(|_| self.volumes.remove(&info.name))?;
        tracing::info!(driver = %info.name, "a CSI driver has registered");
        Ok(Plugin::Volumes(info.name))
    }
}

/// What came of asking the plugin behind a socket, and which socket of that path it was.
type Answer = (PathBuf, Socket, Result<Plugin, String>);

/// Plugins that are asked, side by side, and those that were taken on.
struct Registry {
    takers: Arc<Takers>,
    seen: Sockets,
    taken: BTreeMap<PathBuf, Plugin>,
    again: BTreeMap<PathBuf, Instant>,
    asked: BTreeSet<PathBuf>,
    running: JoinSet<Answer>,
    /// Those that were there at the start and have not answered yet.
    awaited: Option<BTreeSet<PathBuf>>,
    settled: bool,
    /// The object tells of a driver that has gone.
    unwritten: bool,
}

impl Registry {
    fn new(takers: Takers) -> Self {
        Self {
            takers: Arc::new(takers),
            seen: Sockets::new(),
            taken: BTreeMap::new(),
            again: BTreeMap::new(),
            asked: BTreeSet::new(),
            running: JoinSet::new(),
            awaited: None,
            settled: false,
            unwritten: false,
        }
    }

    /// Forgets whose sockets have gone, and asks who is new or due.
    fn look(&mut self, now: Sockets) {
        let (gone, mut new) = changes(&self.seen, &now);
        for path in gone {
            self.again.remove(&path);
            // Who goes before being asked never answers.
            if let Some(awaited) = self.awaited.as_mut().filter(|_| !self.asked.contains(&path)) {
                awaited.remove(&path);
            }
            if let Some(plugin) = self.taken.remove(&path) {
                self.unwritten |= self.takers.forget(&plugin);
            }
        }
        self.awaited.get_or_insert_with(|| new.iter().cloned().collect());
        let at = Instant::now();
        new.extend(self.again.iter().filter(|(_, due)| **due <= at).map(|(path, _)| path.clone()));
        self.seen = now;
        new.into_iter().for_each(|path| self.ask(path));
    }

    fn ask(&mut self, path: PathBuf) {
        // One that is being asked has its turn again when it has answered, if its socket is another one by then.
        let Some(socket) = self.seen.get(&path).copied().filter(|_| !self.asked.contains(&path)) else { return };
        if self.asked.len() >= AT_ONCE {
            self.again.insert(path, Instant::now());
            return;
        }
        self.again.remove(&path);
        self.asked.insert(path.clone());
        let takers = Arc::clone(&self.takers);
        self.running.spawn(async move {
            let outcome = register(&path, &takers).await;
            (path, socket, outcome)
        });
    }

    fn hear(&mut self, (path, socket, outcome): Answer) {
        self.asked.remove(&path);
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(&path);
        }
        let same = self.seen.get(&path) == Some(&socket);
        match outcome {
            Ok(plugin) if same => {
                self.taken.insert(path, plugin);
                return;
            }
            Ok(plugin) => self.unwritten |= self.takers.forget(&plugin),
            Err(problem) => tracing::warn!(socket = %path.display(), "a plugin is not registered: {problem}"),
        }
        if self.seen.contains_key(&path) {
            let wait = if same { AGAIN } else { Duration::ZERO };
            self.again.insert(path, Instant::now() + wait);
        }
    }

    /// Writes the object when it is wrong, and once when all who were there at the start have answered, so that it names no driver that is
    /// not there.
    async fn write(&mut self) {
        if !self.settled && self.awaited.as_ref().is_some_and(BTreeSet::is_empty) {
            self.takers.object.settle();
            (self.settled, self.unwritten) = (true, true);
        }
        if self.unwritten {
            match self.takers.object.write().await {
                Ok(()) => self.unwritten = false,
                Err(problem) => tracing::debug!("{problem}"),
            }
        }
    }
}

/// Registers plugins for ever. `kubelet` is the kubelet's directory.
pub async fn register_loop(kubelet: PathBuf, takers: Takers) {
    let dir = kubelet.join(PLUGINS_REGISTRY);
    let mut registry = Registry::new(takers);
    let mut ticks = interval(PERIOD);
    loop {
        tokio::select! {
            _ = ticks.tick() => registry.look(sockets(&dir)),
            Some(Ok(answer)) = registry.running.join_next() => registry.hear(answer),
        }
        registry.write().await;
    }
}

/// Registers the plugin behind a socket.
async fn register(socket: &Path, takers: &Takers) -> Result<Plugin, String> {
    let mut client = RegistrationClient::new(rk_cri_api::connect(socket));
    let info = match timeout(ASK, client.get_info(InfoRequest {})).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(format!("GetInfo: {}", status.message())),
        Err(_) => return Err(format!("GetInfo took longer than {ASK:?}")),
    };
    let outcome = takers.admit(socket, info).await;
    tell(&mut client, outcome.as_ref().err().cloned()).await;
    outcome
}

/// Tells the plugin how it went. A plugin that does not listen learns it by its missing calls.
async fn tell(client: &mut RegistrationClient<Channel>, error: Option<String>) {
    let status = RegistrationStatus { plugin_registered: error.is_none(), error: error.unwrap_or_default() };
    match timeout(ASK, client.notify_registration_status(status)).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => tracing::debug!("telling a plugin the outcome: {}", status.message()),
        Err(_) => tracing::debug!("telling a plugin the outcome took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_goes_before_it_is_asked_is_not_awaited() {
        let api = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::ready(Err::<http::Response<kube::client::Body>, tower::BoxError>("nobody is there".into()))
        });
        let (client, dir, volumes) =
            (kube::Client::new(api, "default"), tempfile::tempdir().unwrap(), Drivers::default());
        let object = NodeObject::new(client.clone(), "n".to_owned(), volumes.clone());
        let claims = claims::Claims::open(dir.path(), client, "n", Arc::default()).drivers().clone();
        let mut registry = Registry::new(Takers { volumes, object, claims });
        let socket: Socket = (1, 0, 0);
        registry.look((0..=AT_ONCE).map(|number| (dir.path().join(number.to_string()), socket)).collect());
        assert_eq!(registry.asked.len(), AT_ONCE, "one waits");
        registry.look(Sockets::new());
        for path in registry.asked.clone() {
            registry.hear((path, socket, Err("it hangs".to_owned())));
        }
        assert_eq!(registry.awaited, Some(BTreeSet::new()));
    }
}
