//! Who may do what, and what comes first: bindings, certificates, budgets, priorities, flow control.

use serde_json::Value;

use super::age::human;
use super::column::{AGE, Column, Context, NAME};
use super::text::{NONE, boolean, plain};
use crate::meta;

pub(super) const BINDINGS: &[Column] = &[
    NAME,
    Column::new("Role", "The role that is granted.", |c| {
        format!("{}/{}", c.text(&["roleRef", "kind"]), c.text(&["roleRef", "name"])).into()
    }),
    AGE,
    Column::wide("Users", "The users that get it.", |c| subjects(c, "User")),
    Column::wide("Groups", "The groups that get it.", |c| subjects(c, "Group")),
    Column::wide("ServiceAccounts", "The service accounts that get it.", |c| subjects(c, "ServiceAccount")),
];

pub(super) const SIGNING_REQUESTS: &[Column] = &[
    NAME,
    AGE,
    Column::new("SignerName", "Who is to sign.", |c| c.text(&["spec", "signerName"]).into()),
    Column::new("Requestor", "Who asks.", |c| c.text(&["spec", "username"]).into()),
    Column::new("RequestedDuration", "For how long.", |c| match c.at(&["spec", "expirationSeconds"]).as_i64() {
        Some(seconds) => human(seconds).into(),
        None => NONE.into(),
    }),
    Column::new("Condition", "What came of it.", signing_condition),
];

pub(super) const DISRUPTION_BUDGETS: &[Column] = &[
    NAME,
    Column::new("Min Available", "How many pods must stay.", |c| plain(c.at(&["spec", "minAvailable"]), "N/A")),
    Column::new("Max Unavailable", "How many pods may go.", |c| plain(c.at(&["spec", "maxUnavailable"]), "N/A")),
    Column::new("Allowed Disruptions", "How many pods may go now.", |c| {
        c.number(&["status", "disruptionsAllowed"]).into()
    })
    .integer(),
    AGE,
];

pub(super) const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    Column::new("Value", "Higher is more important.", |c| c.number(&["value"]).into()).integer(),
    Column::new("Global-Default", "Whether pods without a class get it.", |c| boolean(c.at(&["globalDefault"])))
        .boolean(),
    AGE,
    Column::new("PreemptionPolicy", "Whether its pods evict others.", |c| {
        plain(c.at(&["preemptionPolicy"]), "PreemptLowerPriority")
    }),
];

pub(super) const FLOW_SCHEMAS: &[Column] = &[
    NAME,
    Column::new("PriorityLevel", "The level of matching requests.", |c| {
        c.text(&["spec", "priorityLevelConfiguration", "name"]).into()
    }),
    Column::new("MatchingPrecedence", "Lower is tried first.", |c| c.number(&["spec", "matchingPrecedence"]).into()),
    Column::new("DistinguisherMethod", "What tells flows apart.", |c| {
        plain(c.at(&["spec", "distinguisherMethod", "type"]), NONE)
    }),
    AGE,
    Column::new("MissingPL", "Whether the level does not exist.", |c| {
        let mut conditions = c.list(&["status", "conditions"]).iter();
        match conditions.find(|condition| meta::text(condition, &["type"]) == "Dangling") {
            Some(condition) => meta::text(condition, &["status"]).into(),
            None => "?".into(),
        }
    }),
];

pub(super) const PRIORITY_LEVELS: &[Column] = &[
    NAME,
    Column::new("Type", "Limited or exempt.", |c| c.text(&["spec", "type"]).into()),
    Column::new("NominalConcurrencyShares", "The level's share of the server.", |c| {
        limited(c, &["nominalConcurrencyShares"])
    }),
    Column::new("Queues", "How many queues it has.", |c| limited(c, &["limitResponse", "queuing", "queues"])),
    Column::new("HandSize", "How many queues a flow may use.", |c| {
        limited(c, &["limitResponse", "queuing", "handSize"])
    }),
    Column::new("QueueLengthLimit", "How long a queue may grow.", |c| {
        limited(c, &["limitResponse", "queuing", "queueLengthLimit"])
    }),
    AGE,
];

fn limited(c: &Context<'_>, path: &[&str]) -> Value {
    match meta::at(c.at(&["spec", "limited"]), path) {
        Value::Null => NONE.into(),
        number => number.clone(),
    }
}

fn subjects(c: &Context<'_>, kind: &str) -> Value {
    let own = c.list(&["subjects"]).iter().filter(|subject| meta::text(subject, &["kind"]) == kind);
    let names = own.map(|subject| match meta::text(subject, &["namespace"]) {
        "" => meta::text(subject, &["name"]).to_owned(),
        namespace => format!("{namespace}/{}", meta::text(subject, &["name"])),
    });
    names.collect::<Vec<_>>().join(", ").into()
}

fn signing_condition(c: &Context<'_>) -> Value {
    let conditions = c.list(&["status", "conditions"]);
    let holds = |name: &str| conditions.iter().any(|condition| meta::text(condition, &["type"]) == name);
    let mut words = Vec::new();
    match () {
        () if holds("Denied") => words.push("Denied"),
        () if holds("Approved") => words.push("Approved"),
        () => words.push("Pending"),
    }
    if holds("Failed") {
        words.push("Failed");
    }
    if !c.text(&["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",").into()
}
