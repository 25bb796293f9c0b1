//! Devices by name, as the Container Device Interface has it: files of vendors say what a container gets with one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::device_at;
use crate::error::{Error, IoContext, Result};
use crate::spec::{self, Device};

/// Where the files are; those of a later directory come before those of an earlier one.
pub(super) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The largest file that is read; those of a node full of cards have some 100 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// A file: a vendor's devices of one class.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Class {
    /// `vendor.example/class`.
    kind: String,
    devices: Vec<Named>,
    /// What comes with each of its devices, once.
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    container_edits: Edits,
}

/// What becomes of a container. A file with anything else in it is of a later version, and is not half obeyed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Bind>,
    additional_gids: Vec<u32>,
    hooks: Vec<Value>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    #[serde(rename = "type")]
    kind: String,
    major: Option<u32>,
    minor: Option<u32>,
    file_mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    permissions: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bind {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
}

/// What the named devices (`vendor.example/class=name`) ask for, in their order.
pub(super) fn find(directories: &[PathBuf], names: &[String]) -> Result<Vec<Edits>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let levels: Vec<Vec<Class>> = directories.iter().rev().map(|directory| read_all(directory)).collect();
    let (mut edits, mut unknown, mut begun) = (Vec::new(), Vec::new(), BTreeSet::new());
    for name in names {
        let Some((at, class, device)) =
            levels.iter().enumerate().find_map(|(level, classes)| only(level, classes, name))
        else {
            unknown.push(name.as_str());
            continue;
        };
        if begun.insert(at) {
            edits.push(class.container_edits.clone());
        }
        edits.push(device.container_edits.clone());
    }
    if unknown.is_empty() {
        return Ok(edits);
    }
    Err(Error::Invalid(format!("CDI device injection failed: unresolvable CDI devices {}", unknown.join(", "))))
}

/// The device of a name, with its file's place. Two files of one directory that know it leave open which one is meant.
fn only<'a>(level: usize, classes: &'a [Class], name: &str) -> Option<((usize, usize), &'a Class, &'a Named)> {
    let (kind, device) = name.split_once('=')?;
    let mut found = classes.iter().enumerate().filter(|(_, class)| class.kind == kind).flat_map(|(at, class)| {
        class.devices.iter().filter(move |known| known.name == device).map(move |known| ((level, at), class, known))
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// All files of a directory in the order of their names; what cannot be read has no devices.
fn read_all(directory: &Path) -> Vec<Class> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "json" || kind == "yaml");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let warn =
            |error: &String| tracing::warn!(path = %path.display(), "no devices are known of a CDI file: {error}");
        read_one(path).inspect_err(warn).ok()
    };
    paths.iter().filter_map(read).collect()
}

fn read_one(path: &Path) -> Result<Class, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    // JSON is YAML.
    serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())
}

/// Adds to a container's spec what its devices ask for.
pub(super) fn apply(mut value: Value, edits: &[Edits]) -> Result<Value> {
    for edit in edits {
        supported(edit)?;
        for variable in &edit.env {
            set_variable(list(&mut value, "/process", "env"), variable);
        }
        for gid in &edit.additional_gids {
            list(&mut value, "/process/user", "additionalGids").push((*gid).into());
        }
        for node in &edit.device_nodes {
            let device = device(node)?;
            let devices = list(&mut value, "/linux", "devices");
            devices.retain(|known| known["path"] != device.path.as_str());
            devices.push(spec::device(&device));
            list(&mut value, "/linux/resources", "devices").push(spec::device_rule(&device));
        }
        for bind in &edit.mounts {
            let mounts = list(&mut value, "", "mounts");
            mounts.retain(|known| known["destination"] != bind.container_path.as_str());
            mounts.push(json!({"destination": bind.container_path, "source": bind.host_path, "type": "bind", "options": options(bind)}));
        }
    }
    Ok(value)
}

fn supported(edit: &Edits) -> Result<()> {
    let refused = |what: &str| Err(Error::Unsupported(format!("CDI device injection failed: {what} not supported")));
    if !edit.hooks.is_empty() {
        return refused("hooks are");
    }
    if edit.intel_rdt.is_some() || !edit.net_devices.is_empty() {
        return refused("resctrl and network devices are");
    }
    match edit.mounts.iter().find(|bind| !matches!(bind.kind.as_str(), "" | "bind" | "none")) {
        Some(bind) => refused(&format!("mounts of type {:?} are", bind.kind)),
        None => Ok(()),
    }
}

/// The list of that name in the object at a pointer; both are made if need be.
fn list<'a>(value: &'a mut Value, at: &str, name: &str) -> &'a mut Vec<Value> {
    let mut object = value;
    for part in at.split('/').filter(|part| !part.is_empty()) {
        object = &mut object[part];
    }
    let list = &mut object[name];
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(list) => list,
        _ => unreachable!("it was made an array"),
    }
}

fn set_variable(env: &mut Vec<Value>, variable: &str) {
    let name = variable.split('=').next().unwrap_or_default();
    env.retain(|known| known.as_str().and_then(|known| known.split('=').next()) != Some(name));
    env.push(variable.into());
}

/// As many a bind's options as the file says; what it is bound with its submounts unless it says otherwise.
fn options(bind: &Bind) -> Vec<String> {
    let mut options = bind.options.clone();
    if !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".into());
    }
    options
}

/// Its numbers are told by the file, else those of the node's own.
fn device(node: &Node) -> Result<Device> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let told = match (node.kind.as_str(), node.major, node.minor) {
        ("b" | "c" | "u", Some(major), Some(minor)) => Some((node.kind == "b", major, minor)),
        _ => None,
    };
    let path = std::fs::canonicalize(host);
    let found = match (told, path) {
        (Some((block, major, minor)), _) => {
            let (path, access) = (String::new(), String::new());
            Device { path, host: PathBuf::new(), block, major, minor, mode: 0o666, uid: 0, gid: 0, access }
        }
        (None, path) => device_at(&path.at("find device", host)?)
            .ok_or_else(|| Error::Invalid(format!("CDI device injection failed: {host:?} is not a device")))?,
    };
    Ok(Device {
        path: node.path.clone(),
        mode: node.file_mode.map_or(found.mode, |mode| mode & 0o777),
        uid: node.uid.unwrap_or(found.uid),
        gid: node.gid.unwrap_or(found.gid),
        access: if node.permissions.is_empty() { "rwm".into() } else { node.permissions.clone() },
        ..found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.example/card
annotations: {a: b}
containerEdits: {env: ["DRIVER=yes"], mounts: [{hostPath: /usr/lib/driver, containerPath: /driver, options: [ro, nosuid]}]}
devices:
- name: one
  containerEdits:
    deviceNodes: [{path: /dev/card, hostPath: /dev/null, permissions: rw, fileMode: 384, gid: 44}]
    additionalGids: [44]
- name: two
  containerEdits:
    env: ["CARD=two"]
    deviceNodes: [{path: /dev/other, type: b, major: 7, minor: 9}]
"#;

    fn directories(files: &[(usize, &str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        let directories: Vec<PathBuf> = ["etc", "run"].iter().map(|name| root.path().join(name)).collect();
        for directory in &directories {
            std::fs::create_dir(directory).unwrap();
        }
        for (at, name, text) in files {
            std::fs::write(directories[*at].join(name), text).unwrap();
        }
        (root, directories)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_container_gets_what_its_devices_ask_for_and_what_their_file_does_once() {
        let (_root, directories) = directories(&[(0, "cards.yaml", CARDS)]);
        let asked = names(&["vendor.example/card=one", "vendor.example/card=two"]);
        let edits = find(&directories, &asked).unwrap();
        assert_eq!(edits.len(), 3);
        let before = json!({
            "ociVersion": "1.2.0",
            "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["CARD=none", "A=b"]},
            "mounts": [{"destination": "/driver", "source": "/old", "type": "bind"}, {"destination": "/proc", "type": "proc"}],
        });
        let spec = apply(before.clone(), &edits).unwrap();
        serde_json::from_value::<oci_spec::runtime::Spec>(spec.clone()).unwrap();
        assert_eq!(spec["process"]["env"], json!(["A=b", "DRIVER=yes", "CARD=two"]));
        assert_eq!(spec["process"]["user"]["additionalGids"], json!([44]));
        let devices = spec["linux"]["devices"].as_array().unwrap();
        let facts: Vec<Value> = devices
            .iter()
            .map(|d| json!([d["path"], d["type"], d["major"], d["minor"], d["fileMode"], d["gid"]]))
            .collect();
        assert_eq!(facts, [json!(["/dev/card", "c", 1, 3, 0o600, 44]), json!(["/dev/other", "b", 7, 9, 0o666, 0])]);
        let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules.iter().map(|r| r["access"].as_str().unwrap()).collect::<Vec<_>>(), ["rw", "rwm"]);
        let mounts = spec["mounts"].as_array().unwrap();
        assert_eq!(mounts.iter().map(|m| m["source"].as_str()).collect::<Vec<_>>(), [None, Some("/usr/lib/driver")]);
        assert_eq!(mounts[1]["options"], json!(["ro", "nosuid", "rbind"]));
        assert_eq!(apply(before.clone(), &[]).unwrap(), before);
    }

    #[test]
    fn a_later_directory_comes_first_and_what_is_known_twice_or_not_at_all_is_refused() {
        let one = |value: &str| {
            format!(r#"{{"kind": "v.io/c", "devices": [{{"name": "d", "containerEdits": {{"env": ["X={value}"]}}}}]}}"#)
        };
        let wish = names(&["v.io/c=d"]);
        let env = |files: &[(usize, &str, &str)]| {
            let (_root, directories) = directories(files);
            find(&directories, &wish).map(|edits| edits.into_iter().flat_map(|edit| edit.env).collect::<Vec<_>>())
        };
        let (a, b) = (one("a"), one("b"));
        assert_eq!(env(&[(0, "a.json", &a), (1, "b.json", &b)]).unwrap(), ["X=b"]);
        assert_eq!(env(&[(0, "a.json", &a), (0, "b.txt", &b), (0, "c.yaml", "no: [")]).unwrap(), ["X=a"]);
        let error = env(&[(1, "a.json", &a), (1, "b.json", &b)]).unwrap_err().to_string();
        assert!(error.ends_with("unresolvable CDI devices v.io/c=d"), "{error}");
        let later = one("a").replace("\"env\"", "\"whatElse\": 1, \"env\"");
        assert!(env(&[(0, "a.json", &later)]).is_err(), "a file of a later version");
        assert_eq!(find(&[], &[]).unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        let spec = json!({"ociVersion": "1.2.0"});
        for edit in [
            json!({"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}),
            json!({"intelRdt": {}}),
            json!({"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}),
            json!({"mounts": [{"hostPath": "tmpfs", "containerPath": "/t", "type": "tmpfs"}]}),
        ] {
            let edits: Edits = serde_json::from_value(edit.clone()).unwrap();
            assert!(matches!(apply(spec.clone(), &[edits]), Err(Error::Unsupported(_))), "{edit}");
        }
        let edits: Edits = serde_json::from_value(json!({"deviceNodes": [{"path": "/etc/passwd"}]})).unwrap();
        assert!(matches!(apply(spec, &[edits]), Err(Error::Invalid(_))));
    }
}
