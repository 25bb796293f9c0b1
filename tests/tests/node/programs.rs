//! Programs of others that do much of what programs do.

use super::single;
use rk_tests::{eventually, limit};
use serde_json::json;

/// Answers what it finds out by threads, a child, a file and sums of its own, until it is asked to end.
const PROGRAM: &str = r#"
import hashlib, http.server, json, os, signal, socket, subprocess, sys, tempfile, threading

def facts():
    sums = []
    def work(n):
        sums.append(hashlib.sha256(bytes([n]) * 1000000).hexdigest())
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getppid())"], capture_output=True, text=True)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 4096)
        size = os.fstat(file.fileno()).st_size
    return {"sums": len(set(sums)), "child": int(child.stdout) == os.getpid(), "size": size, "uid": os.getuid(), "host": socket.gethostname()}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(facts()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
with open("/dev/termination-log", "w") as file:
    file.write("asked to end")
sys.exit(7)
"#;

#[test]
fn a_python_server_runs_threads_and_children_answers_and_ends_in_its_own_time() {
    let shared = single();
    shared.push("python").expect("push");
    let kubectl = shared.kubectl.new_namespace("python");
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"main.py": PROGRAM}});
    kubectl.apply(&map.to_string());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server"}, "spec": {
        "tolerations": [{"operator": "Exists"}], "restartPolicy": "Never",
        "securityContext": {"runAsUser": 1234, "runAsNonRoot": true},
        "volumes": [{"name": "app", "configMap": {"name": "app"}}],
        "containers": [{"name": "main", "image": "rk.local/python:demo", "args": ["-u", "/app/main.py"],
            "volumeMounts": [{"name": "app", "mountPath": "/app"}],
            "readinessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 1, "timeoutSeconds": 20}}]}});
    kubectl.apply(&pod.to_string());
    let condition = "{.status.conditions[?(@.type=='Ready')].status}";
    eventually("the server", limit(60), || match kubectl.try_path(&["pod", "server"], condition)?.as_str() {
        "True" => Ok(()),
        other => Err(other.to_owned()),
    });
    let namespace = kubectl.path(&["pod", "server"], "{.metadata.namespace}");
    let path = format!("/api/v1/namespaces/{namespace}/pods/server:8000/proxy/");
    let told: serde_json::Value = serde_json::from_str(&kubectl.ok(&["get", "--raw", &path])).expect("JSON");
    assert_eq!(told, json!({"sums": 4, "child": true, "size": 4096, "uid": 1234, "host": "server"}));
    // A pod that goes at once tells nobody how it ended.
    kubectl.ok(&[
        "patch",
        "pod",
        "server",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/kept"]}}"#,
    ]);
    kubectl.ok(&["delete", "pod", "server", "--wait=false"]);
    let end = "{.status.containerStatuses[0].state.terminated";
    let state = format!("{{.status.phase}} {end}.exitCode}} {end}.message}}");
    eventually("its end", limit(60), || match kubectl.try_path(&["pod", "server"], &state)?.as_str() {
        "Failed 7 asked to end" => Ok(()),
        other => Err(other.to_owned()),
    });
    kubectl.ok(&["patch", "pod", "server", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
}
