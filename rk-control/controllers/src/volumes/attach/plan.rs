//! What is to be attached where, and when it may be detached. Values only.

use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use rk_client::ObjectKey;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The node leaves attaching to this controller; the others do it themselves.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// Nothing runs on the node any more, says its operator.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// What the names of volumes of CSI drivers begin with in the status of a node.
const UNIQUE: &str = "kubernetes.io/csi/";
/// A node tells at a pace of what it uses: for so long it may use what nobody needs any more without having said so.
pub(super) const SETTLE: Duration = Duration::from_secs(20);
/// A volume that a node which is not ready does not let go is taken from it after this long; upstream's default.
const FORCE: Duration = Duration::from_secs(360);

/// A volume that pods of a node need there.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Its attachment to the node.
    pub(super) attachment: String,
    /// Name of the persistent volume.
    pub(super) volume: String,
    /// Its driver.
    pub(super) driver: String,
    /// Whether other nodes may have it at the same time.
    pub(super) shared: bool,
    /// Whether the volume's object is there to stay.
    pub(super) stays: bool,
    /// The claim that the pods know it by.
    pub(super) claim: ObjectKey,
    /// The pods.
    pub(super) pods: Vec<Arc<Pod>>,
}

/// The name of the attachment of a volume to a node; the node looks for it under this name.
fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", hex::encode(Sha256::digest(format!("{handle}{driver}{node}"))))
}

/// A volume of a CSI driver, attached to `node`: name of the attachment, and of the volume in the node's status.
pub(super) fn names(volume: &PersistentVolume, node: &str) -> Option<(String, String)> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    let attachment = attachment_name(&csi.volume_handle, &csi.driver, node);
    Some((attachment, format!("{UNIQUE}{}^{}", csi.driver, csi.volume_handle)))
}

/// The name in the node's status of a volume whose object is gone, which the node may still have; empty when it does not speak of it.
/// `None` when the attachment is of somebody else's making.
pub(super) fn of_lost(attachment: &VolumeAttachment, node: Option<&Node>) -> Option<String> {
    let name = attachment.metadata.name.as_deref()?;
    let digest = name.strip_prefix("csi-")?;
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let status = node.and_then(|node| node.status.as_ref());
    let attached = status.iter().flat_map(|s| s.volumes_attached.iter().flatten()).map(|volume| &volume.name);
    let in_use = status.iter().flat_map(|s| s.volumes_in_use.iter().flatten());
    let is_its = |unique: &&String| {
        let parts = unique.strip_prefix(UNIQUE).and_then(|rest| rest.split_once('^'));
        parts.is_some_and(|(driver, handle)| attachment_name(handle, driver, &attachment.spec.node_name) == name)
    };
    Some(attached.chain(in_use).find(is_its).cloned().unwrap_or_default())
}

/// The wish for a volume on a node, without its pods yet; `None` when it is none of a CSI driver.
pub(super) fn wish(volume: &PersistentVolume, node: &str, claim: &ObjectKey) -> Option<Wish> {
    let spec = volume.spec.as_ref()?;
    let (attachment, _) = names(volume, node)?;
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    Some(Wish {
        attachment,
        volume: volume.metadata.name.clone()?,
        driver: spec.csi.as_ref()?.driver.clone(),
        shared: modes.is_empty() || modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany"),
        stays: stays(volume),
        claim: claim.clone(),
        pods: Vec::new(),
    })
}

/// Whether volumes are attached to the node from here.
pub(super) fn is_managed(node: &Node) -> bool {
    node.metadata.annotations.as_ref().and_then(|all| all.get(MANAGED)).is_some_and(|value| value == "true")
}

/// What is known of a volume since nobody needs it on its node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Idle {
    /// For how long that is.
    pub(super) waited: Duration,
    /// Whether the node has said since then that it uses it.
    pub(super) used: bool,
}

/// Whether the node says that it uses the volume of this name in its status.
pub(super) fn is_in_use(node: &Node, unique: &str) -> bool {
    let status = node.status.iter();
    status.flat_map(|status| status.volumes_in_use.iter().flatten()).any(|name| name == unique)
}

/// Whether a volume that nobody needs on the node any more may be taken from it. `unique` is its name in the node's status.
pub(super) fn may_detach(node: Option<&Node>, unique: &str, idle: Idle) -> bool {
    // Nothing runs on a node that is gone.
    let Some(node) = node else { return true };
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints.any(|taint| taint.key == OUT_OF_SERVICE) {
        return true;
    }
    if !is_in_use(node, unique) {
        return idle.used || idle.waited >= SETTLE;
    }
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    !ready && idle.waited >= FORCE
}

fn stays(volume: &PersistentVolume) -> bool {
    volume.metadata.deletion_timestamp.is_none()
}

/// Whether an attachment that is not carried out never will be: attachers refuse a volume whose object goes or is gone, and of what an
/// attachment is does not change. By `wish` pods know the same volume now: of two objects that both go none gives way to the other.
pub(super) fn is_stranded(attachment: &VolumeAttachment, volume: Option<&PersistentVolume>, wish: &Wish) -> bool {
    let is_another = attachment.spec.source.persistent_volume_name.as_ref() != Some(&wish.volume);
    let attached = attachment.status.as_ref().is_some_and(|s| s.attached);
    wish.stays && is_another && !attached && !volume.is_some_and(stays)
}

/// What the node's status says is attached: those of the `known` ones, by their volumes' names there, that are there to stay.
pub(super) fn attached<'a>(known: impl Iterator<Item = (String, &'a VolumeAttachment)>) -> Vec<AttachedVolume> {
    let there = known.filter(|(_, attachment)| {
        attachment.metadata.deletion_timestamp.is_none() && attachment.status.as_ref().is_some_and(|s| s.attached)
    });
    let mut all: Vec<_> = there.map(|(name, _)| AttachedVolume { name, device_path: String::new() }).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Why a volume cannot come to a second node, for its pods there; `others` are those that have it.
pub(super) fn taken(volume: &str, others: &[String]) -> String {
    if others.is_empty() {
        return format!(
            "Multi-Attach error for volume {volume:?} Volume is already exclusively attached to one node and can't be attached to another"
        );
    }
    format!("Multi-Attach error for volume {volume:?} Volume is already used by pod(s) {}", others.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(modes: Value) -> PersistentVolume {
        let csi = json!({"driver": "d", "volumeHandle": "h"});
        serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": {"accessModes": modes, "csi": csi}}))
            .expect("a volume")
    }

    fn node(ready: &str, taints: Value, in_use: Value) -> Node {
        let status = json!({"conditions": [{"type": "Ready", "status": ready}], "volumesInUse": in_use});
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": taints}, "status": status}))
            .expect("a node")
    }

    #[test]
    fn an_attachment_has_the_name_that_the_node_looks_for() {
        let claim = ObjectKey::new("ns", "c");
        let wish = wish(&volume(json!(["ReadWriteOnce"])), "n", &claim).expect("of a driver");
        assert_eq!(wish.attachment, "csi-9072ed11cc1acb5fa433a877ff339b6311d013f33bddd1d0092711a8ace5b16d");
        let in_status = names(&volume(json!([])), "n").map(|(_, unique)| unique);
        assert_eq!(in_status.as_deref(), Some("kubernetes.io/csi/d^h"));
        assert_eq!((wish.shared, wish.volume.as_str(), wish.driver.as_str()), (false, "pv", "d"));
        for modes in [json!(["ReadOnlyMany"]), json!(["ReadWriteOnce", "ReadWriteMany"]), json!([])] {
            assert!(super::wish(&volume(modes), "n", &claim).is_some_and(|wish| wish.shared));
        }
        assert!(names(&PersistentVolume::default(), "n").is_none());
    }

    #[test]
    fn a_volume_leaves_a_node_that_has_let_it_go_or_is_lost() {
        let used = json!(["kubernetes.io/csi/d^h"]);
        let may = |node: &Node, waited, used| {
            may_detach(Some(node), "kubernetes.io/csi/d^h", Idle { waited: Duration::from_secs(waited), used })
        };
        let gone = json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]);
        for (node, waited, seen, want) in [
            (node("True", json!([]), json!([])), 0, true, true),
            (node("True", json!([]), json!(["kubernetes.io/csi/d^other"])), 0, true, true),
            // It may be mounted, and the node has not said so yet.
            (node("True", json!([]), json!([])), 19, false, false),
            (node("True", json!([]), json!([])), 20, false, true),
            (node("True", json!([]), used.clone()), 9999, true, false),
            (node("Unknown", json!([]), used.clone()), 359, true, false),
            (node("Unknown", json!([]), used.clone()), 360, true, true),
            (node("True", gone, used), 0, false, true),
        ] {
            assert_eq!(may(&node, waited, seen), want, "{waited} {seen} {node:?}");
        }
        assert!(may_detach(None, "kubernetes.io/csi/d^h", Idle::default()));
    }

    #[test]
    fn an_attachment_of_a_volume_that_is_gone_is_known_by_its_name() {
        let attachment = |name: &str| -> VolumeAttachment {
            let spec = json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("an attachment")
        };
        let own = attachment(&attachment_name("h", "d", "n"));
        let unique = "kubernetes.io/csi/d^h";
        let used = node("True", json!([]), json!(["kubernetes.io/csi/d^other", unique]));
        assert_eq!(of_lost(&own, Some(&used)).as_deref(), Some(unique));
        let mut told = node("True", json!([]), json!([]));
        assert_eq!(of_lost(&own, Some(&told)).as_deref(), Some(""));
        assert_eq!(of_lost(&own, None).as_deref(), Some(""));
        let volume = AttachedVolume { name: unique.to_owned(), device_path: String::new() };
        told.status.get_or_insert_default().volumes_attached = Some(vec![volume]);
        assert_eq!(of_lost(&own, Some(&told)).as_deref(), Some(unique));
        for name in ["foreign", "csi-", "csi-my-own-attachment"] {
            assert_eq!(of_lost(&attachment(name), Some(&used)), None, "{name}");
        }
    }

    #[test]
    fn an_attachment_is_stranded_when_its_volume_goes_before_it_is_carried_out() {
        let attachment = |attached: Value| -> VolumeAttachment {
            let spec = json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}});
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec, "status": attached}))
                .expect("an attachment")
        };
        let (waits, carried) = (attachment(json!(null)), attachment(json!({"attached": true})));
        let stays = volume(json!([]));
        let mut goes = stays.clone();
        goes.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        let by = |name: &str, volume: &PersistentVolume| {
            let mut named = volume.clone();
            named.metadata.name = Some(name.to_owned());
            wish(&named, "n", &ObjectKey::new("ns", "c")).expect("of a driver")
        };
        let new = by("new", &stays);
        assert!(is_stranded(&waits, Some(&goes), &new));
        assert!(is_stranded(&waits, None, &new));
        assert!(!is_stranded(&waits, Some(&stays), &new), "both are of one volume");
        assert!(!is_stranded(&carried, Some(&goes), &new), "it is there, whoever needs it");
        assert!(!is_stranded(&waits, Some(&goes), &by("pv", &goes)), "there is no other");
        assert!(!is_stranded(&waits, Some(&goes), &by("new", &goes)), "the other goes as well");
    }

    #[test]
    fn a_node_is_told_of_what_is_attached_to_stay() {
        let attachment = |status: Value, leaves: bool| -> VolumeAttachment {
            let at = leaves.then_some("2026-01-01T00:00:00Z");
            let spec = json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}});
            serde_json::from_value(
                json!({"metadata": {"name": "a", "deletionTimestamp": at}, "spec": spec, "status": status}),
            )
            .expect("an attachment")
        };
        let all = [
            ("b", attachment(json!({"attached": true}), false)),
            ("a", attachment(json!({"attached": true}), false)),
            ("c", attachment(json!({"attached": false}), false)),
            ("d", attachment(json!({"attached": true}), true)),
            ("e", attachment(json!(null), false)),
        ];
        let told = attached(all.iter().map(|(name, attachment)| ((*name).to_owned(), attachment)));
        assert_eq!(told.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn who_waits_for_a_volume_is_told_who_has_it() {
        assert!(taken("pv", &[]).ends_with("exclusively attached to one node and can't be attached to another"));
        let by = taken("pv", &["a".to_owned(), "b".to_owned()]);
        assert_eq!(by, "Multi-Attach error for volume \"pv\" Volume is already used by pod(s) a, b");
    }
}
