//! What pods read and are given: files of configs and secrets, facts of themselves, scratch space, variables, identities, last words.

use super::single;
use rk_tests::{Kubectl, eventually, limit};
use std::collections::BTreeSet;

const FILES: &str = include_str!("../../fixtures/consume.yaml");
const ENVIRONMENT: &str = include_str!("../../fixtures/environment.yaml");

/// Waits until a pod has ended well and answers what its container said.
fn said(kubectl: &Kubectl, pod: &str, container: &str) -> String {
    eventually(pod, limit(60), || match kubectl.try_path(&["pod", pod], "{.status.phase}")?.as_str() {
        "Succeeded" | "Failed" => Ok(()),
        _ => Err(kubectl.try_path(&["pod", pod], "{.status.containerStatuses[*].state}")?),
    });
    kubectl.ok(&["logs", pod, "-c", container])
}

/// Every line of `wanted` is one of `said`.
fn has(said: &str, wanted: &[&str]) {
    let lines: BTreeSet<&str> = said.lines().map(str::trim).collect();
    let missing: Vec<_> = wanted.iter().filter(|line| !lines.contains(**line)).collect();
    assert!(missing.is_empty(), "missing {missing:#?} in:\n{said}");
}

/// The files of every volume: path, mode for root, mode with a group, content.
const PLAIN: [(&str, &str, &str, &str); 27] = [
    ("./cm/data-1", "644", "644", "value-1"),
    ("./cm/data-2", "644", "644", "value-2"),
    ("./cm-again/data-1", "644", "644", "value-1"),
    ("./cm-mode/data-1", "400", "440", "value-1"),
    ("./cm-item/path/to/plain", "644", "644", "value-2"),
    ("./cm-item/path/to/moded", "400", "440", "value-2"),
    ("./secret/data-1", "644", "644", "secret-1"),
    ("./secret-mode/data-2", "440", "440", "secret-2"),
    ("./secret-item/new/path", "644", "644", "secret-1"),
    ("./secret-item/new/moded", "400", "440", "secret-2"),
    ("./p-cm/plain", "400", "440", "value-1"),
    ("./p-cm/moded", "444", "444", "value-2"),
    ("./p-secret/plain", "644", "644", "secret-1"),
    ("./p-secret/moded", "400", "440", "secret-2"),
    ("./p-all/deep/config", "644", "644", "value-1"),
    ("./p-all/deep/secret", "644", "644", "secret-1"),
    ("./down/annotation", "400", "440", "bar"),
    ("./down/cpu_limit", "400", "440", "2"),
    ("./down/cpu_request", "400", "440", "50"),
    ("./down/memory_limit", "400", "440", "67108864"),
    ("./down/memory_request", "400", "440", "16"),
    ("./down/labels", "400", "440", "colour=\"red\".group=\"consume\""),
    ("./p-down/cpu_limit", "644", "644", "2"),
    ("./p-down/memory_limit", "644", "644", "67108864"),
    ("/sub/cm", "644", "644", "value-1"),
    ("/sub/secret", "644", "644", "secret-2"),
    ("/sub/projected", "644", "644", "secret-1"),
];

fn files(kubectl: &Kubectl, name: &str, group: u32) {
    let said = said(kubectl, name, "main");
    let mode = |root: &'static str, grouped: &'static str| if group == 0 { root } else { grouped };
    let mut wanted: Vec<String> = PLAIN
        .iter()
        .map(|(path, root, grouped, content)| format!("{path} {} {group} {content}", mode(root, grouped)))
        .collect();
    let (cpu, memory) = allocatable(kubectl);
    for (path, root, content) in [
        ("./down/podname", "400", name),
        ("./p-down/podname", "644", name),
        ("./down/moded", "444", name),
        ("./p-down/moded", "444", name),
        ("./p-all/name", "644", name),
        ("/sub/down", "400", name),
        ("./down/cpu_default", "400", &cpu),
        ("./down/memory_default", "400", &memory),
        ("./p-down/cpu_default", "644", &cpu),
        ("./p-down/memory_default", "644", &memory),
    ] {
        wanted.push(format!("{path} {} {group} {content}", if root == "400" { mode("400", "440") } else { root }));
    }
    let user = if group == 0 { 0 } else { 1000 };
    for dir in ["disk", "memory"] {
        wanted.extend(["644", "666", "777"].map(|mode| format!("{dir} {mode} {user} content")));
    }
    wanted.extend(
        ["shared from-free".into(), "expanded written".into(), "memory 1777 tmpfs".into()].map(|line: String| line),
    );
    wanted.push(format!("id {user}:{}", if group == 0 { 0 } else { 1002 }));
    wanted.retain(|line| group == 0 || line != "memory 1777 tmpfs");
    has(&said, &wanted.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.lines().any(|line| line.starts_with("./cm/dump.bin 644 ")), "{said}");
    assert!(!said.contains("./absent/"), "{said}");
    // With a group, directories carry it: the permissions for all stay.
    assert!(said.lines().any(|line| line.starts_with("disk 777 ") || line.starts_with("disk 2777 ")), "{said}");
}

/// CPUs and bytes that pods may use.
fn allocatable(kubectl: &Kubectl) -> (String, String) {
    let of = |resource: &str| kubectl.path(&["nodes"], &format!("{{.items[0].status.allocatable.{resource}}}"));
    let kib: u64 = of("memory").trim_end_matches("Ki").parse().expect("KiB");
    (of("cpu"), (kib * 1024).to_string())
}

#[test]
fn files_of_every_volume_have_their_content_mode_and_group_for_root_and_for_others() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("consume");
    let other = shared.kubectl.new_namespace("consume-other");
    other.ok(&["create", "secret", "generic", "key", "--from-literal=data-1=of-another-namespace"]);
    kubectl.apply(&FILES.replace("NAME", "root").replace("SECURITY", "{}"));
    kubectl.apply(
        &FILES.replace("NAME", "user").replace("SECURITY", "{runAsUser: 1000, runAsGroup: 1002, fsGroup: 1001}"),
    );
    files(&kubectl, "root", 0);
    files(&kubectl, "user", 1001);
}

#[test]
fn variables_identities_and_last_words_are_as_asked() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("environment");
    kubectl.apply(ENVIRONMENT);
    let variables = said(&kubectl, "environment", "variables");
    let fact = |path: &str| kubectl.path(&["pod", "environment"], path);
    let ((cpu, memory), host) = (allocatable(&kubectl), fact("{.status.hostIP}"));
    let own = [
        format!("POD_IP={}", fact("{.status.podIP}")),
        format!("HOST_IP={host}"),
        format!("HOST_IPS={host}"),
        format!("POD_UID={}", fact("{.metadata.uid}")),
        format!("FREE_CPU={cpu}"),
        format!("FREE_MEMORY={memory}"),
        format!("FRONT_SERVICE_HOST={}", kubectl.path(&["service", "front"], "{.spec.clusterIP}")),
        format!("{}\todd-name", fact("{.status.podIP}")),
    ];
    has(&variables, &own.iter().map(String::as_str).collect::<Vec<_>>());
    has(
        &variables,
        &[
            "data-1=value-1",
            "odd.key-2=value-2",
            "p_data-1=value-1",
            "p_odd.key-2=value-2",
            "s.data-1=secret-1",
            "CONFIG=value-1",
            "SECRET=secret-1",
            "POD_NAME=environment",
            "POD_NAMESPACE=environment",
            "CPU_LIMIT=2",
            "MEMORY_REQUEST=16777216",
            "COMPOSED=foo;;value-1;;$(FOO)",
            "FRONT_SERVICE_PORT=8765",
            "FRONT_SERVICE_PORT_WEB=8765",
            "zero=foo-zero args=foo-$(MISSING)-$(FOO)",
            "order=1 2",
            "# Kubernetes-managed hosts file.",
            "123.45.67.89\tfoo\tbar",
            "rmid=1",
        ],
    );
    let confined = said(&kubectl, "environment", "confined");
    has(&confined, &["id=65534:2002", "NoNewPrivs:\t1", "Seccomp:\t2", "# Kubernetes-managed hosts file."]);
    assert!(confined.contains("/x: Read-only file system") && confined.contains("not permitted"), "{confined}");
    let writable = said(&kubectl, "environment", "writable");
    // Whoever mounts a file of their own there gets that one.
    has(&writable, &["wrote", "NoNewPrivs:\t0", "Seccomp:\t0", "swap=0", "unmanaged", "managed=0"]);
    assert!(!said(&kubectl, "on-host", "main").contains("Kubernetes-managed hosts file.\n"));

    said(&kubectl, "words", "none");
    let words = kubectl.path(
        &["pod", "words"],
        "{range .status.containerStatuses[*]}{.name}={.state.terminated.message}:{.state.terminated.reason} {end}",
    );
    for word in ["from-file=OK:Completed", "from-log=DONE:Error", "none=:Completed", "elsewhere=THERE:Completed"] {
        assert!(words.split_whitespace().any(|w| w == word), "{word} is missing in {words}");
    }
}

#[test]
fn what_changes_in_the_api_changes_in_running_pods() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("refresh");
    for (kind, name) in [("configmap", "changed"), ("configmap", "deleted")] {
        kubectl.ok(&["create", kind, name, "--from-literal=k=old"]);
    }
    let secret = |name: &str, value: &str| {
        kubectl.ok(&["create", "secret", "generic", name, &format!("--from-literal=k={value}")]);
    };
    secret("changed", "old");
    secret("deleted", "old");
    let volume = |name: &str, source: &str| format!("  - {{name: {name}, {source}}}\n");
    let projected = |source: &str| format!("projected: {{sources: [{source}]}}");
    let volumes = [
        ("cm", "configMap: {name: changed, optional: true}".to_owned()),
        ("secret", "secret: {secretName: changed, optional: true}".to_owned()),
        ("gone", "configMap: {name: deleted, optional: true}".to_owned()),
        ("later", "configMap: {name: created, optional: true}".to_owned()),
        ("s-gone", "secret: {secretName: deleted, optional: true}".to_owned()),
        ("s-later", "secret: {secretName: created, optional: true}".to_owned()),
        ("ps-gone", projected("{secret: {name: deleted, optional: true}}")),
        ("ps-later", projected("{secret: {name: created, optional: true}}")),
        ("p-cm", projected("{configMap: {name: changed, optional: true}}")),
        ("p-secret", projected("{secret: {name: changed, optional: true}}")),
        ("p-gone", projected("{configMap: {name: deleted, optional: true}}")),
        ("p-later", projected("{configMap: {name: created, optional: true}}")),
        ("down", "downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}".to_owned()),
        (
            "p-down",
            projected("{downwardAPI: {items: [{path: a, fieldRef: {fieldPath: \"metadata.annotations['b']\"}}]}}"),
        ),
    ];
    let mounts: Vec<String> = volumes.iter().map(|(n, _)| format!("{{name: {n}, mountPath: /v/{n}}}")).collect();
    let volumes: String = volumes.iter().map(|(name, source)| volume(name, source)).collect();
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: reader, labels: {{l: old}}, annotations: {{b: old}}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  tolerations: [{{operator: Exists}}]\n  containers:\n  - name: main\n    \
         image: rk.local/busybox:demo\n    command: [sleep, '3600']\n    volumeMounts: [{}]\n  volumes:\n{volumes}",
        mounts.join(", ")
    ));
    super::pods::ready(&kubectl, "reader");
    let look = || {
        super::pods::sh(
            &kubectl,
            "reader",
            "cd /v; grep -r . $(find -L . -type f | grep -v '/\\.\\.') /dev/null | sort",
        )
    };
    let first = look().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(first.matches("old").count(), 10, "{first}");
    kubectl.ok(&["create", "configmap", "created", "--from-literal=k=new"]);
    secret("created", "new");
    kubectl.ok(&["delete", "configmap,secret", "deleted"]);
    for (kind, field) in [("configmap", "data"), ("secret", "stringData")] {
        kubectl.ok(&["patch", kind, "changed", "-p", &format!("{{\"{field}\":{{\"k\":\"new\"}}}}")]);
    }
    kubectl.ok(&["label", "--overwrite", "pod", "reader", "l=new"]);
    kubectl.ok(&["annotate", "--overwrite", "pod", "reader", "b=new"]);
    eventually("the changes", limit(120), || {
        let seen = look()?;
        if seen.matches("new").count() == 10 && !seen.contains("old") { Ok(()) } else { Err(seen) }
    });
    let restarts = kubectl.path(&["pod", "reader"], "{.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0");
}
