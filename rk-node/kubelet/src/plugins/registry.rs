//! The loop that registers plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rk_plugin_api::registration::registration_client::RegistrationClient;
use rk_plugin_api::registration::{InfoRequest, PluginInfo, RegistrationStatus};
use tokio::time::{Instant, interval, timeout};
use tonic::transport::Channel;

use super::watch::{Sockets, changes, sockets};
use crate::volumes::{Driver, Drivers, NodeObject};

/// How often the directory is read: one syscall or two.
const PERIOD: Duration = Duration::from_secs(1);
/// A plugin that failed to register is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest answer of a plugin.
const ASK: Duration = Duration::from_secs(10);

/// Registers plugins for ever. `kubelet` is the kubelet's directory.
pub async fn register_loop(kubelet: PathBuf, drivers: Drivers, object: NodeObject) {
    let dir = kubelet.join("plugins_registry");
    if let Err(error) = std::fs::create_dir_all(&dir) {
        tracing::error!(dir = %dir.display(), "plugins cannot register: {error}");
    }
    let mut seen = Sockets::new();
    let mut names: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut again: BTreeMap<PathBuf, Instant> = BTreeMap::new();
    // The object is written once at the start, so that it names no driver that is not there.
    let mut unwritten = true;
    let mut ticks = interval(PERIOD);
    loop {
        ticks.tick().await;
        let now = sockets(&dir);
        let (gone, mut new) = changes(&seen, &now);
        for path in gone {
            again.remove(&path);
            if let Some(name) = names.remove(&path) {
                tracing::info!(driver = %name, "a CSI driver has gone");
                drivers.remove(&name);
                unwritten = true;
            }
        }
        let due: Vec<_> = again.iter().filter(|(_, at)| **at <= Instant::now()).map(|(path, _)| path.clone()).collect();
        new.extend(due);
        for path in new {
            again.remove(&path);
            match register(&path, &drivers, &object).await {
                Ok(name) => {
                    tracing::info!(driver = %name, "a CSI driver has registered");
                    names.insert(path, name);
                    unwritten = false;
                }
                Err(problem) => {
                    tracing::warn!(socket = %path.display(), "a plugin is not registered: {problem}");
                    again.insert(path, Instant::now() + AGAIN);
                }
            }
        }
        seen = now;
        if unwritten {
            match object.write().await {
                Ok(()) => unwritten = false,
                Err(problem) => tracing::debug!("{problem}"),
            }
        }
    }
}

/// Registers the plugin behind a socket and answers its name.
async fn register(socket: &Path, drivers: &Drivers, object: &NodeObject) -> Result<String, String> {
    let mut client = RegistrationClient::new(rk_cri_api::connect(socket));
    let info = match timeout(ASK, client.get_info(InfoRequest {})).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(format!("GetInfo: {}", status.message())),
        Err(_) => return Err(format!("GetInfo took longer than {ASK:?}")),
    };
    let outcome = admit(socket, &info, drivers, object).await;
    tell(&mut client, outcome.clone().err()).await;
    outcome.map(|()| info.name)
}

async fn admit(socket: &Path, info: &PluginInfo, drivers: &Drivers, object: &NodeObject) -> Result<(), String> {
    if info.r#type != "CSIPlugin" {
        return Err(format!("plugins of type {:?} are not supported by this node", info.r#type));
    }
    if !info.supported_versions.iter().any(|v| v.trim_start_matches('v').starts_with("1.")) {
        return Err(format!("none of its versions {:?} is supported: CSI 1.x is", info.supported_versions));
    }
    let endpoint = if info.endpoint.is_empty() { socket.to_owned() } else { PathBuf::from(&info.endpoint) };
    drivers.add(Driver::ask(&info.name, endpoint).await?);
    object.write().await.inspect_err(|_| drivers.remove(&info.name))
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
