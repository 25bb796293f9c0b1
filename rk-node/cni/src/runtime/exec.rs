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
    sync::oneshot,
};

use super::{
    Attachment,
    calls::{Call, Calls, Place, Wait},
};
use crate::{
    error::{Error, Result},
    plugin,
    types::CniError,
};

/// Results are a few KiB.
const MAX_OUTPUT: u64 = 1 << 20;

/// Plugins of this program at a time: they wait for the kernel's one lock of links anyway, and each thread has a stack and a heap.
static CALLS: Calls = Calls::new(4);

/// What a plugin answers, or why there is no answer.
type Answer = std::result::Result<std::result::Result<Value, CniError>, String>;

/// A plugin ready to run.
pub(super) struct Exec {
    path: PathBuf,
    plugin: String,
    network: String,
    /// Empty where it is about no container.
    container: String,
    environment: Vec<(&'static str, String)>,
    timeout: Duration,
    /// The file of this program when the plugin is it.
    own: Option<PathBuf>,
}

impl Exec {
    /// The plugin at `path`; where that is the file `own`, it is called without a process.
    pub fn new(
        path: PathBuf,
        name: &str,
        network: &str,
        dirs: &[PathBuf],
        attachment: Option<&Attachment>,
        timeout: Duration,
        own: Option<&Path>,
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
        let own = own.filter(|own| plugin::NAMES.contains(&name) && plugin::is_own(&path, Some(*own)));
        let own = own.map(Path::to_owned);
        let container = attachment.map(|attachment| attachment.container_id.clone()).unwrap_or_default();
        Self { path, plugin: name.to_owned(), network: network.to_owned(), container, environment, timeout, own }
    }

    /// Runs the plugin; answers with its result, null when it printed none. While a call for the same container goes on that was given
    /// up, it is refused: the specification wants one operation after the other.
    pub async fn run(&self, command: &'static str, config: &Value) -> Result<Value> {
        let fail = |reason: String| Error::Exec { plugin: self.plugin.clone(), command, reason };
        let unended = Some(&self.container).filter(|id| !id.is_empty()).and_then(|id| CALLS.unended(id));
        if let Some(other) = unended {
            return Err(fail(format!("the {other} for this sandbox was given up and has not ended")));
        }
        let held = self.place(command).await;
        let answer = match (&self.own, held) {
            (Some(own), Some(held)) => tokio::time::timeout(self.timeout, self.here(command, config, own, held)).await,
            // Dropping the child kills it.
            _ => tokio::time::timeout(self.timeout, self.there(command, config)).await,
        };
        match answer {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(error))) => Err(Error::Plugin {
                plugin: self.plugin.clone(),
                network: self.network.clone(),
                command,
                error: Box::new(error),
            }),
            Ok(Err(reason)) => Err(fail(reason)),
            Err(_) => Err(fail(format!("timed out after {} s", self.timeout.as_secs()))),
        }
    }

    /// A place for a call without a process, where the plugin is of this program. Without one a process does it, which can be killed: calls
    /// that never end must not keep all others from their networks.
    async fn place(&self, command: &'static str) -> Option<(Place, Wait)> {
        self.own.as_ref()?;
        let call = Call { plugin: self.plugin.clone(), command, container: self.container.clone() };
        let held = CALLS.enter(call, self.timeout).await;
        if held.is_none() {
            tracing::warn!(plugin = %self.plugin, command, "no thread is free: a process takes its place");
        }
        held
    }

    /// Calls the plugin on a thread of its own, as it would have a process of its own: it blocks. One that is given up cannot be killed and
    /// ends by itself.
    async fn here(&self, command: &'static str, config: &Value, own: &Path, (place, wait): (Place, Wait)) -> Answer {
        let thread = Thread { name: self.plugin.clone(), environment: self.environment.clone(), own: own.to_owned() };
        let config = config.clone();
        let (tell, told) = oneshot::channel();
        let work = move || {
            let _until_the_end = place;
            if let Err(unheard) = tell.send(thread.call(command, config.clone())) {
                thread.undo(command, config, unheard);
            }
        };
        std::thread::Builder::new().name("cni".into()).spawn(work).map_err(|e| format!("start a thread: {e}"))?;
        let answer = told.await;
        wait.heard();
        answer.map_err(|_| "panicked".to_owned())
    }

    /// Runs the plugin as a process.
    async fn there(&self, command: &'static str, config: &Value) -> Answer {
        let talked = self.talk(command, config).await;
        let (success, stdout, stderr) = talked.map_err(|e| format!("{}: {e}", self.path.display()))?;
        if !success {
            let error = serde_json::from_slice::<CniError>(&stdout);
            let silent =
                |_| format!("failed without an error document: {}", String::from_utf8_lossy(stderr.trim_ascii()));
            return error.map(Err).map_err(silent);
        }
        if stdout.trim_ascii().is_empty() {
            return Ok(Ok(Value::Null));
        }
        serde_json::from_slice(&stdout).map(Ok).map_err(|e| format!("printed no JSON: {e}"))
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

/// What a call on a thread needs.
struct Thread {
    name: String,
    environment: Vec<(&'static str, String)>,
    own: PathBuf,
}

impl Thread {
    fn call(&self, command: &'static str, config: Value) -> std::result::Result<Value, CniError> {
        let mut environment = self.environment.clone();
        environment.push(("CNI_COMMAND", command.to_owned()));
        plugin::call(&self.name, config, environment, self.own.clone())
    }

    /// Takes away what was added for nobody: the DEL of whoever gave it up may have come before it was there.
    fn undo(&self, command: &'static str, mut config: Value, added: std::result::Result<Value, CniError>) {
        let ("ADD", Ok(result)) = (command, added) else { return };
        if let Some(config) = config.as_object_mut() {
            config.insert("prevResult".to_owned(), result);
        }
        if let Err(error) = self.call("DEL", config) {
            tracing::warn!(plugin = %self.name, "cannot undo what nobody waits for any more: {error}");
        }
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

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr, time::Instant};

    use rustix::fs::{FlockOperation, flock};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_added_after_it_was_given_up_is_taken_away_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("canonical");
        let (own, path, store) = (root.join("rk"), root.join("host-local"), root.join("net"));
        fs::write(&own, "no program").expect("write");
        std::os::unix::fs::symlink(&own, &path).expect("link");
        fs::create_dir(&store).expect("store");
        let lock = fs::File::create(store.join("lock")).expect("lock");
        flock(&lock, FlockOperation::LockExclusive).expect("lock");
        let attachment = Attachment {
            container_id: "c".to_owned(),
            netns: Some("/nowhere".into()),
            if_name: "eth0".to_owned(),
            args: Vec::new(),
            capabilities: serde_json::Map::new(),
        };
        let config = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": root, "ranges": [[{"subnet": "10.1.0.0/24"}]]}});
        let wait = Duration::from_millis(100);
        let exec =
            Exec::new(path, "host-local", "net", std::slice::from_ref(&root), Some(&attachment), wait, Some(&own));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let error = runtime.block_on(exec.run("ADD", &config)).expect_err("the store is locked");
        assert!(error.to_string().contains("timed out"), "{error}");
        let refused = runtime.block_on(exec.run("DEL", &config)).expect_err("the ADD goes on").to_string();
        let other = r#"the ADD of plugin type="host-local" for this sandbox was given up and has not ended"#;
        assert_eq!(refused, format!(r#"plugin type="host-local" (DEL): {other}"#));
        drop(lock);
        let names = || {
            let entries = fs::read_dir(&store).expect("store").flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = names();
            let was_added = now.iter().any(|name| name == "last_reserved_ip.0");
            if was_added && !now.iter().any(|name| name.parse::<IpAddr>().is_ok()) {
                break;
            }
            assert!(Instant::now() < deadline, "the reservation stays: {now:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        while let Err(error) = runtime.block_on(exec.run("DEL", &config)) {
            assert!(Instant::now() < deadline, "the sandbox stays refused: {error}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
