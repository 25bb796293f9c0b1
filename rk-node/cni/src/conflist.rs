//! Network configuration: reading what is there, writing a default where nothing is.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, IoContext, Result},
    types::VERSIONS,
};

/// Network configurations are a few hundred bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// A chain of plugins.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkList {
    /// The network's name.
    pub name: String,
    /// Version that every plugin is spoken to in.
    pub cni_version: String,
    /// CHECK is not to be called.
    pub disable_check: bool,
    /// GC is not to be called.
    pub disable_gc: bool,
    /// One object for each plugin.
    pub plugins: Vec<Map<String, Value>>,
    /// The document.
    pub raw: Value,
}

impl NetworkList {
    /// The first usable configuration of a directory, by file name, as every runtime does.
    pub fn load(directory: &Path) -> Result<Self> {
        let missing = || Error::NotConfigured(directory.to_owned());
        let mut files: Vec<PathBuf> =
            fs::read_dir(directory).map_err(|_| missing())?.flatten().map(|e| e.path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "conflist" || e == "conf" || e == "json"));
        files.sort();
        let mut first_error = None;
        for path in files {
            match Self::read(&path) {
                Ok(list) => return Ok(list),
                Err(error) => {
                    tracing::warn!(%error, "skipped a network config");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(missing))
    }

    /// Whether the network speaks this version of the protocol or a later one.
    pub(crate) fn speaks(&self, version: &str) -> bool {
        let place = |wanted: &str| VERSIONS.iter().position(|known| *known == wanted);
        place(&self.cni_version) >= place(version)
    }

    fn read(path: &Path) -> Result<Self> {
        let bad = |reason: String| Error::Config { path: path.to_owned(), reason };
        if fs::metadata(path).at("stat", path)?.len() > MAX_CONFIG {
            return Err(bad(format!("larger than {MAX_CONFIG} bytes")));
        }
        let raw: Value = serde_json::from_slice(&fs::read(path).at("read", path)?).map_err(|e| bad(e.to_string()))?;
        Self::parse(raw).map_err(bad)
    }

    /// Reads a list, or a single plugin as a list of one.
    pub fn parse(raw: Value) -> std::result::Result<Self, String> {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| match raw.get(key) {
            Some(Value::String(s)) => s.eq_ignore_ascii_case("true"),
            other => other.and_then(Value::as_bool).unwrap_or_default(),
        };
        let name = text("name").filter(|n| is_name(n)).ok_or("`name` is missing or invalid")?;
        let mut versions: Vec<String> = text("cniVersion").into_iter().collect();
        if let Some(more) = raw.get("cniVersions").and_then(Value::as_array) {
            versions.extend(more.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        let known = VERSIONS.iter().rev().find(|ours| versions.iter().any(|v| v == *ours));
        let cni_version = known.ok_or_else(|| format!("`cniVersion` {versions:?} is not one of {VERSIONS:?}"))?;
        let plugins = match raw.get("plugins") {
            Some(list) => {
                list.as_array().ok_or("`plugins` is not a list")?.iter().map(|p| p.as_object().cloned()).collect()
            }
            None => raw.as_object().map(|single| vec![single.clone()]),
        };
        let plugins: Vec<Map<String, Value>> = plugins.ok_or("a plugin is not an object")?;
        if plugins.is_empty() {
            return Err("`plugins` is empty".into());
        }
        if let Some(odd) = plugins.iter().find(|p| !p.get("type").and_then(Value::as_str).is_some_and(is_file_name)) {
            return Err(format!("plugin `type` {:?} is not a file name", odd.get("type")));
        }
        let (disable_check, disable_gc) = (flag("disableCheck"), flag("disableGC"));
        Ok(Self { name, cni_version: (*cni_version).to_owned(), disable_check, disable_gc, plugins, raw })
    }
}

/// The specification's pattern of network names and container IDs.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 256
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_file_name(name: &str) -> bool {
    is_name(name)
}

/// Bridge `cni0` with addresses from the node's `pod_cidrs`, host ports, and masquerading of what leaves `cluster_cidrs`.
pub fn default_conflist(pod_cidrs: &[IpNet], cluster_cidrs: &[IpNet]) -> Value {
    let ranges: Vec<Value> = pod_cidrs.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let default_route =
        |subnet: &IpNet| if subnet.addr().is_ipv4() { json!({"dst": "0.0.0.0/0"}) } else { json!({"dst": "::/0"}) };
    let routes: Vec<Value> = pod_cidrs.iter().map(default_route).collect();
    json!({
        "cniVersion": "1.1.0",
        "name": "rk",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                // Ours alone reads this; the reference plugin leaves only the node's own subnet unmasqueraded.
                "nonMasqueradeCIDRs": cluster_cidrs,
                "ipam": {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": "/var/lib/cni/networks"},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}

/// Writes `10-rk.conflist` unless another configuration is there. `true` when the node's networking changed.
pub fn write_default_conflist(directory: &Path, pod_cidrs: &[IpNet], cluster_cidrs: &[IpNet]) -> Result<bool> {
    let ours = directory.join("10-rk.conflist");
    fs::create_dir_all(directory).at("create", directory)?;
    let foreign = fs::read_dir(directory).at("read", directory)?.flatten().map(|e| e.path());
    let is_config = |p: &PathBuf| p.extension().is_some_and(|e| e == "conflist" || e == "conf" || e == "json");
    if foreign.into_iter().any(|path| path != ours && is_config(&path)) {
        return Ok(false);
    }
    let document = serde_json::to_vec_pretty(&default_conflist(pod_cidrs, cluster_cidrs)).unwrap_or_default();
    if fs::read(&ours).is_ok_and(|old| old == document) {
        return Ok(false);
    }
    write_file(&ours, &document)?;
    Ok(true)
}

/// Write new, fsync, rename, fsync the directory.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let (new, file) = write_beside(path, bytes)?;
    file.sync_all().at("write", &new)?;
    fs::rename(&new, path).at("rename to", path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::File::open(directory).and_then(|d| d.sync_all()).at("flush", directory)
}

/// Write new, rename: whatever process ends, a reader sees the old file or the new one. For what speaks of this boot alone, and so need
/// not outlive a loss of power.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let (new, _) = write_beside(path, bytes)?;
    fs::rename(&new, path).at("rename to", path)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<(PathBuf, fs::File)> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).at("create", directory)?;
    let mut file = fs::File::create(&new).at("create", &new)?;
    file.write_all(bytes).at("write", &new)?;
    Ok((new, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_plugins_are_read_and_odd_ones_refused() {
        let single = NetworkList::parse(json!({"cniVersion": "0.4.0", "name": "x", "type": "bridge"})).expect("single");
        assert_eq!((single.plugins.len(), single.cni_version.as_str()), (1, "0.4.0"));
        let old = NetworkList::parse(json!({"cniVersion": "0.3.1", "name": "x", "plugins": [{"type": "calico"}]}));
        let old = old.expect("as Calico, Cilium and flannel write them");
        assert!(old.speaks("0.3.0") && old.speaks("0.3.1") && !old.speaks("0.4.0") && single.speaks("0.4.0"));
        let list =
            default_conflist(&["10.244.1.0/24".parse().expect("cidr")], &["10.244.0.0/16".parse().expect("cidr")]);
        assert_eq!(NetworkList::parse(list).expect("default").plugins.len(), 2);
        for bad in [
            json!({}),
            json!({"cniVersion": "1.1.0", "name": "../x", "type": "bridge"}),
            json!({"cniVersion": "0.2.0", "name": "x", "type": "bridge"}),
            json!({"cniVersion": "1.1.0", "name": "x", "type": "../../bin/sh"}),
            json!({"cniVersion": "1.1.0", "name": "x", "plugins": []}),
            json!({"cniVersion": "1.1.0", "name": "x", "plugins": ["bridge"]}),
        ] {
            assert!(NetworkList::parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_foreign_configuration_is_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let cidr = ["10.244.1.0/24".parse().expect("cidr")];
        assert!(write_default_conflist(dir.path(), &cidr, &cidr).expect("write"));
        assert!(!write_default_conflist(dir.path(), &cidr, &cidr).expect("same"));
        fs::write(dir.path().join("05-calico.conflist"), "{}").expect("foreign");
        assert!(!write_default_conflist(dir.path(), &["10.9.0.0/24".parse().expect("cidr")], &cidr).expect("foreign"));
        assert!(
            NetworkList::load(dir.path()).is_ok_and(|list| list.name == "rk"),
            "a broken file does not hide a good one"
        );
        assert!(matches!(NetworkList::load(Path::new("/nonexistent")), Err(Error::NotConfigured(_))));
    }
}
