//! `/containerLogs`: what `kubectl logs` reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use super::body::{Body, Refusal, refuse, streamed};
use super::params::Params;
use super::routes::State;
use crate::logs::{self, LogOptions, StreamChoice};
use crate::pod::spec;
use crate::runtime::{RuntimeContainer, State as ContainerState};
use crate::translate::log_directory;

/// Pieces on their way to a slow client.
const PIECES: usize = 32;

fn options(params: &Params) -> Result<LogOptions, String> {
    let tail: Option<i64> = params.number("tailLines")?;
    if tail.is_some_and(|t| t < 0) {
        return Err("tailLines must be greater than or equal to 0".into());
    }
    let limit: Option<i64> = params.number("limitBytes")?;
    if limit.is_some_and(|l| l < 1) {
        return Err("limitBytes must be greater than 0".into());
    }
    let seconds: Option<i64> = params.number("sinceSeconds")?;
    let since = match (seconds, params.get("sinceTime").filter(|t| !t.is_empty())) {
        (Some(_), Some(_)) => return Err("only one of sinceSeconds or sinceTime may be specified".into()),
        (Some(seconds), None) if seconds < 1 => return Err("sinceSeconds must be greater than 0".into()),
        (Some(seconds), None) => Some(
            Timestamp::now().saturating_sub(Duration::from_secs(seconds.unsigned_abs())).map_err(|e| e.to_string())?,
        ),
        (None, Some(time)) => Some(time.parse().map_err(|_| format!("invalid value {time:?} of sinceTime"))?),
        (None, None) => None,
    };
    let stream = match params.get("stream") {
        None | Some("" | "All") => StreamChoice::All,
        Some("Stdout") => StreamChoice::Stdout,
        Some("Stderr") => StreamChoice::Stderr,
        Some(other) => return Err(format!("invalid value {other:?} of stream")),
    };
    Ok(LogOptions {
        follow: params.is_set(&["follow"]),
        tail: tail.map(i64::unsigned_abs),
        since,
        limit: limit.map(i64::unsigned_abs),
        timestamps: params.is_set(&["timestamps"]),
        stream,
    })
}

/// Answers with the log of a container.
pub async fn logs(
    state: &Arc<State>,
    namespace: &str,
    pod: &str,
    container: &str,
    params: &Params,
) -> Result<Response<Body>, Refusal> {
    let bad = |message: String| refuse(StatusCode::BAD_REQUEST, message);
    let options = options(params).map_err(bad)?;
    let pod = state.pod(namespace, pod, None)?;
    if spec::find_container(&pod, container).is_none() {
        return Err(refuse(
            StatusCode::NOT_FOUND,
            format!("container \"{container}\" not found in pod \"{}\"", spec::name(&pod)),
        ));
    }
    let found = state.runtime_pod(&pod).await?;
    let previous = params.is_set(&["previous"]);
    let instance = if previous {
        found.previous(container)
    } else {
        // Until a restarted container runs, its last life is what there is to read.
        found.containers.iter().find(|c| c.name == container && c.state != ContainerState::Created)
    };
    let Some(instance) = instance else {
        let message = if previous {
            format!("previous terminated container \"{container}\" in pod \"{}\" not found", spec::name(&pod))
        } else {
            format!(
                "container \"{container}\" in pod \"{}\" is waiting to start: {}",
                spec::name(&pod),
                waiting(state, &pod, container)
            )
        };
        return Err(bad(message));
    };
    let path = log_path(state, &pod, instance);
    if !path.exists() {
        return Err(refuse(StatusCode::NOT_FOUND, format!("the log of container \"{container}\" is gone")));
    }
    let (send, receive) = mpsc::channel(PIECES);
    let (context, id) = (state.context.clone(), instance.id.clone());
    let task = async move {
        let (runtime, id) = (&context.runtime, &id);
        let ended = move || async move {
            match runtime.container_status(id).await {
                Ok(status) => status.state != rk_cri_api::v1::ContainerState::ContainerRunning as i32,
                Err(error) => error.not_found(),
            }
        };
        if let Err(error) = logs::stream(path.clone(), options, send, ended).await {
            tracing::debug!(path = %path.display(), "reading a log: {error}");
        }
    };
    tokio::spawn(task.boxed());
    let mut response = Response::new(streamed(receive));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn log_path(state: &State, pod: &Pod, instance: &RuntimeContainer) -> PathBuf {
    if instance.log_path.starts_with('/') {
        return PathBuf::from(&instance.log_path);
    }
    let dir = log_directory(&state.context.options.dirs.pod_logs, pod);
    dir.join(&instance.name).join(format!("{}.log", instance.restart_count))
}

fn waiting(state: &State, pod: &Pod, container: &str) -> String {
    let status = state.context.status.latest(spec::uid(pod)).unwrap_or_default();
    let lists = [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let mut statuses = lists.into_iter().flatten().flatten();
    let found = statuses.find(|s| s.name == container).and_then(|s| s.state).and_then(|s| s.waiting);
    obstacle(found.and_then(|waiting| waiting.reason).as_deref().unwrap_or_default())
}

/// What keeps a container from starting, by the reason of its state.
fn obstacle(reason: &str) -> String {
    let words = match reason {
        "" => "ContainerCreating",
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_early_for_a_log_hears_what_the_container_waits_for() {
        for (reason, want) in [
            ("", "ContainerCreating"),
            ("PodInitializing", "PodInitializing"),
            ("CreateContainerConfigError", "CreateContainerConfigError"),
            ("ErrImagePull", "image can't be pulled"),
            ("ImagePullBackOff", "trying and failing to pull image"),
        ] {
            assert_eq!(obstacle(reason), want);
        }
    }

    #[test]
    fn wrong_options_are_refused_by_name() {
        for (query, word) in [
            ("tailLines=-1", "tailLines"),
            ("tailLines=x", "tailLines"),
            ("limitBytes=0", "limitBytes"),
            ("sinceSeconds=0", "sinceSeconds"),
            ("sinceTime=yesterday", "sinceTime"),
            ("sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z", "only one"),
            ("stream=both", "stream"),
        ] {
            assert!(options(&Params::parse(Some(query))).unwrap_err().contains(word), "{query}");
        }
        let good = options(&Params::parse(Some("follow=true&tailLines=3&timestamps=true&stream=Stdout"))).unwrap();
        assert_eq!((good.follow, good.tail, good.timestamps, good.stream), (true, Some(3), true, StreamChoice::Stdout));
    }
}
