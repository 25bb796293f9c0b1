//! Jobs: run pods to completion.

mod backoff;
mod ended;
mod figures;
mod indexes;
mod kept;
mod plan;
mod pod;
mod policy;
mod status;
mod tally;
mod ttl;
mod vacancy;

pub(crate) use status::{has, is_finished};
pub(crate) use ttl::register as register_ttl;

use crate::claim::claim_held;
use crate::context::Context;
use crate::discovery::has_finalizer;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use plan::{End, Size};
use rk_client::{
    BoxError, Change, EventType, Informer, LabelMatcher, ObjectKey, Outcome, Queue, Recorder, controller_of,
    is_not_found, owner_key,
};
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tally::{FINALIZER, Tally};

/// Pods created or deleted in one run at most.
const BURST: usize = 500;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Work {
    Job(ObjectKey),
    /// A pod that carries the finalizer and may belong to no Job any more.
    Stray(ObjectKey),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Job(key) | Self::Stray(key)) = self;
        key.fmt(f)
    }
}

struct Controller {
    client: kube::Client,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    recorder: Recorder,
    ends: backoff::Memory,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        jobs: ctx.informers.of(),
        pods: ctx.informers.of(),
        recorder: ctx.recorders.of("job-controller"),
        ends: backoff::Memory::default(),
    });
    pods::index_by_owner(&controller.pods);
    let queue: Queue<Work> = Queue::default();
    let (q, pods) = (queue.clone(), controller.pods.clone());
    controller.jobs.on_change(move |change| {
        let key = ObjectKey::of(change.object().as_ref());
        if matches!(change, Change::Deleted(_)) {
            let orphans = pods.by_index(pods::BY_OWNER, &pods::orphans_of(&key.namespace));
            orphans.iter().for_each(|pod| q.add(Work::Stray(ObjectKey::of(pod.as_ref()))));
        }
        q.add(Work::Job(key));
    });
    let (q, jobs) = (queue.clone(), controller.jobs.clone());
    controller.pods.on_change(move |change| {
        let pod = change.object();
        change
            .previous()
            .into_iter()
            .chain([pod])
            .filter_map(|p| owner_key::<Job>(&p.metadata))
            .for_each(|key| q.add(Work::Job(key)));
        if controller_of(&pod.metadata).is_none() && !matches!(change, Change::Deleted(_)) {
            jobs_that_match(&jobs, pod).iter().for_each(|job| q.add(Work::Job(ObjectKey::of(job.as_ref()))));
            if has_finalizer(&pod.metadata, FINALIZER) {
                q.add(Work::Stray(ObjectKey::of(pod.as_ref())));
            }
        }
    });
    ctx.work("job", queue, 4, move |work| {
        let controller = Arc::clone(&controller);
        async move {
            match &work {
                Work::Job(key) => controller.sync(key).await,
                Work::Stray(key) => controller.release_stray(key).await,
            }
        }
    });
}

fn selector_of(job: &Job) -> LabelMatcher {
    LabelMatcher::new(job.spec.as_ref().and_then(|s| s.selector.as_ref())).unwrap_or_else(|_| LabelMatcher::nothing())
}

/// The Jobs that would adopt a pod.
fn jobs_that_match(jobs: &Informer<Job>, pod: &Pod) -> Vec<Arc<Job>> {
    let mut all = jobs.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    all.retain(|job| {
        job.metadata.deletion_timestamp.is_none() && selector_of(job).matches(pod.metadata.labels.as_ref())
    });
    all
}

fn is_managed_by_others(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.managed_by.as_deref()).is_some_and(|m| m != "kubernetes.io/job-controller")
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(job) = self.jobs.get(key) else {
            self.ends.forget(key);
            self.release_strays(key).await?;
            return Ok(Outcome::AwaitChange);
        };
        if is_managed_by_others(&job) {
            self.ends.forget(key);
            return Ok(Outcome::AwaitChange);
        }
        let owned = self.owned(&job).await?;
        if is_finished(&job) || job.metadata.deletion_timestamp.is_some() {
            self.ends.forget(key);
            for pod in owned.iter().filter(|p| has_finalizer(&p.metadata, FINALIZER)) {
                self.release(pod).await?;
            }
            return Ok(Outcome::AwaitChange);
        }
        let (begun, mut action) = (Instant::now(), figures::OVER);
        let outcome = self.reconcile(key, &job, &owned, &mut action).await;
        figures::ran(&job, action, outcome.is_ok(), begun.elapsed());
        outcome
    }

    /// A run over a Job that is not finished; `action` is what figures call it.
    async fn reconcile(
        &self,
        key: &ObjectKey,
        job: &Job,
        owned: &[Arc<Pod>],
        action: &mut &'static str,
    ) -> Result<Outcome, BoxError> {
        let now = Timestamp::now();
        let mut tally = tally::tally(job, owned);
        self.ends.complete(key, job.metadata.uid.as_deref().unwrap_or_default(), &mut tally.ends);
        let mut status = status::count(job, &tally);
        // Time does not end a Job while it is suspended.
        let is_over = status::decided(&status).or_else(|| plan::end(job, &tally, None, now)).is_some();
        let mut notices = status::note_suspension(job, &mut status, is_over, now);
        let started = status.start_time.as_ref().map(|t| t.0);
        let end = status::decided(&status).or_else(|| plan::end(job, &tally, started, now));
        if end.is_some() {
            kept::let_go(&job.spec.clone().unwrap_or_default(), &mut tally);
            status.uncounted_terminated_pods = Some(tally.uncounted.clone());
        }
        let mut wait = deadline_left(job, started, now);
        let mut error = None;
        match &end {
            Some(end) => {
                error = match end {
                    End::Complete { .. } => self.dismiss(job, &tally.active).await,
                    End::Failed { .. } => {
                        crate::replicas::delete_pods(job, &self.pods, &self.recorder, &tally.active).await
                    }
                };
                let pods_left = !tally.active.is_empty() || tally.terminating > 0;
                notices.extend(status::note_end(&mut status, end, pods_left, now));
            }
            None => {
                let size = plan::size(job, &tally, now);
                *action = figures::action(&size);
                match size {
                    Size::Wait(left) => wait = Some(wait.map_or(left, |w| w.min(left))),
                    size => error = self.resize(job, &tally, size, &mut status).await,
                }
            }
        }
        self.write(job, status, notices).await?;
        // Only now, with their uids on record, may the pods go.
        for pod in &tally.release {
            self.release(pod).await?;
        }
        match error {
            Some(error) if !rk_client::is_namespace_terminating(&error) => Err(error.into()),
            _ => Ok(wait.map_or(Outcome::AwaitChange, Outcome::RequeueAfter)),
        }
    }

    /// What is adopted is counted once, as all others are: the finalizer comes with the owner.
    async fn owned(&self, job: &Job) -> kube::Result<Vec<Arc<Pod>>> {
        let candidates = pods::candidates(&self.pods, &job.metadata);
        claim_held(&self.client, job, &selector_of(job), &self.pods, candidates, Some(FINALIZER)).await
    }

    async fn resize(&self, job: &Job, tally: &Tally, size: Size, status: &mut JobStatus) -> Option<kube::Error> {
        match size {
            Size::Create(count) => self.grow(job, tally, count, status).await,
            Size::Delete(count) => self.shrink(job, tally, count, status).await,
            Size::Keep | Size::Wait(_) => None,
        }
    }

    async fn grow(&self, job: &Job, tally: &Tally, count: usize, status: &mut JobStatus) -> Option<kube::Error> {
        let new = pod::build(job, tally, count.min(BURST), Timestamp::now());
        match crate::replicas::create_in_batches(job, &self.jobs, &self.pods, &self.recorder, new).await {
            Ok(made) => {
                status.active = Some(status.active.unwrap_or(0) + made as i32).filter(|n| *n > 0);
                None
            }
            Err(error) => Some(error),
        }
    }

    async fn shrink(&self, job: &Job, tally: &Tally, count: usize, status: &mut JobStatus) -> Option<kube::Error> {
        let crowd = pods::crowd_of(tally.active.iter());
        let mut victims = tally.active.clone();
        let misplaced = job.spec.as_ref().map(|spec| vacancy::misplaced(spec, &tally.active)).unwrap_or_default();
        let stays = |pod: &Pod| pod.metadata.uid.as_ref().is_none_or(|uid| !misplaced.contains(uid));
        let now = Timestamp::now();
        victims.sort_by(|a, b| stays(a).cmp(&stays(b)).then_with(|| pods::deletion_order(a, b, &crowd, now)));
        victims.truncate(count.min(BURST));
        let error = self.dismiss(job, &victims).await;
        if error.is_none() {
            status.active = Some(status.active.unwrap_or(0) - victims.len() as i32).filter(|n| *n > 0);
            status.ready = status.ready.min(Some(status.active.unwrap_or(0)));
        }
        error
    }

    /// Deletes pods that are needed no more. Not their fault: without the finalizer they are not counted as failed. One that changes just
    /// now is for the next run, which goes on from there.
    async fn dismiss(&self, job: &Job, unneeded: &[Arc<Pod>]) -> Option<kube::Error> {
        for pod in unneeded.iter().filter(|pod| has_finalizer(&pod.metadata, FINALIZER)) {
            if let Err(error) = self.release(pod).await {
                return Some(error);
            }
        }
        crate::replicas::delete_pods(job, &self.pods, &self.recorder, unneeded).await
    }

    async fn write(&self, job: &Job, status: JobStatus, notices: status::Notices) -> kube::Result<()> {
        if job.status.as_ref() != Some(&status) {
            let changed = Job { status: Some(status), ..job.clone() };
            self.jobs.replace_status(&changed).await?;
            figures::written(job.status.as_ref(), &changed);
        }
        for (warning, reason, message) in notices {
            self.recorder.event(job, if warning { EventType::Warning } else { EventType::Normal }, reason, message);
        }
        Ok(())
    }

    async fn release(&self, pod: &Pod) -> kube::Result<()> {
        let kept: Vec<String> = pod.metadata.finalizers.iter().flatten().filter(|f| *f != FINALIZER).cloned().collect();
        let result = self.set_finalizers(pod, &kept).await;
        result.map(|_| ()).or_else(|e| if is_not_found(&e) { Ok(()) } else { Err(e) })
    }

    async fn set_finalizers(&self, pod: &Pod, finalizers: &[String]) -> kube::Result<Pod> {
        let patch = json!({"metadata": {
            "finalizers": finalizers, "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version,
        }});
        self.pods.patch(&ObjectKey::of(pod), &Patch::Merge(patch)).await
    }

    /// A pod that was released, or whose Job went without it, must not hang on the finalizer either.
    async fn release_stray(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Outcome::AwaitChange) };
        let is_stray = controller_of(&pod.metadata).is_none() && jobs_that_match(&self.jobs, &pod).is_empty();
        if is_stray && has_finalizer(&pod.metadata, FINALIZER) {
            self.release(&pod).await?;
        }
        Ok(Outcome::AwaitChange)
    }

    /// Pods of a Job that is gone must not hang on its finalizer.
    async fn release_strays(&self, key: &ObjectKey) -> kube::Result<()> {
        for pod in self.pods.in_namespace(&key.namespace) {
            if owner_key::<Job>(&pod.metadata).as_ref() == Some(key) && has_finalizer(&pod.metadata, FINALIZER) {
                self.release(&pod).await?;
            }
        }
        Ok(())
    }
}

fn deadline_left(job: &Job, started: Option<Timestamp>, now: Timestamp) -> Option<std::time::Duration> {
    let spec = job.spec.as_ref().filter(|s| s.suspend != Some(true))?;
    let due = started?.checked_add(jiff::SignedDuration::from_secs(spec.active_deadline_seconds?)).ok()?;
    (due > now).then(|| due.duration_since(now).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use rk_client::{Informers, Recorders};
    use serde_json::Value;
    use std::sync::Mutex;

    fn pod(name: &str, finalizers: &[&str]) -> Value {
        let meta =
            json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "finalizers": finalizers});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
    }

    #[tokio::test]
    async fn who_was_let_go_in_an_earlier_run_is_only_deleted() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let released = pod("held", &[]).to_string();
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let (method, path) = (request.method(), request.uri().path());
            if let Some((_, name)) = path.split_once("/pods/") {
                noted.lock().expect("whole").push(format!("{method} {name}"));
            }
            let done = r#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#.to_owned();
            let body = if *method == http::Method::PATCH { released.clone() } else { done };
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(Body::from(body.into_bytes()))))
        });
        let client = kube::Client::new(server, "default");
        let informers = Informers::new(client.clone());
        let recorder = Recorders::new(client.clone()).of("job-controller");
        let (jobs, pods, ends) = (informers.of(), informers.of(), backoff::Memory::default());
        let controller = Controller { client, jobs, pods, recorder, ends };
        let unneeded: Vec<Arc<Pod>> = [pod("held", &[FINALIZER]), pod("let-go", &[])]
            .into_iter()
            .map(|pod| Arc::new(serde_json::from_value(pod).expect("valid")))
            .collect();
        let job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "j"}});
        let problem = controller.dismiss(&serde_json::from_value(job).expect("valid"), &unneeded).await;
        assert!(problem.is_none(), "{problem:?}");
        let mut asked = asked.lock().expect("whole").clone();
        asked.sort();
        assert_eq!(asked, ["DELETE held", "DELETE let-go", "PATCH held"]);
    }
}
