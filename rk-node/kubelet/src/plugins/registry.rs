//! The loop that registers plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rk_plugin_api::registration::registration_client::RegistrationClient;
use rk_plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus};
use tokio::time::{Instant, interval, timeout};
use tonic::transport::Channel;

use super::watch::{Sockets, changes, sockets};
use crate::claims;
use crate::disk::PLUGINS_REGISTRY;
use crate::volumes::{Driver, Drivers, NodeObject};

/// How often the directory is read: one syscall or two.
const PERIOD: Duration = Duration::from_secs(1);
/// A plugin that failed to register is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);
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

/// Registers plugins for ever. `kubelet` is the kubelet's directory.
pub async fn register_loop(kubelet: PathBuf, takers: Takers) {
    let dir = kubelet.join(PLUGINS_REGISTRY);
    let mut seen = Sockets::new();
    let mut taken: BTreeMap<PathBuf, Plugin> = BTreeMap::new();
    let mut again: BTreeMap<PathBuf, Instant> = BTreeMap::new();
    // The object is written once at the start, so that it names no driver that is not there.
    let (mut unwritten, mut first) = (true, true);
    let mut ticks = interval(PERIOD);
    loop {
        ticks.tick().await;
        let now = sockets(&dir);
        let (gone, mut new) = changes(&seen, &now);
        for path in gone {
            again.remove(&path);
            if let Some(plugin) = taken.remove(&path) {
                unwritten |= takers.forget(&plugin);
            }
        }
        let due: Vec<_> = again.iter().filter(|(_, at)| **at <= Instant::now()).map(|(path, _)| path.clone()).collect();
        new.extend(due);
        for path in new {
            again.remove(&path);
            match register(&path, &takers).await {
                Ok(plugin) => {
                    // Who takes a CSI driver on has written the object.
                    unwritten &= matches!(plugin, Plugin::Claims(..));
                    taken.insert(path, plugin);
                }
                Err(problem) => {
                    tracing::warn!(socket = %path.display(), "a plugin is not registered: {problem}");
                    again.insert(path, Instant::now() + AGAIN);
                }
            }
        }
        seen = now;
        if std::mem::take(&mut first) {
            takers.object.settle();
            unwritten = true;
        }
        if unwritten {
            match takers.object.write().await {
                Ok(()) => unwritten = false,
                Err(problem) => tracing::debug!("{problem}"),
            }
        }
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
