//! One run of one plugin.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::Attachment;
use crate::{
    error::{Error, Result},
    types::CniError,
};

/// Results are a few KiB.
const MAX_OUTPUT: u64 = 1 << 20;

/// A plugin ready to run.
pub(super) struct Exec {
    path: PathBuf,
    plugin: String,
    network: String,
    environment: Vec<(&'static str, String)>,
    timeout: Duration,
}

impl Exec {
    pub fn new(
        path: PathBuf,
        plugin: &str,
        network: &str,
        dirs: &[PathBuf],
        attachment: Option<&Attachment>,
        timeout: Duration,
    ) -> Self {
        let joined: Vec<String> = dirs.iter().map(|d| d.display().to_string()).collect();
        let mut environment =
            vec![("CNI_PATH", joined.join(":")), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())];
        if let Some(attachment) = attachment {
            let args: Vec<String> = attachment.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let netns = attachment.netns.as_deref().unwrap_or(Path::new("")).display().to_string();
            environment.extend([
                ("CNI_CONTAINERID", attachment.container_id.clone()),
                ("CNI_NETNS", netns),
                ("CNI_IFNAME", attachment.if_name.clone()),
                ("CNI_ARGS", args.join(";")),
            ]);
        }
        Self { path, plugin: plugin.to_owned(), network: network.to_owned(), environment, timeout }
    }

    /// Runs the plugin; answers with its result, null when it printed none.
    pub async fn run(&self, command: &'static str, config: &Value) -> Result<Value> {
        let fail = |reason: String| Error::Exec { plugin: self.plugin.clone(), command, reason };
        let run = self.talk(command, config);
        let (success, stdout, stderr) = match tokio::time::timeout(self.timeout, run).await {
            Ok(done) => done.map_err(|e| fail(format!("{}: {e}", self.path.display())))?,
            // Dropping the child kills it.
            Err(_) => return Err(fail(format!("timed out after {} s", self.timeout.as_secs()))),
        };
        if success {
            if stdout.trim_ascii().is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&stdout).map_err(|e| fail(format!("printed no JSON: {e}")));
        }
        match serde_json::from_slice::<CniError>(&stdout) {
            Ok(error) => Err(Error::Plugin {
                plugin: self.plugin.clone(),
                network: self.network.clone(),
                command,
                error: Box::new(error),
            }),
            Err(_) => {
                Err(fail(format!("failed without an error document: {}", String::from_utf8_lossy(stderr.trim_ascii()))))
            }
        }
    }

    async fn talk(&self, command: &'static str, config: &Value) -> std::io::Result<(bool, Vec<u8>, Vec<u8>)> {
        let mut child = Command::new(&self.path)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env("CNI_COMMAND", command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A plugin may end without reading; its exit status tells more than a broken pipe.
                let _ = stdin.write_all(&serde_json::to_vec(config).unwrap_or_default()).await;
            }
        };
        let ((), stdout, stderr, status) = tokio::join!(feed, bounded(stdout), bounded(stderr), child.wait());
        Ok((status?.success(), stdout?, stderr?))
    }
}

/// Keeps the start and throws the rest away, so that the plugin never blocks on a full pipe.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(MAX_OUTPUT).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}
