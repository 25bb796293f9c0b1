//! Makes the claims of generic ephemeral volumes (KEP-1698): they live and die with their pod.

use super::protect;
use crate::context::Context;
use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{Change, Informer, ObjectKey, Outcome, Queue, controller_ref, is_controlled_by, message};

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let pods = ctx.informers.of::<Pod>();
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let recorder = ctx.recorders.of("ephemeral_volume");
    protect::index_by_claim(&pods);
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    pods.on_change(move |change| {
        if change.previous().is_none() && !wanted(change.object()).is_empty() {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    let (q, all) = (queue.clone(), pods.clone());
    claims.on_change(move |change| {
        // A pod that still needs it gets another one.
        if matches!(change, Change::Deleted(_)) {
            let users = protect::users(&all, &ObjectKey::of(change.object().as_ref()));
            users.iter().filter(|pod| !wanted(pod).is_empty()).for_each(|pod| q.add(ObjectKey::of(pod.as_ref())));
        }
    });
    ctx.work("ephemeral_volume", queue, 1, move |key| {
        let (pods, claims, recorder) = (pods.clone(), claims.clone(), recorder.clone());
        async move {
            let Some(pod) = pods.get(&key).filter(|p| pods::is_active(p)) else { return Ok(Outcome::AwaitChange) };
            for (volume, claim) in wanted(&pod) {
                if let Err(problem) = ensure(&claims, &pod, &claim).await {
                    let text = format!("ephemeral volume {volume}: {problem}");
                    recorder.warning(pod.as_ref(), "FailedBinding", text.clone());
                    return Err(text.into());
                }
            }
            Ok(Outcome::AwaitChange)
        }
    });
}

/// Makes a claim unless the pod has it already; one of the same name that is not the pod's is an error.
async fn ensure(
    claims: &Informer<PersistentVolumeClaim>,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Result<(), String> {
    let name = ObjectKey::of(claim);
    if let Some(existing) = claims.get(&name) {
        if is_controlled_by(&existing.metadata, pod.metadata.uid.as_deref().unwrap_or_default()) {
            return Ok(());
        }
        let pod = ObjectKey::of(pod);
        return Err(format!("PVC {name} was not created for pod {pod} (pod is not owner)"));
    }
    let made = claims.create(claim).await.map(drop);
    made.map_err(|error| format!("create PVC {}: {}", name.name, message(&error)))
}

/// The claims that a pod's generic ephemeral volumes ask for, by the volumes' names.
fn wanted(pod: &Pod) -> Vec<(&str, PersistentVolumeClaim)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
            let metadata = template.metadata.unwrap_or_default();
            let claim = PersistentVolumeClaim {
                metadata: ObjectMeta {
                    name: Some(format!("{}-{}", pod.metadata.name.as_deref()?, volume.name)),
                    namespace: pod.metadata.namespace.clone(),
                    labels: metadata.labels,
                    annotations: metadata.annotations,
                    owner_references: Some(vec![controller_ref(pod)]),
                    ..ObjectMeta::default()
                },
                spec: Some(template.spec),
                status: None,
            };
            Some((volume.name.as_str(), claim))
        })
        .collect()
}
