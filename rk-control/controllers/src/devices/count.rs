//! How many claims there are, for the figures.

use super::claim::{ENTRY, is_allocated};
use super::make::has_admin_access;
use k8s_openapi::api::resource::v1::ResourceClaim;
use rk_api::meta::EXTENDED_CLAIM;
use rk_client::{Change, ObjectKey};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const FIGURE: &str = "resourceclaim_controller_resource_claims";
const SOURCES: [&str; 3] = ["", "extended_resource", "resource_claim_template"];

/// What claims are told apart by: allocation, admin access, source.
type Sort = (bool, bool, &'static str);

#[derive(Default)]
struct Known {
    claims: HashMap<ObjectKey, Sort>,
    counts: HashMap<Sort, usize>,
}

/// Follows the claims of the cluster.
pub(super) struct Count {
    known: Mutex<Known>,
}

impl Count {
    /// None is known: what was told before, in a former term, does not count.
    pub(super) fn new() -> Self {
        for (allocated, admin) in [(false, false), (false, true), (true, false), (true, true)] {
            SOURCES.into_iter().for_each(|source| tell((allocated, admin, source), 0));
        }
        Self { known: Mutex::default() }
    }

    /// Takes in one change.
    pub(super) fn note(&self, change: &Change<ResourceClaim>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = ObjectKey::of(change.object().as_ref());
        if let Some(old) = known.claims.remove(&key) {
            let left = known.counts.entry(old).or_default();
            *left = left.saturating_sub(1);
            tell(old, *left);
        }
        if !matches!(change, Change::Deleted(_)) {
            let new = sort(change.object());
            known.claims.insert(key, new);
            let count = known.counts.entry(new).or_default();
            *count += 1;
            tell(new, *count);
        }
    }
}

fn tell((allocated, admin, source): Sort, count: usize) {
    let word = |is: bool| if is { "true" } else { "false" };
    let labels = [("allocated", word(allocated)), ("admin_access", word(admin)), ("source", source)];
    rk_client::set(FIGURE, &labels, count);
}

fn sort(claim: &ResourceClaim) -> Sort {
    let has = |note: &str| claim.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(note));
    let source = if has(EXTENDED_CLAIM) {
        "extended_resource"
    } else if has(ENTRY) {
        "resource_claim_template"
    } else {
        ""
    };
    (is_allocated(claim), has_admin_access(&claim.spec), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    #[test]
    fn claims_are_counted_by_what_they_are_now() {
        let claim = |note: Option<&str>, status: Value| -> Arc<ResourceClaim> {
            let notes = note.map(|note| json!({note: "x"}));
            let claim = json!({"metadata": {"name": "c", "namespace": "n", "annotations": notes}, "spec": {}, "status": status});
            Arc::new(serde_json::from_value(claim).expect("a claim"))
        };
        let line = |labels: &str| {
            let start = format!("{FIGURE}{{{labels}}} ");
            let text = rk_client::render_figures();
            text.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
        };
        let free = r#"allocated="false",admin_access="false",source="resource_claim_template""#;
        let taken = r#"allocated="true",admin_access="false",source="resource_claim_template""#;
        let count = Count::new();
        let (old, new) = (claim(Some(ENTRY), json!({})), claim(Some(ENTRY), json!({"allocation": {}})));
        count.note(&Change::Added(Arc::clone(&old)));
        assert_eq!((line(free).as_deref(), line(taken).as_deref()), (Some("1"), Some("0")));
        count.note(&Change::Updated { old, new: Arc::clone(&new) });
        assert_eq!((line(free).as_deref(), line(taken).as_deref()), (Some("0"), Some("1")));
        count.note(&Change::Deleted(new));
        assert_eq!(line(taken).as_deref(), Some("0"));
        assert_eq!(sort(&claim(Some(EXTENDED_CLAIM), json!({}))).2, "extended_resource");
        assert_eq!(sort(&claim(None, json!({}))), (false, false, ""));
    }
}
