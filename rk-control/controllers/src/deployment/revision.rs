//! Revisions of a Deployment, kept in annotations of its ReplicaSets.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// Longest list of former revisions, in bytes; the oldest are forgotten (upstream's limit).
const MOST_HISTORY: usize = 2000;

/// Annotations of a Deployment that say nothing about its ReplicaSets.
const OWN: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX, ROLLBACK_TO];

/// An annotation as a number.
pub(super) fn number<N: std::str::FromStr>(meta: &ObjectMeta, name: &str) -> Option<N> {
    meta.annotations.as_ref()?.get(name)?.parse().ok()
}

pub(super) fn of(set: &ReplicaSet) -> i64 {
    number(&set.metadata, REVISION).unwrap_or(0)
}

/// The annotations that a set should have: the Deployment's, its own bookkeeping, and `revision` if that is newer.
pub(super) fn annotate(deployment: &ObjectMeta, set: &ObjectMeta, revision: i64) -> BTreeMap<String, String> {
    let mut annotations = set.annotations.clone().unwrap_or_default();
    for (name, value) in deployment.annotations.iter().flatten() {
        if !OWN.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let before = annotations.get(REVISION).cloned();
    let before_number: i64 = before.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0);
    if before_number < revision {
        annotations.insert(REVISION.to_owned(), revision.to_string());
        if let Some(before) = before.filter(|r| !r.is_empty()) {
            let history = annotations.entry(HISTORY.to_owned()).or_default();
            *history = if history.is_empty() { before } else { format!("{history},{before}") };
            while history.len() > MOST_HISTORY {
                *history = history.split_once(',').map(|(_, later)| later.to_owned()).unwrap_or_default();
            }
        }
    }
    annotations
}

/// The Deployment's annotations after rolling back to a set: those of the set come back.
pub(super) fn annotations_of_rollback(deployment: &ObjectMeta, set: &ObjectMeta) -> BTreeMap<String, String> {
    let own = deployment
        .annotations
        .iter()
        .flatten()
        .filter(|(name, _)| OWN.contains(&name.as_str()) && *name != ROLLBACK_TO);
    let back = set.annotations.iter().flatten().filter(|(name, _)| !OWN.contains(&name.as_str()));
    own.chain(back).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_set_remembers_its_former_revisions() {
        let meta = |pairs: &[(&str, &str)]| ObjectMeta {
            annotations: Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            ..ObjectMeta::default()
        };
        let deployment =
            meta(&[("note", "x"), (REVISION, "3"), ("kubectl.kubernetes.io/last-applied-configuration", "{}")]);
        let set = annotate(&deployment, &meta(&[(REVISION, "1")]), 4);
        assert_eq!(set.get(REVISION).map(String::as_str), Some("4"));
        assert_eq!(set.get(HISTORY).map(String::as_str), Some("1"));
        assert_eq!(set.get("note").map(String::as_str), Some("x"));
        assert!(!set.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
        let again = annotate(&deployment, &ObjectMeta { annotations: Some(set), ..ObjectMeta::default() }, 6);
        assert_eq!(again.get(HISTORY).map(String::as_str), Some("1,4"));
        let long: Vec<String> = (100..600).map(|revision| revision.to_string()).collect();
        let history = long.join(",");
        let full = meta(&[(REVISION, "600"), (HISTORY, history.as_str())]);
        let kept = annotate(&deployment, &full, 601).remove(HISTORY).expect("a history");
        assert_eq!(kept, format!("{},600", long[1..].join(",")), "1999 bytes");
    }
}
