//! The operator's file: which nodes, whom to believe, who we are.

use crate::args::Global;
use crate::exit::{Class, Failure};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Files looked at, after `--rkctl-config`.
const HERE: &str = "rkctl.yaml";
const HOME: &str = ".config/rk/rkctl.yaml";

/// What the file holds.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Name of the cluster.
    pub cluster: String,
    /// Nodes that are meant when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The authority of the machine API, PEM.
    pub ca: String,
    /// Ours, PEM.
    pub certificate: String,
    /// Ours, PEM.
    pub key: String,
}

impl Context {
    /// Reads the file that the flags or the usual places name.
    ///
    /// # Errors
    /// There is none, or it is something else.
    pub fn load(global: &Global) -> Result<Context> {
        let path = match &global.config {
            Some(path) => path.clone(),
            None => usual().ok_or_else(|| {
                Failure::new(
                    Class::Usage,
                    format!("no operator's file: give --rkctl-config, or put it at {HERE} or ~/{HOME}; rkctl config gen makes one"),
                )
            })?,
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|err| Failure::new(Class::Usage, format!("reading {}: {err}", path.display())))?;
        serde_yaml_ng::from_str(&text).map_err(|err| {
            Failure::new(Class::Usage, format!("{} is not an operator's file: {err}", path.display())).into()
        })
    }

    /// The nodes that are meant.
    ///
    /// # Errors
    /// None are named anywhere.
    pub fn nodes(&self, global: &Global) -> Result<Vec<String>> {
        let nodes = if global.nodes.is_empty() { &self.nodes } else { &global.nodes };
        if nodes.is_empty() {
            return Err(Failure::new(Class::Usage, "no node is named; give -n HOST[,HOST…]").into());
        }
        Ok(nodes.clone())
    }
}

fn usual() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(HOME));
    [Some(PathBuf::from(HERE)), home].into_iter().flatten().find(|path| path.is_file())
}
