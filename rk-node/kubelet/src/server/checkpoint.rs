//! `/checkpoint`: a container's state as an archive, where the runtime can make one.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use http::{Response, StatusCode};
use serde_json::json;

use super::body::{Body, Refusal, json, refuse};
use super::params::Params;
use super::routes::State;
use crate::clock;
use crate::pod::spec;

/// Makes one below `<kubelet>/checkpoints` and answers where it is. A runtime that cannot is an error of the server's, as upstream.
pub async fn checkpoint(
    state: &State,
    namespace: &str,
    name: &str,
    container: &str,
    params: &Params,
) -> Result<Response<Body>, Refusal> {
    let missing = |what: String| refuse(StatusCode::NOT_FOUND, what);
    let failed = |cause: String| {
        let message = format!("checkpointing of {namespace}/{name}/{container} failed ({cause})");
        refuse(StatusCode::INTERNAL_SERVER_ERROR, message)
    };
    let pod = state.pods.find(namespace, name).ok_or_else(|| missing("pod does not exist".into()))?;
    if spec::find_container(&pod, container).is_none() {
        return Err(missing(format!("container {container} does not exist")));
    }
    let seconds = seconds(params).ok_or_else(|| missing("cannot parse value of timeout parameter".into()))?;
    let found = state.runtime_pod(&pod).await?;
    let Some(running) = found.container(container).filter(|found| found.running()) else {
        return Err(failed(format!("container {container} not found")));
    };
    let dir = state.context.options.dirs.kubelet.join("checkpoints");
    // It holds the memory of containers.
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| failed(error.to_string()))?;
    let file = format!("checkpoint-{name}_{namespace}-{container}-{}.tar", clock::now_seconds().0);
    let location = dir.join(file).to_string_lossy().into_owned();
    let made = state.context.runtime.checkpoint(&running.id, &location, seconds).await;
    made.map_err(|error| failed(error.to_string()))?;
    Ok(json(&json!({"items": [location]})))
}

/// How long it may take, seconds; the last of several counts, and none is the runtime's own bound.
fn seconds(params: &Params) -> Option<i64> {
    match params.all("timeout").last() {
        None => Some(0),
        Some(text) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_times_counts() {
        for (query, want) in [
            (None, Some(0)),
            (Some("timeout=5"), Some(5)),
            (Some("timeout=x&timeout=7"), Some(7)),
            (Some("timeout=7&timeout=x"), None),
        ] {
            assert_eq!(seconds(&Params::parse(query)), want, "{query:?}");
        }
    }
}
