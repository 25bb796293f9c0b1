//! Memory of the processes on a node, read by a privileged pod: a node has no shell of its own.

use super::host::mb;
use super::table::Row;
use anyhow::{Context, Result, bail};
use rk_qemu::Artifacts;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the pod runs: one line per process, `NAME RSS ANON` in KiB.
const LIST: &str = r#"for p in /proc/[0-9]*; do
  n=; r=; a=
  while read -r k v _; do case $k in Name:) n=$v;; VmRSS:) r=$v;; RssAnon:) a=$v;; esac; done < $p/status 2>/dev/null
  [ -n "$r" ] && echo "$n $r $a"
done; true"#;

/// The processes that are ours, as the kernel names them.
const OURS: [&str; 5] = ["rk-init", "rk-netd", "rk-node", "rk-control", "rk-shim"];

/// Memory of the processes of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub processes: u64,
    /// Resident, all of them together, KiB.
    pub resident: u64,
    /// Of that, what no file backs, KiB.
    pub anonymous: u64,
}

/// The pod that reads a node.
pub fn probe_pod(node: &str) -> Value {
    let container = json!({"name": "main", "image": "rk.local/busybox:demo", "command": ["sleep", "36000"],
        "securityContext": {"privileged": true}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("probe-{node}")}, "spec": {
        "nodeName": node, "hostPID": true, "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}], "containers": [container]}})
}

/// Memory of our processes on `node`, whose probe pod runs.
pub fn read(artifacts: &Artifacts, kubeconfig: &Path, node: &str) -> Result<Vec<(&'static str, Usage)>> {
    let output = Command::new(&artifacts.kubectl)
        .env("KUBECONFIG", kubeconfig)
        .args(["--cache-dir"])
        .arg(kubeconfig.with_extension("cache"))
        .args(["exec", &format!("probe-{node}"), "--", "sh", "-c", LIST])
        .stdin(Stdio::null())
        .output()
        .context("cannot run kubectl")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("cannot list processes of {node}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(OURS.into_iter().map(|name| (name, sum(&text, name))).filter(|(_, usage)| usage.processes > 0).collect())
}

/// A row per process name.
pub fn rows(node: &str, state: &str, usages: &[(&'static str, Usage)]) -> Vec<Row> {
    let row = |(name, usage): &(&'static str, Usage)| {
        let budget = match (*name, node) {
            ("rk-control", _) => "≤ 60 MB",
            ("rk-shim", _) => "≤ 1 MB per pod of its own",
            ("rk-node", "worker-1") => "with rk-init and netd ≤ 40 MB",
            _ => "—",
        };
        let count = if usage.processes == 1 { String::new() } else { format!(" ({} processes)", usage.processes) };
        let measured = format!("{}, {} of it anonymous{count}", mb(usage.resident * 1024), mb(usage.anonymous * 1024));
        Row::new(format!("{name} on {node}, {state}: resident"), measured, budget)
    };
    usages.iter().map(row).collect()
}

/// Adds up the lines of one name.
fn sum(text: &str, name: &str) -> Usage {
    let mut usage = Usage::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(name) {
            let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
            usage = Usage {
                processes: usage.processes + 1,
                resident: usage.resident + number(),
                anonymous: usage.anonymous + number(),
            };
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_one_name_are_added_up() {
        let text = "rk-node 2000 900\nrk-shim 500 100\nsleep 10 5\nrk-shim 600 110\n";
        assert_eq!(sum(text, "rk-shim"), Usage { processes: 2, resident: 1100, anonymous: 210 });
        assert_eq!(sum(text, "rk-control"), Usage::default());
    }
}
