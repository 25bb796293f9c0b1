//! CronJobs: Jobs by the clock.

mod plan;
mod schedule;

use crate::context::Context;
use crate::job::{has, is_finished};
use crate::pods;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use rk_client::{
    BoxError, Deletion, Informer, ObjectKey, Outcome, Queue, Recorder, controller_ref, is_already_exists,
    is_namespace_terminating, is_not_found, message, owner_key,
};
use schedule::Schedule;
use std::sync::Arc;
use std::time::Duration;

const TIME_NOTE: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Runs a little late rather than a little early.
const SLACK: Duration = Duration::from_millis(100);
/// What is wrong with a schedule such as that of February 30; upstream's words.
const NEVER: &str = "time difference between two schedules is less than 1 second";

struct Controller {
    cronjobs: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: Recorder,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        cronjobs: ctx.informers.of(),
        jobs: ctx.informers.of(),
        recorder: ctx.recorders.of("cronjob-controller"),
    });
    controller.jobs.index(pods::BY_OWNER, |job| pods::owner_values(&job.metadata));
    let queue: Queue<ObjectKey> = Queue::default();
    let q = queue.clone();
    controller.cronjobs.on_change(move |change| q.add(ObjectKey::of(change.object().as_ref())));
    let q = queue.clone();
    controller.jobs.on_change(move |change| {
        if let Some(key) = owner_key::<CronJob>(&change.object().metadata) {
            q.add(key);
        }
    });
    ctx.work("cronjob", queue, 2, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.sync(&key).await }
    });
}

fn zone_of(spec: &CronJobSpec) -> Result<TimeZone, String> {
    match spec.time_zone.as_deref() {
        // The control plane's clock runs in UTC.
        None | Some("UTC" | "Etc/UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|error| format!("invalid timeZone: {name:?}: {error}")),
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(cron) = self.cronjobs.get(key) else { return Ok(Outcome::AwaitChange) };
        let spec = &cron.spec;
        let mut status = cron.status.clone().unwrap_or_default();
        self.note_finished(&cron, &mut status).await?;
        let outcome = if cron.metadata.deletion_timestamp.is_some() || spec.suspend == Some(true) {
            Ok(Outcome::AwaitChange)
        } else {
            self.run(&cron, spec, &mut status).await
        };
        if cron.status.as_ref().cloned().unwrap_or_default() != status {
            let latest = self.cronjobs.get(key).filter(|c| c.metadata.uid == cron.metadata.uid);
            let base = latest.as_deref().unwrap_or(&cron);
            self.cronjobs.replace_status(&CronJob { status: Some(status), ..base.clone() }).await?;
        }
        outcome
    }

    fn owned(&self, cron: &CronJob) -> Vec<Arc<Job>> {
        self.jobs.by_index(pods::BY_OWNER, cron.metadata.uid.as_deref().unwrap_or_default())
    }

    /// Keeps the list of active Jobs true, and removes finished ones beyond the limits.
    async fn note_finished(&self, cron: &CronJob, status: &mut CronJobStatus) -> kube::Result<()> {
        let owned = self.owned(cron);
        let mut finished = Vec::new();
        let mut active = status.active.take().unwrap_or_default();
        for job in &owned {
            let listed = active.iter().any(|r| r.uid == job.metadata.uid);
            if !is_finished(job) {
                if !listed && job.metadata.deletion_timestamp.is_none() {
                    self.note_unlisted(cron, job, &mut active);
                }
                continue;
            }
            let succeeded = job.status.as_ref().is_some_and(|s| has(s, "Complete"));
            let name = job.metadata.name.clone().unwrap_or_default();
            if listed {
                active.retain(|r| r.uid != job.metadata.uid);
                let outcome = if succeeded { "Complete" } else { "Failed" };
                self.recorder.normal(
                    cron,
                    "SawCompletedJob",
                    format!("Saw completed job: {name}, condition: {outcome}"),
                );
            }
            let ended = job.status.as_ref().and_then(|s| s.completion_time.clone());
            if succeeded && ended > status.last_successful_time {
                status.last_successful_time = ended;
            }
            finished.push((name, job.metadata.creation_timestamp.as_ref().map(|t| t.0), succeeded));
        }
        active.retain(|r| {
            let exists = owned.iter().any(|j| j.metadata.uid == r.uid);
            if !exists {
                self.recorder.normal(
                    cron,
                    "MissingJob",
                    format!("Active job went missing: {}", r.name.as_deref().unwrap_or_default()),
                );
            }
            exists
        });
        status.active = Some(active).filter(|a| !a.is_empty());
        let spec = &cron.spec;
        let surplus = plan::surplus(
            finished,
            spec.successful_jobs_history_limit.unwrap_or(3),
            spec.failed_jobs_history_limit.unwrap_or(1),
        );
        for name in surplus {
            if let Some(job) = owned.iter().find(|j| j.metadata.name.as_ref() == Some(&name)) {
                self.delete(cron, job).await?;
            }
        }
        Ok(())
    }

    /// A Job that was made just before an earlier run ended counts as active; one that somebody made by hand does not keep others from their
    /// time.
    fn note_unlisted(&self, cron: &CronJob, job: &Job, active: &mut Vec<ObjectReference>) {
        if job.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(TIME_NOTE)) {
            return active.push(job.object_ref(&()));
        }
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let text = format!("Saw a job that the controller did not create or forgot: {name}");
        self.recorder.warning(cron, "UnexpectedJob", text);
    }

    async fn run(&self, cron: &CronJob, spec: &CronJobSpec, status: &mut CronJobStatus) -> Result<Outcome, BoxError> {
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                self.recorder.warning(cron, "UnparseableSchedule", format!("{error}"));
                return Ok(Outcome::AwaitChange);
            }
        };
        let zone = match zone_of(spec) {
            Ok(zone) => zone,
            Err(error) => {
                self.recorder.warning(cron, "UnknownTimeZone", error);
                return Ok(Outcome::AwaitChange);
            }
        };
        let now = Timestamp::now();
        let last = status.last_schedule_time.as_ref().map(|t| t.0);
        let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
        let due = plan::due(&schedule, &zone, last, created, spec.starting_deadline_seconds, now);
        if due.time.is_none() && due.next.is_none() {
            let text = format!("invalid schedule: {} : {NEVER}", spec.schedule);
            self.recorder.warning(cron, "InvalidSchedule", text);
            return Ok(Outcome::AwaitChange);
        }
        if due.too_many {
            self.recorder.warning(
                cron,
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            );
        }
        if let Some(time) = due.time {
            self.start(cron, spec, status, time).await?;
        }
        let wait = due.next.map(|next| next.duration_since(now).max(SignedDuration::ZERO).unsigned_abs() + SLACK);
        Ok(wait.map_or(Outcome::AwaitChange, Outcome::RequeueAfter))
    }

    async fn start(
        &self,
        cron: &CronJob,
        spec: &CronJobSpec,
        status: &mut CronJobStatus,
        time: Timestamp,
    ) -> Result<(), BoxError> {
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if status.active.is_some() => {
                self.recorder.normal(
                    cron,
                    "JobAlreadyActive",
                    "Not starting job because prior execution is running and concurrency policy is Forbid",
                );
                return Ok(());
            }
            Some("Replace") => self.end_running(cron, status).await?,
            _ => {}
        }
        let job = build(cron, spec, time);
        match self.jobs.create(&job).await {
            Ok(created) => {
                note_skew(&created, time);
                self.recorder.normal(
                    cron,
                    "SuccessfulCreate",
                    format!("Created job {}", created.metadata.name.as_deref().unwrap_or_default()),
                );
                status.active.get_or_insert_default().push(created.object_ref(&()));
            }
            // Made by an earlier run whose status was not written.
            Err(error) if is_already_exists(&error) => {}
            Err(error) if is_namespace_terminating(&error) => return Ok(()),
            Err(error) => {
                self.recorder.warning(cron, "FailedCreate", format!("Error creating job: {}", message(&error)));
                return Err(error.into());
            }
        }
        status.active = status.active.take().filter(|a| !a.is_empty());
        status.last_schedule_time = Some(Time(time));
        Ok(())
    }

    /// Deletes the active jobs, and takes them off the status. One that somebody made by hand is not among them.
    async fn end_running(&self, cron: &CronJob, status: &mut CronJobStatus) -> kube::Result<()> {
        for job in self.owned(cron).iter().filter(|j| !is_finished(j)) {
            let Some(active) = &mut status.active else { return Ok(()) };
            if !active.iter().any(|r| r.uid == job.metadata.uid) {
                continue;
            }
            self.delete(cron, job).await?;
            active.retain(|r| r.uid != job.metadata.uid);
        }
        Ok(())
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> kube::Result<()> {
        let key = ObjectKey::of(job);
        match self.jobs.delete(&key, &Deletion::of_uid(job.metadata.uid.as_ref()).background()).await {
            Ok(()) => self.recorder.normal(cron, "SuccessfulDelete", format!("Deleted job {}", key.name)),
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                self.recorder.warning(cron, "FailedDelete", format!("Deleted job: {}", message(&error)));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Tells how much later than at its time a Job was made.
fn note_skew(job: &Job, time: Timestamp) {
    if let Some(made) = &job.metadata.creation_timestamp {
        let skew = made.0.duration_since(time).max(SignedDuration::ZERO).unsigned_abs();
        rk_client::observe("cronjob_controller_job_creation_skew_duration_seconds", &[], skew);
    }
}

/// The Job of one scheduled time; its name is made of the minute, so that a time runs once.
fn build(cron: &CronJob, spec: &CronJobSpec, time: Timestamp) -> Job {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    let local = zone_of(spec).unwrap_or(TimeZone::UTC);
    annotations.insert(
        TIME_NOTE.to_owned(),
        time.to_zoned(local).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z"),
    );
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", time.as_second() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use rk_client::{Informers, Recorders};
    use serde_json::{Value, json};
    use std::sync::Mutex;

    /// A controller that knows of a Job made by the clock and of one made by hand, and what its server was asked to delete.
    fn controller() -> (Controller, Arc<Mutex<Vec<String>>>) {
        let deleted = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&deleted);
        let server = tower::service_fn(move |request: http::Request<Body>| {
            if request.method() == http::Method::DELETE {
                noted.lock().expect("whole").push(request.uri().path().to_owned());
            }
            let body = Body::from(br#"{"kind": "Status", "apiVersion": "v1", "status": "Success"}"#.to_vec());
            std::future::ready(Ok::<_, tower::BoxError>(http::Response::new(body)))
        });
        let client = kube::Client::new(server, "default");
        let informers = Informers::new(client.clone());
        let recorder = Recorders::new(client).of("cronjob-controller");
        let controller = Controller { cronjobs: informers.of(), jobs: informers.of(), recorder };
        controller.jobs.index(pods::BY_OWNER, |job| pods::owner_values(&job.metadata));
        let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u", "controller": true});
        let job = |name: &str, annotations: Value| -> Job {
            let meta = json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "annotations": annotations,
                "ownerReferences": [owner]});
            serde_json::from_value(json!({"metadata": meta})).expect("valid")
        };
        controller.jobs.observe(job("by-clock", json!({TIME_NOTE: "2026-01-01T00:00:00Z"})));
        controller.jobs.observe(job("by-hand", json!({"cronjob.kubernetes.io/instantiate": "manual"})));
        (controller, deleted)
    }

    #[tokio::test]
    async fn a_job_that_somebody_made_by_hand_is_not_active_and_not_replaced() {
        let (controller, deleted) = controller();
        let cron = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {}}});
        let cron: CronJob = serde_json::from_value(cron).expect("valid");
        let mut status = CronJobStatus::default();
        controller.note_finished(&cron, &mut status).await.expect("nothing to delete");
        let active: Vec<_> = status.active.iter().flatten().filter_map(|job| job.name.as_deref()).collect();
        assert_eq!(active, ["by-clock"]);
        controller.end_running(&cron, &mut status).await.expect("deleted");
        assert_eq!(*deleted.lock().expect("whole"), ["/apis/batch/v1/namespaces/n/jobs/by-clock"]);
        assert!(status.active.is_none_or(|active| active.is_empty()));
    }

    #[test]
    fn a_job_that_is_late_is_told_of() {
        let job = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:03Z"}});
        note_skew(&serde_json::from_value(job).expect("valid"), "2026-01-01T00:00:00Z".parse().expect("a time"));
        let told = rk_client::render_figures();
        let told = |line: &str| told.lines().any(|own| own == line);
        assert!(told("cronjob_controller_job_creation_skew_duration_seconds_bucket{le=\"2\"} 0"));
        assert!(told("cronjob_controller_job_creation_skew_duration_seconds_bucket{le=\"4\"} 1"));
    }
}
