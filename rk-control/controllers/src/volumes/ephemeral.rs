//! Makes the claims of generic ephemeral volumes (KEP-1698): they live and die with their pod.

use crate::context::Context;
use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rk_client::{
    BoxError, Informer, ObjectKey, Outcome, Queue, Recorder, controller_ref, is_already_exists, is_controlled_by,
    message,
};

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let pods = ctx.informers.of::<Pod>();
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let recorder = ctx.recorders.of("ephemeral_volume");
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    pods.on_change(move |change| {
        let ephemeral =
            |pod: &Pod| pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| v.ephemeral.is_some());
        if change.previous().is_none() && ephemeral(change.object()) {
            q.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    ctx.work("ephemeral_volume", queue, 1, move |key| {
        let (pods, claims, recorder) = (pods.clone(), claims.clone(), recorder.clone());
        async move {
            let Some(pod) = pods.get(&key).filter(|p| pods::is_active(p)) else { return Ok(Outcome::AwaitChange) };
            for claim in wanted(&pod) {
                ensure(&claims, &recorder, &pod, &claim).await?;
            }
            Ok(Outcome::AwaitChange)
        }
    });
}

/// Makes a claim unless the pod has it already; one of the same name that is not the pod's is an error.
async fn ensure(
    claims: &Informer<PersistentVolumeClaim>,
    recorder: &Recorder,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Result<(), BoxError> {
    let name = ObjectKey::of(claim);
    if let Some(existing) = claims.get(&name) {
        if is_controlled_by(&existing.metadata, pod.metadata.uid.as_deref().unwrap_or_default()) {
            return Ok(());
        }
        let pod = ObjectKey::of(pod);
        return Err(BoxError::from(format!("PVC {name} was not created for pod {pod} (pod is not owner)")));
    }
    let Err(error) = claims.create(claim).await else { return Ok(()) };
    if !is_already_exists(&error) {
        let text = format!("create PVC {}: {}", name.name, message(&error));
        recorder.warning(pod, "EphemeralVolumeError", text);
    }
    Err(error.into())
}

/// The claims that a pod's generic ephemeral volumes ask for.
fn wanted(pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
            let metadata = template.metadata.unwrap_or_default();
            Some(PersistentVolumeClaim {
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
            })
        })
        .collect()
}
