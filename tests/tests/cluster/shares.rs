//! Volumes on a stock NFS server that runs in the cluster.

use crate::cluster;
use rk_tests::{Kubectl, eventually, limit};
use serde_json::json;

/// One share that lives in memory, files of up to 64 KiB, by version 4 of the protocol alone: nothing else need run beside the server.
const CONFIG: &str = "NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; \
    allow_set_io_flusher_fail = true; Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha; } \
    NFSV4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = /tmp; Only_Numeric_Owners = true; } \
    DIRECTORY_SERVICES { IdmapConf = /etc/idmapd.conf; } MEM { Inode_Size = 65536; } \
    EXPORT { Export_Id = 1; Path = /share; Pseudo = /share; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL { Name = MEM; } }";

/// Starts the server on the first worker; answers its address.
fn server(kubectl: &Kubectl) -> String {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: server}}\ndata:\n  ganesha.conf: {}\n",
        json!(format!("{CONFIG}\n"))
    ));
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: server}\nspec:\n  nodeName: worker-1\n  terminationGracePeriodSeconds: 1\n  \
         volumes: [{name: config, configMap: {name: server}}]\n  containers:\n  - name: main\n    image: rk.local/ganesha:demo\n    \
         volumeMounts: [{name: config, mountPath: /etc/ganesha}]\n    readinessProbe: {tcpSocket: {port: 2049}, periodSeconds: 1}\n",
    );
    ready(kubectl, "server");
    kubectl.path(&["pod", "server"], "{.status.podIP}")
}

fn ready(kubectl: &Kubectl, pod: &str) {
    let timeout = format!("--timeout={}s", limit(90).as_secs());
    kubectl.ok(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), &timeout]);
}

/// A pod on a worker with `volume` at `/share`.
fn client(kubectl: &Kubectl, name: &str, worker: u8, volume: &str) {
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: worker-{worker}\n  terminationGracePeriodSeconds: 1\n  \
         containers:\n  - name: main\n    image: rk.local/busybox:demo\n    command: [sleep, '3600']\n    \
         volumeMounts: [{{name: share, mountPath: /share}}]\n  volumes: [{{name: share, {volume}}}]\n"
    ));
    ready(kubectl, name);
}

#[test]
fn pods_of_two_nodes_share_what_an_nfs_server_keeps() {
    let shared = cluster();
    shared.push("ganesha").expect("push");
    let kubectl = shared.kubectl.new_namespace("shares");
    let address = server(&kubectl);
    client(&kubectl, "inline", 1, &format!("nfs: {{server: {address}, path: /share}}"));
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: share}}\nspec:\n  capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteMany]\n  \
         mountOptions: [nfsvers=4.1, hard]\n  storageClassName: shares\n  nfs: {{server: {address}, path: /share}}\n"
    ));
    kubectl.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: share}\nspec:\n  storageClassName: shares\n  \
         accessModes: [ReadWriteMany]\n  resources: {requests: {storage: 1Gi}}\n",
    );
    client(&kubectl, "claimed", 2, "persistentVolumeClaim: {claimName: share}");
    let run = |pod: &str, script: &str| kubectl.ok(&["exec", pod, "--", "sh", "-c", script]);
    run("inline", "echo one > /share/file && mkdir /share/dir && ln /share/file /share/dir/link");
    assert_eq!(run("claimed", "cat /share/dir/link").trim(), "one");
    run("claimed", "echo two >> /share/file");
    // Close-to-open consistency: who opens the file anew sees what was written before it was closed.
    assert_eq!(run("inline", "cat /share/file").trim(), "one\ntwo");
    let mounted = |pod: &str| run(pod, "grep ' /share ' /proc/mounts");
    assert!(mounted("inline").contains(" nfs4 rw,") && mounted("inline").contains("vers=4.2"), "{}", mounted("inline"));
    assert!(mounted("claimed").contains("vers=4.1"), "{}", mounted("claimed"));
    // Nothing of a share stays behind, and what was kept on it does.
    kubectl.ok(&["delete", "pod", "inline", "claimed", "--wait"]);
    client(&kubectl, "later", 2, &format!("nfs: {{server: {address}, path: /share/dir, readOnly: true}}"));
    assert_eq!(run("later", "cat /share/link").trim(), "one\ntwo");
    assert!(kubectl.refused(&["exec", "later", "--", "touch", "/share/new"]).contains("Read-only file system"));
    kubectl.ok(&["delete", "pod", "later", "--wait"]);
    kubectl.ok(&["delete", "pvc", "share", "--wait"]);
    kubectl.ok(&["delete", "pv", "share", "--wait"]);
    eventually("the server to go", limit(30), || match kubectl.run(&["delete", "pod", "server", "--wait"]) {
        answer if answer.success => Ok(()),
        answer => Err(answer.err),
    });
}
