//! Giving nodes a config, or a change of it.

use super::{in_time, on_each, shapes, sort_out};
use crate::args::{Format, Global, How, Mode};
use crate::connect::{Trust, connect};
use crate::exit::Class;
use crate::output;
use anyhow::Result;
use rk_machine_proto::v1::{ApplyMode, ApplyReply, ApplyRequest, PatchRequest};
use serde_json::Value;

/// What is given.
#[derive(Debug, Clone)]
pub enum What {
    /// A whole config.
    Whole(String),
    /// A merge patch.
    Patch(String),
}

/// Gives it to all of the nodes, one after the other when it changes them: a mistake must not reach them all at once.
///
/// # Errors
/// Standard output is gone.
pub async fn run(global: &Global, nodes: Vec<String>, trust: Trust, what: What, how: How) -> Result<Class> {
    let mode = match how.mode() {
        Mode::Auto => ApplyMode::Auto,
        Mode::NoReboot => ApplyMode::NoReboot,
        Mode::Try => ApplyMode::Try,
        Mode::DryRun => ApplyMode::DryRun,
    };
    let (limit, several) = (global.timeout, nodes.len() > 1);
    let mut answers = Vec::new();
    for node in nodes {
        let (trust, what) = (trust.clone(), what.clone());
        let each = move |node: String| {
            let (trust, what) = (trust.clone(), what.clone());
            async move { in_time(limit, give(node, trust, what, mode, how.seconds)).await }
        };
        let mut one = on_each(vec![node], each).await;
        let failed = one.iter().any(|(_, answer)| answer.is_err());
        answers.append(&mut one);
        if failed {
            break;
        }
    }
    let (good, class) = sort_out(answers);
    if global.print != Format::Table {
        output::print(global.print, &shapes::CHANGES, several, &good)?;
        return Ok(class);
    }
    for (node, answer) in &good {
        tell(node, answer, mode)?;
    }
    Ok(class)
}

async fn give(node: String, trust: Trust, what: What, mode: ApplyMode, seconds: u32) -> Result<Value> {
    let mut client = connect(&node, &trust).await?;
    let reply: ApplyReply = match what {
        What::Whole(config) => {
            client.apply_config(ApplyRequest { config, mode: mode.into(), try_seconds: seconds }).await?.into_inner()
        }
        What::Patch(patch) => {
            client.patch_config(PatchRequest { patch, mode: mode.into(), try_seconds: seconds }).await?.into_inner()
        }
    };
    Ok(serde_json::to_value(reply)?)
}

fn tell(node: &str, answer: &Value, mode: ApplyMode) -> Result<()> {
    let changes = answer.get("changes").and_then(Value::as_array).map_or(0, Vec::len);
    let reboot = answer.get("reboot").and_then(Value::as_bool).unwrap_or(false);
    let seconds = answer.get("reverts_in_seconds").and_then(Value::as_u64).unwrap_or(0);
    let outcome = match (mode, reboot, seconds) {
        (_, _, seconds) if seconds > 0 => format!("on trial for {seconds} s; keep it with rkctl node config confirm"),
        (ApplyMode::DryRun, true, _) => "nothing changed; this would need a reboot".to_owned(),
        (ApplyMode::DryRun, false, _) => "nothing changed; this would need no reboot".to_owned(),
        (_, true, _) => "the node reboots with it".to_owned(),
        (_, false, _) => "in effect".to_owned(),
    };
    println!("{node}: {changes} changes, {outcome}");
    for key in answer.get("unknown_keys").and_then(Value::as_array).into_iter().flatten() {
        println!("{node}: unknown key {} has no effect", key.as_str().unwrap_or_default());
    }
    if changes > 0 {
        output::write(output::table(&shapes::CHANGES, false, &[(node.to_owned(), answer.clone())]).as_bytes())?;
    }
    Ok(())
}
