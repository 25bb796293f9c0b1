//! `/stats/summary`: usage as JSON, what `kubectl top` (through a metrics server) and eviction tests read.

mod figures;
mod node;
mod pod;

use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Timestamp;
use rk_figures::Ask;
use serde_json::{Value, json};

use super::body::{Body, json as json_body, text};
use super::routes::State;
use super::stats;
use crate::volumes::STATS_AGE;

/// How long volumes and files that are slow to count keep the whole document; what was counted before is told after that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Builds the document.
pub async fn summary(state: &State, only_cpu_and_memory: bool) -> Response<Body> {
    let pods = match stats::pods(&state.context).await {
        Ok(pods) => pods,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}", error.call)),
    };
    let now = Timestamp::now().to_string();
    let mut of_node = node::usage(state, &now);
    if !only_cpu_and_memory {
        node::rest(state, &mut of_node, &now).await;
    }
    let (mut list, ask) = (Vec::<Value>::new(), Ask::new(STATS_AGE, PATIENCE));
    for usage in &pods {
        let known = pod::Known::of(state, usage);
        let mut value = pod::usage(&known, usage, &now);
        if !only_cpu_and_memory {
            let disk = pod::Disk::of(state, &known, usage, ask).await;
            pod::rest(&mut value, usage, &disk, &now);
        }
        list.push(value);
    }
    json_body(&json!({"node": of_node, "pods": list}))
}
