//! Deployments, replica sets and their like.

use serde_json::Value;

use super::column::{AGE, Column, Context, NAME};
use super::text::{containers, labels, or_none, selector};
use crate::meta;

const CONTAINERS: Column =
    Column::wide("Containers", "The containers of the pod template.", |c| containers(template(c), "name"));
const IMAGES: Column = Column::wide("Images", "The images of the pod template.", |c| containers(template(c), "image"));
const SELECTOR: Column =
    Column::wide("Selector", "Which pods belong to it.", |c| selector(c.at(&["spec", "selector"])));

pub(super) const DEPLOYMENTS: &[Column] = &[
    NAME,
    Column::new("Ready", "Ready pods of those wanted.", |c| {
        format!("{}/{}", c.number(&["status", "readyReplicas"]), c.number(&["spec", "replicas"])).into()
    }),
    Column::new("Up-to-date", "Pods with the present template.", |c| c.number(&["status", "updatedReplicas"]).into()),
    Column::new("Available", "Pods that have been ready long enough.", |c| {
        c.number(&["status", "availableReplicas"]).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const REPLICA_SETS: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    Column::new("Ready", "Ready pods.", |c| c.number(&["status", "readyReplicas"]).into()).integer(),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const REPLICATION_CONTROLLERS: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    Column::new("Ready", "Ready pods.", |c| c.number(&["status", "readyReplicas"]).into()).integer(),
    AGE,
    CONTAINERS,
    IMAGES,
    Column::wide("Selector", "Which pods belong to it.", |c| labels(c.at(&["spec", "selector"]))),
];

const DESIRED: Column =
    Column::new("Desired", "Pods that are wanted.", |c| c.number(&["spec", "replicas"]).into()).integer();
const CURRENT: Column =
    Column::new("Current", "Pods that exist.", |c| c.number(&["status", "replicas"]).into()).integer();

pub(super) const DAEMON_SETS: &[Column] = &[
    NAME,
    Column::new("Desired", "Nodes that should run a pod.", |c| c.number(&["status", "desiredNumberScheduled"]).into())
        .integer(),
    Column::new("Current", "Nodes that run a pod.", |c| c.number(&["status", "currentNumberScheduled"]).into())
        .integer(),
    Column::new("Ready", "Nodes with a ready pod.", |c| c.number(&["status", "numberReady"]).into()).integer(),
    Column::new("Up-to-date", "Nodes with a pod of the present template.", |c| {
        c.number(&["status", "updatedNumberScheduled"]).into()
    })
    .integer(),
    Column::new("Available", "Nodes whose pod has been ready long enough.", |c| {
        c.number(&["status", "numberAvailable"]).into()
    })
    .integer(),
    Column::new("Node Selector", "Which nodes should run a pod.", |c| labels(&template(c)["nodeSelector"])),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const STATEFUL_SETS: &[Column] = &[
    NAME,
    Column::new("Ready", "Ready pods of those wanted.", |c| {
        format!("{}/{}", c.number(&["status", "readyReplicas"]), c.number(&["spec", "replicas"])).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
];

pub(super) const CONTROLLER_REVISIONS: &[Column] = &[
    NAME,
    Column::new("Controller", "What it is a revision of.", |c| {
        let owner =
            c.list(&["metadata", "ownerReferences"]).iter().find(|owner| meta::at(owner, &["controller"]) == true);
        or_none(&owner.map(controller).unwrap_or_default())
    }),
    Column::new("Revision", "The revision's number.", |c| c.number(&["revision"]).into()),
    AGE,
];

/// What the subresource of that name shows.
pub(super) const SCALES: &[Column] = &[
    NAME,
    DESIRED,
    Column::new("Available", "Pods that exist.", |c| c.number(&["status", "replicas"]).into()).integer(),
    AGE,
];

pub(super) const POD_TEMPLATES: &[Column] = &[
    NAME,
    Column::new("Containers", "The containers of the template.", |c| containers(c.at(&["template", "spec"]), "name")),
    Column::new("Images", "The images of the template.", |c| containers(c.at(&["template", "spec"]), "image")),
    Column::new("Pod Labels", "The labels of the template.", |c| labels(c.at(&["template", "metadata", "labels"]))),
];

/// `statefulset.apps/web`.
fn controller(owner: &Value) -> String {
    let kind = meta::text(owner, &["kind"]).to_lowercase();
    let group =
        meta::text(owner, &["apiVersion"]).split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    format!("{kind}{group}/{}", meta::text(owner, &["name"]))
}

fn template<'a>(c: &Context<'a>) -> &'a Value {
    c.at(&["spec", "template", "spec"])
}
