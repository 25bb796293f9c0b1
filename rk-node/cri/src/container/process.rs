use serde_json::Value;

use crate::error::{Error, IoContext, Result};
use crate::record::ContainerRecord;
use crate::runtime::Runtime;

/// The OCI process of a command run in a container: as the container's own, with another command line.
pub(crate) fn process(runtime: &Runtime, record: &ContainerRecord, cmd: &[String], tty: bool) -> Result<Value> {
    if cmd.is_empty() {
        return Err(Error::Invalid("the command is empty".into()));
    }
    let path = runtime.bundle(&record.sandbox, &record.id).join("spec.json");
    let text = std::fs::read(&path).at("read", &path)?;
    let mut spec: Value = serde_json::from_slice(&text).map_err(std::io::Error::from).at("parse", &path)?;
    let mut process = spec.get_mut("process").map(Value::take).unwrap_or_default();
    process["args"] = cmd.into();
    process["terminal"] = tty.into();
    if tty && let Some(env) = process.get_mut("env").and_then(Value::as_array_mut) {
        let has_term = env.iter().any(|entry| entry.as_str().is_some_and(|e| e.starts_with("TERM=")));
        if !has_term {
            env.push("TERM=xterm".into());
        }
    }
    Ok(process)
}
