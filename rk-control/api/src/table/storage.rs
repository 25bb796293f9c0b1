//! Volumes, claims, classes, attachments.

use serde_json::Value;

use super::column::{AGE, Column, Context, NAME};
use super::text::{NONE, UNSET, boolean, plain};
use crate::meta;

pub(super) const VOLUMES: &[Column] = &[
    NAME,
    Column::new("Capacity", "The volume's size.", |c| plain(c.at(&["spec", "capacity", "storage"]), "0")),
    Column::new("Access Modes", "How the volume may be mounted.", |c| modes(c.list(&["spec", "accessModes"]))),
    Column::new("Reclaim Policy", "What happens to the volume after use.", |c| {
        c.text(&["spec", "persistentVolumeReclaimPolicy"]).into()
    }),
    Column::new("Status", "The volume's phase.", phase),
    Column::new("Claim", "The claim that it is bound to.", |c| {
        let claim = c.at(&["spec", "claimRef"]);
        if claim.is_null() {
            "".into()
        } else {
            format!("{}/{}", meta::text(claim, &["namespace"]), meta::text(claim, &["name"])).into()
        }
    }),
    Column::new("StorageClass", "The volume's class.", class),
    ATTRIBUTES_CLASS,
    Column::new("Reason", "Why the volume is in its phase.", |c| c.text(&["status", "reason"]).into()),
    AGE,
    VOLUME_MODE,
];

pub(super) const CLAIMS: &[Column] = &[
    NAME,
    Column::new("Status", "The claim's phase.", phase),
    Column::new("Volume", "The volume that it is bound to.", |c| c.text(&["spec", "volumeName"]).into()),
    Column::new("Capacity", "The size that it got.", |c| {
        bound(c, |c| plain(c.at(&["status", "capacity", "storage"]), "0"))
    }),
    Column::new("Access Modes", "How it may be mounted.", |c| bound(c, |c| modes(c.list(&["status", "accessModes"])))),
    Column::new("StorageClass", "The class that it asks for.", class),
    ATTRIBUTES_CLASS,
    AGE,
    VOLUME_MODE,
];

const ATTRIBUTES_CLASS: Column = Column::new("VolumeAttributesClass", "The class of the volume's attributes.", |c| {
    match c.text(&["spec", "volumeAttributesClassName"]) {
        "" => UNSET.into(),
        name => name.into(),
    }
});

const VOLUME_MODE: Column =
    Column::wide("VolumeMode", "File system or block device.", |c| plain(c.at(&["spec", "volumeMode"]), UNSET));

pub(super) const CLASSES: &[Column] = &[
    Column::new("Name", "The name of the class.", |c| {
        marked(c, &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"])
    })
    .naming(),
    Column::new("Provisioner", "Who makes volumes of the class.", |c| c.text(&["provisioner"]).into()),
    Column::new("ReclaimPolicy", "What happens to volumes after use.", |c| plain(c.at(&["reclaimPolicy"]), "Delete")),
    Column::new("VolumeBindingMode", "When claims are bound.", |c| plain(c.at(&["volumeBindingMode"]), "Immediate")),
    Column::new("AllowVolumeExpansion", "Whether volumes can grow.", |c| boolean(c.at(&["allowVolumeExpansion"]))),
    AGE,
];

pub(super) const ATTACHMENTS: &[Column] = &[
    NAME,
    Column::new("Attacher", "Who attaches the volume.", |c| c.text(&["spec", "attacher"]).into()),
    Column::new("PV", "The volume.", |c| c.text(&["spec", "source", "persistentVolumeName"]).into()),
    Column::new("Node", "The node.", |c| c.text(&["spec", "nodeName"]).into()),
    Column::new("Attached", "Whether the volume is attached.", |c| boolean(c.at(&["status", "attached"]))).boolean(),
    AGE,
];

pub(super) const ATTRIBUTES_CLASSES: &[Column] = &[
    Column::new("Name", "The name of the class.", |c| {
        marked(c, &["storage.alpha.kubernetes.io/is-default-volume-attributes-class"])
    })
    .naming(),
    Column::new("DriverName", "The driver of the class.", |c| c.text(&["driverName"]).into()),
    AGE,
];

pub(super) const CSI_NODES: &[Column] = &[
    NAME,
    Column::new("Drivers", "How many drivers the node has.", |c| c.list(&["spec", "drivers"]).len().into()).integer(),
    AGE,
];

pub(super) const CSI_DRIVERS: &[Column] = &[
    NAME,
    Column::new("AttachRequired", "Whether volumes must be attached.", |c| {
        c.at(&["spec", "attachRequired"]).as_bool().unwrap_or(true).into()
    })
    .boolean(),
    Column::new("PodInfoOnMount", "Whether the driver is told of the pod.", |c| {
        boolean(c.at(&["spec", "podInfoOnMount"]))
    })
    .boolean(),
    Column::new("StorageCapacity", "Whether the driver publishes its capacity.", |c| {
        boolean(c.at(&["spec", "storageCapacity"]))
    })
    .boolean(),
    Column::new("TokenRequests", "The audiences of the tokens that it gets.", |c| {
        let audiences = c.list(&["spec", "tokenRequests"]).iter().map(|request| meta::text(request, &["audience"]));
        match c.at(&["spec", "tokenRequests"]) {
            Value::Null => UNSET.into(),
            _ => audiences.collect::<Vec<_>>().join(",").into(),
        }
    }),
    Column::new("RequiresRepublish", "Whether volumes are published again and again.", |c| {
        boolean(c.at(&["spec", "requiresRepublish"]))
    })
    .boolean(),
    Column::new("Modes", "The lifecycles of its volumes.", |c| {
        let modes = c.list(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str);
        match modes.collect::<Vec<_>>().join(",") {
            none if none.is_empty() => NONE.into(),
            list => list.into(),
        }
    }),
    AGE,
];

pub(super) const CAPACITIES: &[Column] = &[
    NAME,
    Column::new("StorageClassName", "The class.", |c| c.text(&["storageClassName"]).into()),
    Column::new("Capacity", "How much is left.", |c| plain(c.at(&["capacity"]), UNSET)),
];

/// The name, and whether an annotation makes the object its kind's default.
fn marked(c: &Context<'_>, annotations: &[&str]) -> Value {
    let name = c.text(&["metadata", "name"]);
    let default = annotations.iter().any(|key| c.text(&["metadata", "annotations", key]) == "true");
    if default { format!("{name} (default)").into() } else { name.into() }
}

fn phase(c: &Context<'_>) -> Value {
    if meta::is_deleting(c.object) { "Terminating".into() } else { c.text(&["status", "phase"]).into() }
}

/// What is known of a claim only once it is bound.
fn bound(c: &Context<'_>, cell: impl Fn(&Context<'_>) -> Value) -> Value {
    if c.text(&["spec", "volumeName"]).is_empty() { "".into() } else { cell(c) }
}

fn class(c: &Context<'_>) -> Value {
    match c.text(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]) {
        "" => c.text(&["spec", "storageClassName"]).into(),
        legacy => legacy.into(),
    }
}

fn modes(list: &[Value]) -> Value {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |name: &str| list.iter().any(|mode| mode == name);
    SHORT.iter().filter(|(name, _)| has(name)).map(|(_, short)| *short).collect::<Vec<_>>().join(",").into()
}
