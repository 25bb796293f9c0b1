//! Leases, runtime classes, and what extends the API.

use serde_json::Value;

use super::column::{AGE, Column, NAME};
use super::text::{UNSET, plain};
use crate::meta;
use crate::selector::printed;

pub(super) const LEASES: &[Column] =
    &[NAME, Column::new("Holder", "Who holds the lease.", |c| c.text(&["spec", "holderIdentity"]).into()), AGE];

pub(super) const RUNTIME_CLASSES: &[Column] =
    &[NAME, Column::new("Handler", "The runtime's name for it.", |c| c.text(&["handler"]).into()), AGE];

pub(super) const API_SERVICES: &[Column] = &[
    NAME,
    Column::new("Service", "Who serves the group and version.", |c| {
        let service = c.at(&["spec", "service"]);
        if service.is_null() {
            return "Local".into();
        }
        format!("{}/{}", meta::text(service, &["namespace"]), meta::text(service, &["name"])).into()
    }),
    Column::new("Available", "Whether it answers.", |c| {
        let mut conditions = c.list(&["status", "conditions"]).iter();
        match conditions.find(|condition| meta::text(condition, &["type"]) == "Available") {
            Some(condition) if meta::text(condition, &["status"]) == "True" => "True".into(),
            Some(condition) => {
                format!("{} ({})", meta::text(condition, &["status"]), meta::text(condition, &["reason"])).into()
            }
            None => "Unknown".into(),
        }
    }),
    AGE,
];

pub(super) const WEBHOOKS: &[Column] = &[
    NAME,
    Column::new("Webhooks", "How many webhooks it has.", |c| c.list(&["webhooks"]).len().into()).integer(),
    AGE,
];

pub(super) const ADMISSION_POLICIES: &[Column] = &[
    NAME,
    Column::new("Validations", "How many validations it has.", |c| c.list(&["spec", "validations"]).len().into())
        .integer(),
    PARAM_KIND,
    AGE,
];

pub(super) const MUTATING_POLICIES: &[Column] = &[
    NAME,
    Column::new("Mutations", "How many mutations it has.", |c| c.list(&["spec", "mutations"]).len().into()).integer(),
    PARAM_KIND,
    AGE,
];

pub(super) const ADMISSION_BINDINGS: &[Column] = &[
    NAME,
    Column::new("PolicyName", "The policy that it binds.", |c| c.text(&["spec", "policyName"]).into()),
    Column::new("ParamRef", "The parameters that it binds.", |c| parameters(c.at(&["spec", "paramRef"])).into()),
    AGE,
];

const PARAM_KIND: Column =
    Column::new("ParamKind", "The kind of its parameters.", |c| match c.at(&["spec", "paramKind"]) {
        kind if kind.is_null() => UNSET.into(),
        kind => format!("{}/{}", meta::text(kind, &["apiVersion"]), meta::text(kind, &["kind"])).into(),
    });

/// Parameters by their name, of which it is not known whether they are in namespaces, or by their selector as Go prints it.
fn parameters(reference: &Value) -> String {
    let (name, namespace) = (meta::text(reference, &["name"]), meta::text(reference, &["namespace"]));
    match meta::at(reference, &["selector"]) {
        _ if !name.is_empty() && namespace.is_empty() => format!("*/{name}"),
        _ if !name.is_empty() => format!("{namespace}/{name}"),
        Value::Null => UNSET.to_owned(),
        selector => printed(selector),
    }
}

pub(super) const RESOURCE_CLAIMS: &[Column] = &[
    NAME,
    Column::new("State", "What has become of the claim.", |c| {
        let mut words = Vec::new();
        let (deleted, allocated) = (meta::is_deleting(c.object), !c.at(&["status", "allocation"]).is_null());
        if deleted {
            words.push("deleted");
        }
        if allocated {
            words.push("allocated");
        } else if !deleted {
            words.push("pending");
        }
        if allocated && !c.list(&["status", "reservedFor"]).is_empty() {
            words.push("reserved");
        }
        words.join(",").into()
    }),
    AGE,
];

pub(super) const RESOURCE_SLICES: &[Column] = &[
    NAME,
    Column::new("Node", "The node that has the devices.", |c| plain(c.at(&["spec", "nodeName"]), UNSET)),
    Column::new("Driver", "The devices' driver.", |c| c.text(&["spec", "driver"]).into()),
    Column::new("Pool", "The pool of the devices.", |c| c.text(&["spec", "pool", "name"]).into()),
    AGE,
];
