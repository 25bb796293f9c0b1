//! Mirror pods: API objects that show static pods, made by the node and undone with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use tokio::sync::watch;

use super::source::{HASH, MIRROR, annotation, is_mirror};
use crate::api_error;
use crate::pod::spec;
use crate::runtime::{Runtime, RuntimePod};
use crate::status_manager::StatusManager;

/// How often mirrors are compared while there are static pods.
const PERIOD: Duration = Duration::from_secs(10);

/// The static pods that the API is to show, by their UIDs.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Those that run, or are about to.
    pub present: BTreeMap<String, Arc<Pod>>,
    /// Those that still end: a mirror of theirs stays until they have ended.
    pub ending: BTreeSet<String>,
    /// Every source of manifests was read once: a mirror of any other pod shows nothing.
    pub whole: bool,
}

impl Shown {
    /// Takes what is to be shown now; whether that differs.
    pub fn update(&mut self, now: Self) -> bool {
        let same = self.present.keys().eq(now.present.keys()) && self.ending == now.ending && self.whole == now.whole;
        if !same {
            *self = now;
        }
        !same
    }

    fn is_empty(&self) -> bool {
        self.present.is_empty() && self.ending.is_empty()
    }
}

/// What to do so that the API shows exactly the static pods.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Mirrors to delete: namespace, name, UID.
    delete: Vec<(String, String, String)>,
    /// UIDs of static pods to show.
    create: Vec<String>,
}

/// Whether this object shows this static pod.
pub fn shows(mirror: &Pod, pod: &Pod) -> bool {
    annotation(mirror, MIRROR).is_some_and(|hash| annotation(pod, HASH) == Some(hash))
}

/// Mirrors of pods that nobody here asks for or ends: their manifests went while the kubelet was away.
fn strangers<'a>(wanted: &Shown, mirrors: &'a [Pod]) -> Vec<&'a Pod> {
    let known = |uid: &str| wanted.present.contains_key(uid) || wanted.ending.contains(uid);
    // A pod that has the name now is shown rather than one that had it.
    let taken = |mirror: &Pod| wanted.present.values().any(|pod| same_name(pod, mirror));
    let strange = |mirror: &&Pod| annotation(mirror, MIRROR).is_some_and(|uid| !known(uid)) && !taken(mirror);
    mirrors.iter().filter(strange).collect()
}

fn same_name(one: &Pod, other: &Pod) -> bool {
    spec::name(one) == spec::name(other) && spec::namespace(one) == spec::namespace(other)
}

fn plan(wanted: &Shown, mirrors: &[Pod]) -> Plan {
    let mut plan = Plan::default();
    let shown = |mirror: &Pod| {
        let of = annotation(mirror, MIRROR).and_then(|hash| wanted.present.get(hash));
        of.is_some_and(|pod| same_name(pod, mirror))
    };
    let mut good = Vec::new();
    for mirror in mirrors.iter().filter(|p| is_mirror(p)) {
        // One that is being deleted is never taken back: it goes, and a new one comes.
        if shown(mirror) && mirror.metadata.deletion_timestamp.is_none() {
            good.extend(annotation(mirror, MIRROR));
        } else if annotation(mirror, MIRROR).is_none_or(|hash| !wanted.ending.contains(hash)) {
            let (namespace, name, uid) = (spec::namespace(mirror), spec::name(mirror), spec::uid(mirror));
            plan.delete.push((namespace.into(), name.into(), uid.into()));
        }
    }
    plan.create = wanted.present.keys().filter(|uid| !good.contains(&uid.as_str())).cloned().collect();
    plan
}

/// The object that shows a static pod.
fn mirror_of(pod: &Pod, node: &str, node_uid: &str) -> Pod {
    let mut mirror = pod.clone();
    let hash = annotation(pod, HASH).unwrap_or_default().to_owned();
    mirror.metadata.uid = None;
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.into(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        controller: Some(true),
        ..Default::default()
    }]);
    mirror
}

/// Of so many looks one is at all pods of the node: somebody may have made a mirror of nothing.
const WHOLE: u32 = 6;

/// Keeps the mirrors for ever.
pub async fn mirror_loop(
    client: kube::Client,
    node: String,
    runtime: Runtime,
    status: StatusManager,
    mut shown: watch::Receiver<Shown>,
) {
    // Mirrors of manifests that went while the kubelet was away are looked for until none is left.
    let mut due = true;
    let mut looks = 0_u32;
    loop {
        let wanted = shown.borrow_and_update().clone();
        if due || !wanted.is_empty() {
            looks = looks.wrapping_add(1);
            let all = due || looks.is_multiple_of(WHOLE);
            match reconcile(&client, &node, &runtime, &status, wanted, all).await {
                Ok(left) => due = left,
                Err(error) => tracing::warn!("showing static pods: {}", api_error::chain(&error)),
            }
        }
        tokio::select! {
            changed = shown.changed() => match changed {
                Ok(()) => due = true,
                Err(_) => return,
            },
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// All pods of the node.
async fn on_node(client: &kube::Client, node: &str) -> Result<Vec<Pod>, kube::Error> {
    let all: Api<Pod> = Api::all(client.clone());
    Ok(all.list(&ListParams::default().fields(&format!("spec.nodeName={node}"))).await?.items)
}

/// What has the names of the static pods: all that can be missing or wrong while these stay the same.
async fn named(client: &kube::Client, wanted: &Shown) -> Result<Vec<Pod>, kube::Error> {
    let mut found = Vec::new();
    for pod in wanted.present.values() {
        let api: Api<Pod> = Api::namespaced(client.clone(), spec::namespace(pod));
        found.extend(api_error::unless_forbidden(api.get_opt(spec::name(pod)).await)?);
    }
    Ok(found)
}

/// Whether the mirror of a pod that nobody asks for stays: while the pod runs, which the manager ends, and as long as a source of
/// manifests that was not read yet may ask for it.
fn stays(mirror: &Pod, found: &RuntimePod, whole: bool) -> bool {
    let same = found.name == spec::name(mirror) && found.namespace == spec::namespace(mirror);
    !whole || (same && found.anything_running())
}

/// Adds those pods to the ones that end whose mirrors stay though nobody asks for them; whether there is any.
async fn await_strangers(runtime: &Runtime, wanted: &mut Shown, mirrors: &[Pod]) -> bool {
    let mut left = false;
    for mirror in strangers(wanted, mirrors) {
        let uid = annotation(mirror, MIRROR).unwrap_or_default();
        let stays = match runtime.pod(uid).await {
            Ok(found) => stays(mirror, &found, wanted.whole),
            Err(error) => {
                tracing::debug!(pod = %spec::name(mirror), "whether the pod of a mirror runs: {error}");
                true
            }
        };
        if stays {
            wanted.ending.insert(uid.to_owned());
            left = true;
        }
    }
    left
}

/// Makes and deletes what is to be; whether mirrors are left of pods that nobody asks for and that have not ended.
async fn reconcile(
    client: &kube::Client,
    node: &str,
    runtime: &Runtime,
    status: &StatusManager,
    mut wanted: Shown,
    all: bool,
) -> Result<bool, kube::Error> {
    let here = if all { on_node(client, node).await? } else { named(client, &wanted).await? };
    let left = await_strangers(runtime, &mut wanted, &here).await;
    let plan = plan(&wanted, &here);
    for (namespace, name, uid) in plan.delete {
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
        match api.delete(&name, &params).await {
            Ok(_) => tracing::info!(pod = %name, namespace, "a mirror pod was deleted"),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    if plan.create.is_empty() {
        return Ok(left);
    }
    let nodes: Api<Node> = Api::all(client.clone());
    // The API takes mirrors that their Node owns alone: until there is one, there are none.
    let Some(node_uid) = nodes.get_opt(node).await?.and_then(|n| n.metadata.uid) else { return Ok(left) };
    for pod in plan.create.iter().filter_map(|uid| wanted.present.get(uid)) {
        let api: Api<Pod> = Api::namespaced(client.clone(), spec::namespace(pod));
        match api.create(&PostParams::default(), &mirror_of(pod, node, &node_uid)).await {
            Ok(_) => {
                tracing::info!(pod = %spec::name(pod), "a static pod has its mirror");
                status.write_again(spec::uid(pod));
            }
            // Another pod has the name, or the pod names what no mirror may: the others are shown.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 409) => {
                tracing::warn!(pod = %spec::name(pod), "a static pod has no mirror: {}", status.message);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, uid: &str, annotations: serde_json::Value, deleting: bool) -> Pod {
        let mut value =
            json!({"metadata": {"name": name, "namespace": "default", "uid": uid, "annotations": annotations}});
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_static_pod_has_one_mirror_and_no_other_mirror_stays() {
        let mirror = |name: &str, uid: &str, hash: &str, deleting| pod(name, uid, json!({MIRROR: hash}), deleting);
        let one = Arc::new(pod("a", "1", json!({HASH: "1"}), false));
        let present = BTreeMap::from([("1".to_owned(), one.clone())]);
        let wanted = Shown { present, ending: BTreeSet::from(["8".to_owned()]), whole: true };
        let gone = |name: &str, uid: &str| ("default".to_owned(), name.to_owned(), uid.to_owned());
        let create = vec!["1".to_owned()];
        for (mirrors, want) in [
            (vec![], Plan { delete: vec![], create: create.clone() }),
            (vec![mirror("a", "x", "1", false)], Plan::default()),
            (vec![mirror("a", "x", "0", false)], Plan { delete: vec![gone("a", "x")], create: create.clone() }),
            (vec![mirror("a", "x", "1", true)], Plan { delete: vec![gone("a", "x")], create: create.clone() }),
            (
                vec![mirror("a", "x", "1", false), mirror("b", "y", "2", false)],
                Plan { delete: vec![gone("b", "y")], create: vec![] },
            ),
            (vec![mirror("b", "y", "8", false)], Plan { delete: vec![], create: create.clone() }),
            (vec![pod("plain", "z", json!({}), false)], Plan { delete: vec![], create }),
        ] {
            assert_eq!(plan(&wanted, &mirrors), want);
        }
        let made = mirror_of(&one, "n", "node-uid");
        assert_eq!((annotation(&made, MIRROR), &made.metadata.uid), (Some("1"), &None));
        let owner = &made.metadata.owner_references.as_ref().expect("an owner")[0];
        assert_eq!((owner.uid.as_str(), owner.controller, owner.block_owner_deletion), ("node-uid", Some(true), None));
    }

    #[test]
    fn a_mirror_without_a_manifest_stays_for_a_pod_that_still_runs() {
        let mirror = |name: &str, hash: &str| pod(name, "x", json!({MIRROR: hash}), false);
        let present = BTreeMap::from([("1".to_owned(), Arc::new(pod("a", "1", json!({HASH: "1"}), false)))]);
        let wanted = Shown { present, ending: BTreeSet::from(["8".to_owned()]), whole: true };
        for (mirrors, want) in [
            (vec![mirror("a", "1"), mirror("b", "8"), pod("plain", "z", json!({}), false)], &[][..]),
            (vec![mirror("c", "2"), mirror("d", "3")], &["c", "d"]),
            // Another pod has the name by now.
            (vec![mirror("a", "2")], &[]),
        ] {
            let found: Vec<&str> = strangers(&wanted, &mirrors).into_iter().map(spec::name).collect();
            assert_eq!(found, want);
        }
    }

    #[test]
    fn only_another_set_of_pods_is_news() {
        let one = Arc::new(pod("a", "1", json!({}), false));
        let now = Shown { present: BTreeMap::from([("1".to_owned(), one)]), ..Default::default() };
        let mut shown = Shown::default();
        assert!(shown.is_empty() && shown.update(now.clone()) && !shown.update(now.clone()));
        assert!(shown.update(Shown { whole: true, ..now.clone() }), "what is left over may go now");
        assert!(shown.update(Shown { ending: BTreeSet::from(["1".to_owned()]), ..now }));
    }

    #[test]
    fn a_mirror_without_a_manifest_stays_until_every_source_was_read() {
        let mirror = pod("a", "x", json!({MIRROR: "1"}), false);
        let ended = RuntimePod { name: "a".into(), namespace: "default".into(), ..Default::default() };
        assert!(stays(&mirror, &ended, false) && !stays(&mirror, &ended, true));
    }
}
