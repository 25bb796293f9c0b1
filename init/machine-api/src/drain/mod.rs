//! Draining: before an upgrade, a rollback or an operator restarts a node, its pods are evicted with the cluster's knowledge, and the node takes none back
//! until it is Ready again.
//!
//! The node does it itself, with its kubelet's rights: those suffice to cordon itself and to evict its own pods, and evictions
//! honour disruption budgets. A note on the state disk tells the next boot to undo the cordon.

mod back;
mod cluster;
mod plan;
mod restart;

use crate::disks::Teller;
use crate::log;
use crate::node::{NODE_STATUS, write_private};
use back::give_back;
use cluster::{Answer, Cluster, PKI};
use futures::FutureExt as _;
use plan::{Cordon, Leaving, Made, leaving, made, whose};
use rk_config::{MachineConfig, STATE_DIR};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tonic::Status;

pub use restart::{Deed, restart};

/// Longest time that pods get to leave, in seconds.
pub(crate) const MOST_DRAIN: u32 = 24 * 3600;
/// On the state disk: this node was cordoned by a drain, and by which.
const NOTE: &str = "cordoned";
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const READY_AGAIN: Duration = Duration::from_secs(3);
/// Pods named in a refusal.
const MOST_NAMED: usize = 5;
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

/// A drained node, until its machine restarts.
pub struct Drained {
    cluster: Option<Cluster>,
    cordoned: bool,
}

impl Drained {
    /// The restart does not come: pods may come back at once, or as soon as the API server answers.
    pub async fn undo(self) {
        let Some(cluster) = self.cluster.filter(|_| self.cordoned) else { return };
        match uncordon(cluster.clone()).await {
            Ok(_) => forget_note(),
            Err(reason) => {
                log::warn(format_args!("the node stays cordoned for now: {reason}"));
                tokio::spawn(
                    async move { give_back(&note(), READY_AGAIN, ready, || uncordon(cluster.clone())).await }.boxed(),
                );
            }
        }
    }
}

/// Cordons the node and evicts its pods.
///
/// # Errors
/// Pods are left at the deadline, each with what keeps it; the API server does not answer. The node is not cordoned then.
pub(crate) async fn drain(config: &MachineConfig, deadline: Duration, teller: &Teller) -> Result<Drained, Status> {
    let endpoint = config.cluster.endpoint.clone().unwrap_or_default();
    let cluster = Cluster::joined(&endpoint, Path::new(PKI)).map_err(Status::failed_precondition)?;
    let Some(cluster) = cluster else {
        teller.say(Ok("this node is in no cluster yet: there is nothing to drain")).await;
        return Ok(Drained { cluster: None, cordoned: false });
    };
    let cordoned = take_out(&cluster).await.map_err(|reason| {
        Status::unavailable(format!("cordoning {}: {reason}; --no-drain goes on without", cluster.node))
    })?;
    let drained = Drained { cluster: Some(cluster.clone()), cordoned };
    match evict_all(&cluster, Instant::now() + deadline, teller).await {
        Ok(()) => Ok(drained),
        Err(status) => {
            drained.undo().await;
            Err(status)
        }
    }
}

/// Answers whether it was us: an operator's cordon is left alone, and none is made that nobody would remember to undo.
async fn take_out(cluster: &Cluster) -> Result<bool, String> {
    let node = cluster.ask("GET", &format!("/api/v1/nodes/{}", cluster.node), None).await?.good()?;
    match whose(&node, note().exists()) {
        Cordon::Ours => {
            // It is this drain's from now on. One that cannot be noted anew is undone by who noted it.
            let _ = write_note();
            return Ok(true);
        }
        Cordon::Others => return Ok(false),
        Cordon::Nobodys => {}
    }
    // A full disk must not keep its machine from restarting; the taint of that pressure keeps pods away meanwhile.
    if let Err(err) = write_note() {
        log::warn(format_args!(
            "{} is drained without a cordon, which could not be noted in {}: {err}",
            cluster.node,
            note().display()
        ));
        forget_note();
        return Ok(false);
    }
    let answer = cordon(cluster, true).await;
    match made(answer.as_ref().ok().map(|answer| answer.status)) {
        Made::Yes => {}
        // A note of what never was would have the next boot undo an operator's cordon.
        Made::No => forget_note(),
        Made::Perhaps => Drained { cluster: Some(cluster.clone()), cordoned: true }.undo().await,
    }
    answer?.good().map(|_| true)
}

/// Answers the node's name.
async fn uncordon(cluster: Cluster) -> Result<String, String> {
    cordon(&cluster, false).await?.good()?;
    Ok(cluster.node)
}

async fn cordon(cluster: &Cluster, cordoned: bool) -> Result<Answer, String> {
    let patch = json!({"spec": {"unschedulable": if cordoned { Value::Bool(true) } else { Value::Null }}});
    let path = format!("/api/v1/nodes/{}", cluster.node);
    cluster.ask("PATCH", &path, Some((MERGE, &patch))).await
}

async fn evict_all(cluster: &Cluster, deadline: Instant, teller: &Teller) -> Result<(), Status> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", cluster.node);
    let mut told = usize::MAX;
    loop {
        let listed = async { cluster.ask("GET", &path, None).await?.good() }.await;
        let mut kept = BTreeMap::new();
        match listed {
            Ok(list) => {
                let pods = leaving(&list);
                if pods.is_empty() {
                    return Ok(());
                }
                if pods.len() != told {
                    teller.say(Ok(&format!("draining: {} pods are to leave", pods.len()))).await;
                    told = pods.len();
                }
                for pod in pods {
                    let why = if pod.deleted { "is ending".to_owned() } else { evict(cluster, &pod).await };
                    kept.insert(format!("{}/{}", pod.namespace, pod.name), why);
                }
            }
            // The API server may be on this very node and busy; the deadline bounds it.
            Err(reason) => {
                kept.insert("pods".to_owned(), reason);
            }
        }
        if Instant::now() + LOOK_AGAIN > deadline {
            return Err(Status::failed_precondition(refusal(&kept)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Answers what became of it, in words for the refusal at the deadline.
async fn evict(cluster: &Cluster, pod: &Leaving) -> String {
    let Leaving { namespace, name, .. } = pod;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}});
    match cluster.ask("POST", &path, Some((JSON, &eviction))).await {
        Ok(answer) if (200..300).contains(&answer.status) || answer.status == 404 => "is ending".to_owned(),
        Ok(answer) => answer.message(),
        Err(reason) => reason,
    }
}

fn refusal(kept: &BTreeMap<String, String>) -> String {
    let named: Vec<String> = kept.iter().take(MOST_NAMED).map(|(pod, why)| format!("{pod} ({why})")).collect();
    let more = kept.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "pods were left at the deadline: {}{more}; the node runs on as it was. Give it more time by --drain-timeout, or \
         --no-drain to let them die with the restart",
        named.join(", ")
    )
}

fn note() -> PathBuf {
    Path::new(STATE_DIR).join(NOTE)
}

/// Each drain's differs, so that who undoes the cordon of one leaves that of the next.
fn write_note() -> io::Result<()> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    write_private(&note(), format!("by a drain at {}\n", since.as_nanos()).as_bytes())
}

fn forget_note() {
    let _ = std::fs::remove_file(note());
}

fn ready() -> bool {
    std::fs::read_to_string(NODE_STATUS).unwrap_or_default().starts_with("True")
}

/// Undoes the cordon of the restart before, once the node is Ready again. Returns at once when there was none.
pub async fn return_to_service(config: &MachineConfig) {
    let endpoint = config.cluster.endpoint.clone().unwrap_or_default();
    let undo = || async {
        let cluster = Cluster::joined(&endpoint, Path::new(PKI))?.ok_or("the node is in no cluster yet")?;
        uncordon(cluster).await
    };
    give_back(&note(), READY_AGAIN, ready, undo).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_some_pods_and_what_keeps_them_and_how_to_go_on() {
        let kept: BTreeMap<String, String> =
            (0..7).map(|n| (format!("default/p{n}"), "violates the budget".to_owned())).collect();
        let text = refusal(&kept);
        assert!(text.contains("default/p0 (violates the budget)") && text.contains("and 2 more"), "{text}");
        assert!(text.contains("--drain-timeout") && !text.contains("p5"), "{text}");
    }
}
