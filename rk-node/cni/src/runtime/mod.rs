//! The runtime side: runs the plugins of a network one after another, as processes or, those of this program, as calls.

mod cache;
mod calls;
mod exec;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    conflist::{NetworkList, is_name},
    error::{Error, Result},
    types::CniResult,
};
use cache::Cached;
use exec::Exec;

/// The interface that every container gets.
pub const IF_NAME: &str = "eth0";

/// What a container wants of its network.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// Sandbox ID.
    pub container_id: String,
    /// Pinned network namespace; `None` for a DEL after it has gone.
    pub netns: Option<PathBuf>,
    /// Interface to make, `eth0`.
    pub if_name: String,
    /// `CNI_ARGS`: `K8S_POD_NAMESPACE` and the like.
    pub args: Vec<(String, String)>,
    /// Arguments by capability: each plugin gets those of the capabilities that it has.
    pub capabilities: Map<String, Value>,
}

impl Attachment {
    /// Asks for host ports, of plugins that map them.
    pub fn set_ports(&mut self, ports: &[PortMapping]) {
        if !ports.is_empty() {
            self.capabilities.insert("portMappings".into(), json!(ports));
        }
    }
}

/// A port of the host that leads to a port of the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port of the host.
    pub host_port: u16,
    /// Port of the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Only on this address of the host.
    #[serde(rename = "hostIP", default, skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// Drives CNI plugins.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Directories of plugins; earlier ones win.
    pub bin_dirs: Vec<PathBuf>,
    /// What ADD did, for CHECK, DEL and GC.
    pub cache_dir: PathBuf,
    /// Longest run of one plugin.
    pub timeout: Duration,
    /// The file of this program, links resolved: a plugin found to be it is called on a thread instead of run as a process.
    pub own: Option<PathBuf>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            conf_dir: "/etc/cni/net.d".into(),
            // Ours before those that networks install: the reference ones among these want iptables, which a node has not.
            bin_dirs: ["/var/lib/cni/bin", "/usr/libexec/cni", "/opt/cni/bin"].map(PathBuf::from).into(),
            cache_dir: "/var/lib/cni/results".into(),
            timeout: Duration::from_secs(60),
            own: std::env::current_exe().ok(),
        }
    }
}

impl Runtime {
    /// The network that pods get, read anew each time: an operator may change it at any moment.
    pub fn network(&self) -> Result<NetworkList> {
        NetworkList::load(&self.conf_dir)
    }

    /// Whether pods can be attached now: configuration, executables, and what the plugins say (STATUS, from 1.1 on).
    pub async fn status(&self) -> Result<()> {
        let network = self.network()?;
        for plugin in &network.plugins {
            let exec = self.exec(&network, plugin, None)?;
            if network.speaks("1.1.0") {
                exec.run("STATUS", &self.config(&network, plugin, None, None)).await?;
            }
        }
        Ok(())
    }

    /// Brings `lo` up and attaches the container. A failure is undone before it is returned.
    pub async fn add(&self, attachment: &Attachment) -> Result<CniResult> {
        valid(attachment)?;
        self.run_add(&loopback(), &Attachment { if_name: "lo".into(), ..attachment.clone() }).await?;
        let network = self.network()?;
        let cached = Cached::new(&network, attachment, None);
        cached.store(&self.cache_dir)?;
        match self.run_add(&network, attachment).await {
            Ok(result) => {
                Cached::new(&network, attachment, Some(result.clone())).store(&self.cache_dir)?;
                parse(result)
            }
            Err(error) => {
                if let Err(undo) = self.del(attachment).await {
                    tracing::warn!(error = %undo, container = %attachment.container_id, "cannot undo a failed attachment");
                }
                Err(error)
            }
        }
    }

    async fn run_add(&self, network: &NetworkList, attachment: &Attachment) -> Result<Value> {
        let mut previous = None;
        for plugin in &network.plugins {
            let config = self.config(network, plugin, Some(attachment), previous.as_ref());
            previous = Some(self.run(network, plugin, Some(attachment), "ADD", &config).await?);
        }
        Ok(previous.unwrap_or_default())
    }

    /// Detaches the container with the configuration that attached it. Idempotent; all plugins run even when one fails.
    pub async fn del(&self, attachment: &Attachment) -> Result<()> {
        valid(attachment)?;
        let cached = Cached::load(&self.cache_dir, attachment);
        let network = match cached.as_ref().and_then(Cached::network) {
            Some(network) => network,
            None => match self.network() {
                // Without any configuration nothing can have been attached.
                Err(Error::NotConfigured(_)) => return Ok(()),
                other => other?,
            },
        };
        let attachment = cached.as_ref().map_or(attachment.clone(), |c| c.complete(attachment));
        let previous = cached.as_ref().and_then(|c| c.result.clone());
        let mut first_error = None;
        for plugin in network.plugins.iter().rev() {
            let config = self.config(&network, plugin, Some(&attachment), previous.as_ref());
            if let Err(error) = self.run(&network, plugin, Some(&attachment), "DEL", &config).await {
                tracing::warn!(%error, container = %attachment.container_id, "plugin failed to detach");
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Cached::remove(&self.cache_dir, &attachment),
        }
    }

    /// Whether the attachment is still as ADD left it; nobody is asked before version 0.4, which has no such question.
    pub async fn check(&self, attachment: &Attachment) -> Result<()> {
        valid(attachment)?;
        let Some(cached) = Cached::load(&self.cache_dir, attachment) else { return Ok(()) };
        let asked = |network: &NetworkList| !network.disable_check && network.speaks("0.4.0");
        let Some(network) = cached.network().filter(asked) else { return Ok(()) };
        let attachment = cached.complete(attachment);
        for plugin in &network.plugins {
            let config = self.config(&network, plugin, Some(&attachment), cached.result.as_ref());
            self.run(&network, plugin, Some(&attachment), "CHECK", &config).await?;
        }
        Ok(())
    }

    /// The result of an earlier ADD.
    pub fn cached_result(&self, attachment: &Attachment) -> Option<CniResult> {
        Cached::load(&self.cache_dir, attachment).and_then(|c| c.result).and_then(|r| parse(r).ok())
    }

    /// Detaches every container that is not in `valid` (container IDs), then lets the plugins drop what they alone know of.
    pub async fn gc(&self, valid: &[String]) -> Result<()> {
        let mut first_error = None;
        let mut kept = Vec::new();
        for cached in Cached::all(&self.cache_dir) {
            let attachment = cached.attachment();
            if valid.contains(&attachment.container_id) {
                kept.push(json!({"containerID": attachment.container_id, "ifname": attachment.if_name}));
            } else if let Err(error) = self.del(&attachment).await {
                first_error.get_or_insert(error);
            }
        }
        // Whoever lives keeps what plugins have of it, though what is kept here cannot be read any more.
        for id in valid {
            if !kept.iter().any(|own| own["containerID"] == id.as_str()) {
                kept.push(json!({"containerID": id, "ifname": IF_NAME}));
            }
        }
        let network = self.network()?;
        if network.speaks("1.1.0") && !network.disable_gc {
            for plugin in &network.plugins {
                let mut config = self.config(&network, plugin, None, None);
                config["cni.dev/valid-attachments"] = Value::Array(kept.clone());
                if let Err(error) = self.run(&network, plugin, None, "GC", &config).await {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Runs a plugin where there is one of its name.
    async fn run(
        &self,
        network: &NetworkList,
        plugin: &Map<String, Value>,
        attachment: Option<&Attachment>,
        command: &'static str,
        config: &Value,
    ) -> Result<Value> {
        self.exec(network, plugin, attachment)?.run(command, config).await
    }

    fn exec(
        &self,
        network: &NetworkList,
        plugin: &Map<String, Value>,
        attachment: Option<&Attachment>,
    ) -> Result<Exec> {
        let name = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
        let found = self.bin_dirs.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
        let path = found.ok_or_else(|| Error::NoPlugin { name: name.to_owned(), searched: self.bin_dirs.clone() })?;
        let own = self.own.as_deref();
        Ok(Exec::new(path, name, &network.name, &self.bin_dirs, attachment, self.timeout, own))
    }

    /// What the plugin reads: its own object, the list's name and version, runtime arguments, the result so far.
    fn config(
        &self,
        network: &NetworkList,
        plugin: &Map<String, Value>,
        attachment: Option<&Attachment>,
        previous: Option<&Value>,
    ) -> Value {
        let mut config = plugin.clone();
        config.insert("name".into(), network.name.clone().into());
        config.insert("cniVersion".into(), network.cni_version.clone().into());
        let capable =
            |name: &str| plugin.get("capabilities").and_then(|c| c.get(name)).and_then(Value::as_bool) == Some(true);
        let asked = attachment.iter().flat_map(|a| &a.capabilities).filter(|(name, _)| capable(name));
        let asked: Map<String, Value> = asked.map(|(name, argument)| (name.clone(), argument.clone())).collect();
        if !asked.is_empty() {
            config.insert("runtimeConfig".into(), asked.into());
        }
        config.remove("capabilities");
        if let Some(previous) = previous.filter(|p| !p.is_null()) {
            config.insert("prevResult".into(), previous.clone());
        }
        Value::Object(config)
    }
}

/// Every sandbox has a loopback interface, whatever its network.
fn loopback() -> NetworkList {
    let plugin = Map::from_iter([("type".to_owned(), "loopback".into())]);
    NetworkList {
        name: "cni-loopback".into(),
        cni_version: "1.0.0".into(),
        disable_check: true,
        disable_gc: true,
        plugins: vec![plugin],
        raw: Value::Null,
    }
}

fn valid(attachment: &Attachment) -> Result<()> {
    let bad = |reason: &str| Err(Error::Config { path: "attachment".into(), reason: reason.to_owned() });
    if !is_name(&attachment.container_id) {
        return bad("invalid container ID");
    }
    let name = &attachment.if_name;
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(['/', ':', ' ']) {
        return bad("invalid interface name");
    }
    let clean = |text: &str| !text.contains([';', '=', '\0']);
    if !attachment.args.iter().all(|(key, value)| clean(key) && clean(value)) {
        return bad("CNI arguments must not hold ';' or '='");
    }
    Ok(())
}

fn parse(result: Value) -> Result<CniResult> {
    serde_json::from_value(result).map_err(|e| Error::Exec {
        plugin: "chain".into(),
        command: "ADD",
        reason: format!("bad result: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_plugin_cannot_clear_away_the_others_do_but_for_those_who_live() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| dir.path().join(name);
        let list = json!({"cniVersion": "1.1.0", "name": "n", "plugins": [{"type": "missing"}, {"type": "there"}]});
        fs::write(at("n.conflist"), list.to_string()).expect("write");
        let told = at("told");
        fs::write(at("there"), format!("#!/bin/sh\ncat >{}\n", told.display())).expect("write");
        fs::set_permissions(at("there"), fs::Permissions::from_mode(0o755)).expect("executable");
        let runtime = Runtime {
            conf_dir: dir.path().to_owned(),
            bin_dirs: vec![dir.path().to_owned()],
            cache_dir: at("results"),
            own: None,
            ..Runtime::default()
        };
        let io = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let error = io.block_on(runtime.gc(&["live".to_owned()])).expect_err("one is missing");
        assert!(matches!(&error, Error::NoPlugin { name, .. } if name == "missing"), "{error}");
        let told: Value = serde_json::from_slice(&fs::read(told).expect("it was asked")).expect("JSON");
        assert_eq!(told["cni.dev/valid-attachments"], json!([{"containerID": "live", "ifname": IF_NAME}]));
    }

    #[test]
    fn a_plugin_gets_the_arguments_of_the_capabilities_that_it_has() {
        let runtime = Runtime { own: None, ..Runtime::default() };
        let mut attachment = Attachment {
            container_id: "c".into(),
            netns: None,
            if_name: "eth0".into(),
            args: Vec::new(),
            capabilities: Map::from_iter([("bandwidth".to_owned(), json!({"ingressRate": 1000}))]),
        };
        attachment.set_ports(&[]);
        assert_eq!(attachment.capabilities.len(), 1, "no ports are nothing to ask for");
        let port = PortMapping { host_port: 80, container_port: 8080, protocol: "tcp".into(), host_ip: String::new() };
        attachment.set_ports(&[port]);
        let ports = json!([{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]);
        for (has, want) in [
            (json!({"portMappings": true, "bandwidth": false, "mac": true}), json!({"portMappings": ports})),
            (json!({"bandwidth": true}), json!({"bandwidth": {"ingressRate": 1000}})),
            (json!({"mac": true}), Value::Null),
            (Value::Null, Value::Null),
        ] {
            let plugin = json!({"type": "p", "capabilities": has});
            let plugin = plugin.as_object().expect("object");
            let config = runtime.config(&loopback(), plugin, Some(&attachment), None);
            assert_eq!((&config["runtimeConfig"], config.get("capabilities")), (&want, None), "{has}");
        }
    }
}
