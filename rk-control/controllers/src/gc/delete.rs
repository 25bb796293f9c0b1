//! Whether an object has to go, checked against the live API.

use super::graph::Node;
use super::{Collector, FOREGROUND, LISTING, ORPHAN};
use crate::discovery::{AnyMeta, Served, has_finalizer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use rk_client::{BoxError, Outcome, is_conflict, is_not_found};
use serde_json::json;
use std::time::Duration;

/// How long until it is seen again whether the kind of an object is served.
pub(super) const UNSERVED: Duration = Duration::from_secs(60);

/// What the owners of an object mean for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Someone still owns it.
    Keep,
    /// Someone still owns it, but these references are void.
    DropReferences(Vec<String>),
    /// Its owners wait for it to go.
    DeleteForeground,
    /// Nobody owns it any more.
    Delete,
}

/// State of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Solid,
    Absent,
    /// Is being deleted and waits for its dependents.
    Waiting,
}

/// Decides from the owners' states.
pub(super) fn fate(owners: &[(String, Owner)], has_dependents: bool) -> Fate {
    let solid = owners.iter().any(|(_, state)| *state == Owner::Solid);
    let void: Vec<String> =
        owners.iter().filter(|(_, state)| *state != Owner::Solid).map(|(uid, _)| uid.clone()).collect();
    match (solid, void.is_empty()) {
        (true, true) => Fate::Keep,
        (true, false) => Fate::DropReferences(void),
        (false, _) if has_dependents && owners.iter().any(|(_, state)| *state == Owner::Waiting) => {
            Fate::DeleteForeground
        }
        (false, _) => Fate::Delete,
    }
}

/// The references such that no owner waits for this object; `None` when none does.
fn unblocked(references: &[OwnerReference]) -> Option<Vec<OwnerReference>> {
    let free = |r: &OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..r.clone() };
    let blocks = references.iter().any(|r| r.block_owner_deletion == Some(true));
    blocks.then(|| references.iter().map(free).collect())
}

impl Collector {
    pub(super) fn api(&self, served: &Served, node: &Node) -> Option<Api<AnyMeta>> {
        let resource = served.of_kind(&node.kind.api_version, &node.kind.kind)?;
        Some(match resource.namespaced {
            true => Api::namespaced_with(self.client.clone(), &node.namespace, &resource.api),
            false => Api::all_with(self.client.clone(), &resource.api),
        })
    }

    pub(super) async fn attempt_delete(&self, uid: &str) -> Result<Outcome, BoxError> {
        let Some(node) = self.graph().get(uid).cloned() else { return Ok(Outcome::AwaitChange) };
        if node.is_deleted && !node.waits_for_dependents {
            return Ok(Outcome::AwaitChange);
        }
        if node.waits_for_dependents && !self.knows_dependents() {
            return Ok(Outcome::RequeueAfter(LISTING));
        }
        if !node.is_virtual && !node.waits_for_dependents && self.owners_are_solid(&node) {
            return Ok(Outcome::AwaitChange);
        }
        let served = self.discovery.served().await?;
        let Some(api) = self.api(&served, &node) else {
            // Its kind is not served, or its server does not answer: nothing can be said about it yet, so its dependents stay.
            return Ok(Outcome::RequeueAfter(UNSERVED));
        };
        let live = match api.get_opt(&node.name).await? {
            Some(live) if live.metadata.uid.as_deref() == Some(uid) => live.metadata,
            _ => {
                let work = self.graph().forget(uid);
                self.enqueue(work);
                return Ok(Outcome::AwaitChange);
            }
        };
        if node.waits_for_dependents {
            return self.finish_foreground(uid, &api, &live).await;
        }
        let references = live.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(Outcome::AwaitChange);
        }
        let mut owners = Vec::with_capacity(references.len());
        for reference in &references {
            owners.push((reference.uid.clone(), self.owner_state(&served, &node, reference).await?));
        }
        self.carry_out(fate(&owners, !node.dependents.is_empty()), &api, &live, &references).await
    }

    /// Whether the graph alone shows that there is nothing to do; an owner's deletion will bring us back.
    fn owners_are_solid(&self, node: &Node) -> bool {
        let graph = self.graph();
        let solid = |owner: &Node| {
            !owner.is_virtual
                && !owner.waits_for_dependents
                && (owner.namespace.is_empty() || owner.namespace == node.namespace)
        };
        node.owners.iter().all(|reference| graph.get(&reference.uid).is_some_and(solid))
    }

    async fn owner_state(&self, served: &Served, dependent: &Node, reference: &OwnerReference) -> kube::Result<Owner> {
        let known = self
            .graph()
            .get(&reference.uid)
            .filter(|n| !n.is_virtual)
            .map(|n| (n.namespace.clone(), n.waits_for_dependents));
        if let Some((namespace, waits)) = known
            && (namespace.is_empty() || namespace == dependent.namespace)
        {
            return Ok(if waits { Owner::Waiting } else { Owner::Solid });
        }
        let Some(resource) = served.of_kind(&reference.api_version, &reference.kind) else {
            // Cannot be looked up: assume that it exists rather than delete on a guess.
            return Ok(Owner::Solid);
        };
        let api: Api<AnyMeta> = match resource.namespaced {
            // A namespaced owner of a cluster-scoped object cannot exist.
            true if dependent.namespace.is_empty() => return Ok(Owner::Solid),
            true => Api::namespaced_with(self.client.clone(), &dependent.namespace, &resource.api),
            false => Api::all_with(self.client.clone(), &resource.api),
        };
        Ok(match api.get_opt(&reference.name).await? {
            Some(owner) if owner.metadata.uid.as_deref() == Some(&reference.uid) => {
                let waits = owner.metadata.deletion_timestamp.is_some() && has_finalizer(&owner.metadata, FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Solid }
            }
            _ => Owner::Absent,
        })
    }

    async fn carry_out(
        &self,
        fate: Fate,
        api: &Api<AnyMeta>,
        live: &ObjectMeta,
        references: &[OwnerReference],
    ) -> Result<Outcome, BoxError> {
        let name = live.name.as_deref().unwrap_or_default();
        let policy = match fate {
            Fate::Keep => return Ok(Outcome::AwaitChange),
            Fate::DropReferences(void) => {
                let kept: Vec<&OwnerReference> = references.iter().filter(|r| !void.contains(&r.uid)).collect();
                self.patch_meta(api, live, json!({"ownerReferences": kept})).await?;
                return Ok(Outcome::AwaitChange);
            }
            Fate::DeleteForeground => PropagationPolicy::Foreground,
            // What the object itself asked for comes first.
            Fate::Delete if has_finalizer(live, ORPHAN) => PropagationPolicy::Orphan,
            Fate::Delete if has_finalizer(live, FOREGROUND) => PropagationPolicy::Foreground,
            Fate::Delete => PropagationPolicy::Background,
        };
        if policy == PropagationPolicy::Foreground
            && self.closes_a_circle(live.uid.as_deref().unwrap_or_default())
            && let Some(unblocked) = unblocked(references)
        {
            self.patch_meta(api, live, json!({"ownerReferences": unblocked})).await?;
            return Ok(Outcome::RequeueAfter(Duration::ZERO));
        }
        // The revision guards against an adoption in between.
        let preconditions = Preconditions { uid: live.uid.clone(), resource_version: live.resource_version.clone() };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        tracing::debug!(name, namespace = live.namespace, "deleting garbage");
        match api.delete(name, &params).await {
            Ok(_) => Ok(Outcome::AwaitChange),
            Err(error) if is_not_found(&error) => Ok(Outcome::AwaitChange),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a dependent of this object waits for its own dependents: both would wait for each other for ever.
    fn closes_a_circle(&self, uid: &str) -> bool {
        let graph = self.graph();
        let waits = |dependent: &String| graph.get(dependent).is_some_and(|n| n.waits_for_dependents);
        graph.get(uid).is_some_and(|node| node.dependents.iter().any(waits))
    }

    async fn finish_foreground(&self, uid: &str, api: &Api<AnyMeta>, live: &ObjectMeta) -> Result<Outcome, BoxError> {
        let blocking = self.graph().blocking_dependents(uid);
        if blocking.is_empty() {
            return self.drop_finalizer(api, live, FOREGROUND).await;
        }
        // Those of them that are not being deleted yet need a look; each one that goes brings us back here.
        blocking.into_iter().for_each(|dependent| self.deletions.add(dependent));
        Ok(Outcome::AwaitChange)
    }

    pub(super) async fn drop_finalizer(
        &self,
        api: &Api<AnyMeta>,
        live: &ObjectMeta,
        finalizer: &str,
    ) -> Result<Outcome, BoxError> {
        if !has_finalizer(live, finalizer) {
            return Ok(Outcome::AwaitChange);
        }
        let kept: Vec<&String> = live.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
        self.patch_meta(api, live, json!({"finalizers": kept})).await?;
        Ok(Outcome::AwaitChange)
    }

    pub(super) async fn patch_meta(
        &self,
        api: &Api<AnyMeta>,
        live: &ObjectMeta,
        mut metadata: serde_json::Value,
    ) -> Result<(), BoxError> {
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert("uid".to_owned(), json!(live.uid));
            fields.insert("resourceVersion".to_owned(), json!(live.resource_version));
        }
        let name = live.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"metadata": metadata}))).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) if is_conflict(&error) => Err("the object changed meanwhile".into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Kind;
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_owner_whose_kind_nobody_serves_at_the_moment_is_looked_for_again() {
        let collector = Collector::of_nothing();
        let kind = Arc::new(Kind { api_version: "v1".to_owned(), kind: "Pod".to_owned() });
        let owner = json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "a", "uid": "owner"});
        let pod = json!({"name": "p", "namespace": "n", "uid": "pod", "ownerReferences": [owner]});
        let work = collector.graph().observe(&kind, &serde_json::from_value(pod).expect("valid"));
        assert!(work.deletions.contains(&"owner".to_owned()));
        let outcome = collector.attempt_delete("owner").await.expect("an outcome");
        assert_eq!(outcome, Outcome::RequeueAfter(UNSERVED));
        assert_eq!(collector.attempt_delete("forgotten").await.expect("an outcome"), Outcome::AwaitChange);
    }

    #[test]
    fn owners_decide_the_fate_of_dependents() {
        let owner = |uid: &str, state| (uid.to_owned(), state);
        let cases = [
            (vec![owner("a", Owner::Solid)], false, Fate::Keep),
            (
                vec![owner("a", Owner::Solid), owner("b", Owner::Absent)],
                false,
                Fate::DropReferences(vec!["b".to_owned()]),
            ),
            (vec![owner("a", Owner::Absent)], true, Fate::Delete),
            (vec![owner("a", Owner::Waiting)], false, Fate::Delete),
            (vec![owner("a", Owner::Waiting)], true, Fate::DeleteForeground),
        ];
        for (owners, has_dependents, expected) in cases {
            assert_eq!(fate(&owners, has_dependents), expected, "{owners:?}");
        }
    }
}
