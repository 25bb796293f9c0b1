//! The pods of a Job.

use super::tally::{FINALIZER, INDEX, INDEX_FAILURES, INDEX_IGNORED, Tally, is_indexed};
use super::vacancy::Vacancies;
use crate::pods;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use rk_client::controller_ref;

/// Longest prefix of a generated name that is not cut, in bytes.
const LONGEST_PREFIX: usize = 58;

/// `count` new pods; those of indexed Jobs take the lowest indexes that are free and need not wait, of which there may be fewer.
pub(super) fn build(job: &Job, tally: &Tally, count: usize, now: Timestamp) -> Vec<Pod> {
    let Some(spec) = &job.spec else { return Vec::new() };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut base = pods::from_template(
        &spec.template,
        job.metadata.namespace.as_deref().unwrap_or_default(),
        &pods::name_prefix(name),
        controller_ref(job),
    );
    base.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    if !is_indexed(spec) {
        return vec![base; count];
    }
    let free = Vacancies::of(spec, tally, count, now).now;
    free.into_iter().map(|index| indexed(&base, name, index, spec.backoff_limit_per_index.is_some(), tally)).collect()
}

fn indexed(base: &Pod, job: &str, index: i32, counts_failures: bool, tally: &Tally) -> Pod {
    let mut pod = base.clone();
    let end = format!("-{index}-");
    let begin = job.get(..LONGEST_PREFIX.saturating_sub(end.len())).unwrap_or(job);
    pod.metadata.generate_name = Some(format!("{begin}{end}"));
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if counts_failures {
        let (counted, ignored) = tally.index_failures.get(&index).copied().unwrap_or((0, 0));
        annotations.insert(INDEX_FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED.to_owned(), ignored.to_string());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{job}-{index}"));
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let variable = EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        ..EnvVar::default()
    };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let variables = container.env.get_or_insert_default();
        if !variables.iter().any(|v| v.name == variable.name) {
            variables.push(variable.clone());
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::super::tally::index_of;
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn indexed_pods_fill_the_gaps_and_know_their_index() {
        let job: Job = serde_json::from_value(
            json!({"metadata": {"name": "j", "namespace": "n"}, "spec": {"completionMode": "Indexed", "completions": 4,
            "backoffLimitPerIndex": 1, "template": {"spec": {"containers": [{"name": "c"}]}}}}),
        )
        .expect("valid");
        let tally = Tally {
            succeeded_indexes: BTreeSet::from([0]),
            failed_indexes: BTreeSet::from([2]),
            index_failures: [(1, (1, 0))].into(),
            ..Tally::default()
        };
        let made = build(&job, &tally, 10, Timestamp::now());
        assert_eq!(made.iter().filter_map(index_of).collect::<Vec<_>>(), [1, 3]);
        let first = made.first().expect("made");
        assert_eq!(
            first.metadata.annotations.as_ref().and_then(|a| a.get(INDEX_FAILURES)).map(String::as_str),
            Some("1")
        );
        assert_eq!(first.spec.as_ref().and_then(|s| s.hostname.as_deref()), Some("j-1"));
        assert_eq!(first.metadata.generate_name.as_deref(), Some("j-1-"));
        let long = Job { metadata: ObjectMeta { name: Some("j".repeat(60)), ..ObjectMeta::default() }, ..job };
        let made = build(&long, &tally, 1, Timestamp::now());
        let prefix = made.first().and_then(|pod| pod.metadata.generate_name.clone());
        assert_eq!(prefix, Some(format!("{}-1-", "j".repeat(55))), "the index is not cut off");
    }
}
