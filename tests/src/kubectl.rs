//! The real kubectl.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What kubectl, or the server that it asks, says when a machine stood still while a connection to it was made: nothing was done yet.
const STOOD_STILL: [&str; 3] = ["TLS handshake timeout", "i/o timeout", "Client.Timeout exceeded"];
/// How often a command is given that met a machine that stood still, each time for ten seconds at least.
const TRIES: usize = 4;

/// kubectl with a kubeconfig and a namespace.
#[derive(Debug, Clone)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    namespace: Option<String>,
    editor: Option<String>,
    spdy: bool,
}

/// What one run said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Whether it exited with zero.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Kubectl {
    /// Over a kubeconfig.
    pub fn new(binary: &Path, kubeconfig: &Path) -> Kubectl {
        let (binary, kubeconfig) = (binary.to_owned(), kubeconfig.to_owned());
        Kubectl { binary, kubeconfig, namespace: None, editor: None, spdy: false }
    }

    /// The same in a namespace.
    pub fn within(&self, namespace: &str) -> Kubectl {
        Kubectl { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The same with an editor for `kubectl edit`: a shell command that is given the file's name.
    pub fn with_editor(&self, command: &str) -> Kubectl {
        Kubectl { editor: Some(command.to_owned()), ..self.clone() }
    }

    /// The same as an older client: its streams to pods are SPDY's.
    pub fn over_spdy(&self) -> Kubectl {
        Kubectl { spdy: true, ..self.clone() }
    }

    /// Makes a namespace anew and answers kubectl in it, once pods can run there.
    pub fn new_namespace(&self, name: &str) -> Kubectl {
        self.run(&["delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=300s"]);
        self.ok(&["create", "namespace", name]);
        let inside = self.within(name);
        crate::eventually("the default service account", Duration::from_secs(120), || {
            let answer = inside.run(&["get", "serviceaccount", "default"]);
            if answer.success { Ok(()) } else { Err(answer.err) }
        });
        inside
    }

    /// kubectl's arguments: ours first.
    fn words(&self, args: &[&str]) -> Vec<String> {
        let cache = self.kubeconfig.with_extension("cache");
        let mut words = vec!["--cache-dir".to_owned(), cache.display().to_string()];
        if let Some(namespace) = &self.namespace {
            words.extend(["--namespace".to_owned(), namespace.clone()]);
        }
        words.extend(args.iter().map(|a| (*a).to_owned()));
        words
    }

    /// `program` in kubectl's environment.
    fn environment(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST");
        if let Some(editor) = &self.editor {
            command.env("KUBE_EDITOR", editor);
        }
        if self.spdy {
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.environment(&self.binary);
        command.args(self.words(args));
        command
    }

    /// Runs it on a terminal of its own, by `script`, and types `input`; the arguments must need no quoting.
    pub fn typed(&self, args: &[&str], input: &str) -> Answer {
        let line = format!("{} {}", self.binary.display(), self.words(args).join(" "));
        let mut command = self.environment(Path::new("script"));
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        finish(command, input)
    }

    /// Runs it to the end.
    pub fn run(&self, args: &[&str]) -> Answer {
        self.fed(args, "")
    }

    /// Runs it with `input` on standard input, and again where a machine stood still.
    pub fn fed(&self, args: &[&str], input: &str) -> Answer {
        let mut answer = finish(self.command(args), input);
        for _ in 1..TRIES {
            if answer.success || !stood_still(&answer.err) {
                break;
            }
            answer = finish(self.command(args), input);
        }
        answer
    }

    /// `port-forward` to a port of a pod, once it listens, with the port of the host; it is started anew where a machine stood still.
    pub fn forward(&self, pod: &str, port: u16, log: &Path, limit: Duration) -> (Running, u16) {
        let (pod, ports) = (format!("pod/{pod}"), format!(":{port}"));
        let begin = || self.start(&["port-forward", &pod, &ports], log);
        let mut running = begin();
        let listens = crate::eventually("port-forward to listen", limit, || {
            let told = running.forwarded();
            if told.as_ref().is_err_and(|said| stood_still(said)) {
                running = begin();
            }
            told
        });
        (running, listens)
    }

    /// Runs it, and panics with what it said when it fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let answer = self.run(args);
        let told = || format!("{}{}{}", answer.out, answer.err, crate::shared::consoles());
        assert!(answer.success, "kubectl {} failed:\n{}", args.join(" "), told());
        answer.out
    }

    /// Runs it, expects a failure, and answers what it complained of.
    pub fn refused(&self, args: &[&str]) -> String {
        let answer = self.run(args);
        assert!(!answer.success, "kubectl {} should have failed, but said:\n{}", args.join(" "), answer.out);
        answer.err
    }

    /// `apply -f -`.
    pub fn apply(&self, yaml: &str) -> String {
        let answer = self.fed(&["apply", "-f", "-"], yaml);
        assert!(answer.success, "kubectl apply failed:\n{}{}\n{yaml}", answer.out, answer.err);
        answer.out
    }

    /// `apply -f -` that must fail; answers what it complained of.
    pub fn apply_refused(&self, yaml: &str) -> String {
        let answer = self.fed(&["apply", "-f", "-"], yaml);
        assert!(!answer.success, "kubectl apply should have failed:\n{}\n{yaml}", answer.out);
        answer.err
    }

    /// `get … -o json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("kubectl {args:?} -o json: {e}\n{out}"))
    }

    /// `get … -o jsonpath=…`, or why not.
    pub fn try_path(&self, object: &[&str], path: &str) -> Result<String, String> {
        let template = format!("jsonpath={path}");
        let answer = self.run(&[&["get"], object, &["-o", &template]].concat());
        if answer.success { Ok(answer.out) } else { Err(answer.err) }
    }

    /// `get … -o jsonpath=…`.
    pub fn path(&self, object: &[&str], path: &str) -> String {
        self.try_path(object, path).unwrap_or_else(|e| panic!("kubectl get {object:?}: {e}"))
    }

    /// Starts it and lets it run, such as `port-forward` or `logs -f`; output goes to `log`.
    pub fn start(&self, args: &[&str], log: &Path) -> Running {
        Running::start(self.command(args), log)
    }
}

fn stood_still(said: &str) -> bool {
    STOOD_STILL.iter().any(|words| said.contains(words))
}

/// Runs `command` to its end with `input` on its standard input.
fn finish(mut command: Command, input: &str) -> Answer {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    if let Some(mut stdin) = child.stdin.take() {
        // It may refuse its arguments before it reads.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer { success: out.status.success(), out: text(&out.stdout), err: text(&out.stderr) }
}

/// A kubectl, or a program like it, that runs on until it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; output goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Running {
        let file = std::fs::File::create(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let twin = file.try_clone().unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let child = command.stdin(Stdio::null()).stdout(file).stderr(twin).spawn();
        Running { child: child.unwrap_or_else(|e| panic!("{command:?}: {e}")), log: log.to_owned() }
    }

    /// Where `kubectl proxy` serves, once it says so; else what it said until now.
    pub fn address(&self) -> Result<String, String> {
        let said = self.said();
        let last = said.trim().rsplit(' ').next().filter(|_| said.contains("Starting to serve"));
        last.map(str::to_owned).ok_or(said.clone())
    }

    /// Which port of the host `kubectl port-forward` listens on, once it says so; else what it said until now.
    fn forwarded(&self) -> Result<u16, String> {
        let said = self.said();
        let port = said.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|p| p.parse().ok());
        port.ok_or(said)
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_or_refused_is_not_tried_again() {
        let table = [
            ("Unable to connect to the server: net/http: TLS handshake timeout", true),
            ("error: Internal error occurred: error dialing backend: dial tcp 192.168.77.11:10250: i/o timeout", true),
            ("error: timed out waiting for the condition", false),
            ("The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?", false),
        ];
        for (said, again) in table {
            assert_eq!(stood_still(said), again, "{said}");
        }
    }
}
