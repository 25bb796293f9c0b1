//! `rkctl health`: reports what is wrong, and waits until nothing is.

use crate::args::{Format, Global, Health};
use crate::connect::{Trust, connect};
use crate::exit::{Class, class_of_error, words};
use crate::node::{Question, ask, in_time, known, on_each};
use crate::output;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const LOOK: Duration = Duration::from_secs(2);

/// Looks once, or until all nodes are well or the time is up.
///
/// # Errors
/// No node is named.
pub async fn run(global: &Global, wanted: &Health) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let deadline = wanted.wait.map(|wait| Instant::now() + wait);
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let (answers, class) = look(global, &nodes, &trust).await;
        let last = class == Class::Good || deadline.is_none_or(|deadline| Instant::now() >= deadline);
        if last {
            let shape = Question::Health.shape();
            if let Some(shape) = shape {
                output::print(global.print, &shape, nodes.len() > 1, &answers)?;
            }
            return Ok(class);
        }
        for (node, answer) in answers.iter().filter(|_| global.print == Format::Table) {
            let missing = missing(answer);
            if let Some(news) = news(told.get(node), &missing) {
                eprintln!("{node}: {news}");
            }
            told.insert(node.clone(), missing);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(global: &Global, nodes: &[String], trust: &Trust) -> (Vec<(String, Value)>, Class) {
    let limit = global.timeout;
    let answers = on_each(nodes.to_vec(), |node| {
        let trust = trust.clone();
        async move { in_time(limit, async { ask(&mut connect(&node, &trust).await?, &Question::Health).await }).await }
    })
    .await;
    let mut class = Class::Good;
    let mut told = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(value) => {
                if value.get("healthy") != Some(&Value::Bool(true)) {
                    class = class.max(Class::Unhealthy);
                }
                told.push((node, value));
            }
            Err(err) => {
                class = class.max(class_of_error(&err));
                let check = json!({"name": "machine API", "ok": false, "message": words(&err)});
                told.push((node, json!({"healthy": false, "checks": [check]})));
            }
        }
    }
    (told, class)
}

/// What is wrong, in one line.
fn missing(answer: &Value) -> String {
    let checks = answer.get("checks").and_then(Value::as_array).into_iter().flatten();
    let text = |check: &Value, field: &str| check.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wrong = checks.filter(|check| check.get("ok") == Some(&Value::Bool(false)));
    wrong.map(|check| format!("{} ({})", text(check, "name"), text(check, "message"))).collect::<Vec<_>>().join("; ")
}

/// What a person who waits is told: each change once, and nothing of a node that was well from the start.
fn news(before: Option<&String>, missing: &str) -> Option<String> {
    match (before, missing) {
        (Some(before), missing) if before == missing => None,
        (None, "") => None,
        (Some(_), "") => Some("well".to_owned()),
        _ => Some(format!("waiting for {missing}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_is_waited_for() {
        let answer = json!({"checks": [
            {"name": "time", "ok": true, "message": ""},
            {"name": "node", "ok": false, "message": "not Ready"},
        ]});
        assert_eq!(missing(&answer), "node (not Ready)");
    }

    #[test]
    fn a_node_that_is_well_is_told_of_only_once_it_was_waited_for() {
        assert_eq!(news(None, ""), None);
        assert_eq!(news(None, "node (not Ready)"), Some("waiting for node (not Ready)".to_owned()));
        assert_eq!(news(Some(&"node (not Ready)".to_owned()), "node (not Ready)"), None);
        assert_eq!(news(Some(&"node (not Ready)".to_owned()), ""), Some("well".to_owned()));
    }
}
