//! `console`: the log of a node's serial console. There is no shell behind it, so nothing is typed into it.

use super::{ConsoleArgs, running};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::time::Duration;

pub fn run(paths: &Paths, args: &ConsoleArgs) -> Result<()> {
    let state = running(paths, &args.name.name)?;
    let Some(node) = state.node(&args.node) else {
        let names: Vec<&str> = state.nodes.iter().map(|n| n.name.as_str()).collect();
        bail!("no node is named {:?}; there are {}", args.node, names.join(", "));
    };
    let path = &node.console_log;
    let mut file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut out = std::io::stdout();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        let written = out.write_all(buffer.get(..n).unwrap_or_default()).and_then(|()| out.flush());
        if written.is_err() || (n == 0 && args.no_follow) {
            return Ok(());
        }
        if n == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
