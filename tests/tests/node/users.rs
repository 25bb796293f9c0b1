//! Pods with users of their own: root in the pod is nobody on the node, and yet all its files are its own.

use super::single;
use rk_tests::{Kubectl, eventually, limit};

const PODS: &str = include_str!("../../fixtures/users.yaml");

fn lines(kubectl: &Kubectl, pod: &str, container: &str, last: &str) -> Vec<String> {
    let mut said = String::new();
    eventually(&format!("{last} of {pod}/{container}"), limit(60), || {
        let answer = kubectl.run(&["logs", pod, "-c", container]);
        said = answer.out + &answer.err;
        if said.lines().any(|line| line.trim().starts_with(last)) { Ok(()) } else { Err(said.clone()) }
    });
    said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn has(lines: &[String], wanted: &[&str]) {
    let missing: Vec<_> = wanted.iter().filter(|want| !lines.iter().any(|line| line == *want)).collect();
    assert!(missing.is_empty(), "missing {missing:#?} in {lines:#?}");
}

#[test]
fn root_of_a_pod_with_its_own_users_owns_its_files_and_is_nobody_on_the_node() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("users");
    let feature = "{.items[0].status.runtimeHandlers[*].features.userNamespaces}";
    assert_eq!(kubectl.path(&["nodes"], feature), "true true");
    kubectl.apply(PODS);
    let main = lines(&kubectl, "own", "main", "ready");
    let map = main.iter().find_map(|line| line.strip_prefix("map ")).unwrap_or_default();
    let base: u32 = map.split(' ').nth(1).and_then(|id| id.parse().ok()).unwrap_or_default();
    assert!(base >= 65_536 && base.is_multiple_of(65_536), "{map}");
    assert_eq!(map, format!("0 {base} 65536 0 {base} 65536"));
    has(&main, &["id 0:0 sysctl 1 80 host odd-name", "null", "no mounts", "ready"]);
    for file in ["/bin/busybox", "/etc/passwd", "/secret/data-1", "/config/data-1", "/etc/hosts", "/etc/resolv.conf"] {
        has(&main, &[&format!("owner {file} 0"), &format!("read {file}")]);
    }
    for file in ["/etc/hostname", "/dev/shm", "/made/for/me", "/var/run/secrets/kubernetes.io/serviceaccount/token"] {
        has(&main, &[&format!("owner {file} 0")]);
    }
    for directory in ["/disk", "/memory", "/dev/shm", "/made/for/me", "/root", "/host"] {
        has(&main, &[&format!("wrote {directory} 1000")]);
    }
    // Privileged is privileged in the pod: no nodes of devices, as the kernel gives these to the node's root alone.
    has(&lines(&kubectl, "own", "other", "total"), &["mounted", "device", "no node"]);
    has(&lines(&kubectl, "own", "user", "wrote"), &["id 1000:2000", "wrote 1000:1001"]);
    let exec = kubectl.ok(&[
        "exec",
        "own",
        "-c",
        "main",
        "--",
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; echo > /disk/by-exec",
    ]);
    assert_eq!(exec.split_whitespace().collect::<Vec<_>>(), ["0", "0", &base.to_string(), "65536"]);
    let seen = lines(&kubectl, "shared", "main", "2 root");
    assert!(seen.iter().any(|line| line.contains("/pause")), "{seen:#?}");
    on_the_node(&kubectl, base);
}

/// What the node sees: processes of ids that nobody has there, files on disk with the pod's own ids, and the range in a file.
fn on_the_node(kubectl: &Kubectl, base: u32) {
    let uid = kubectl.path(&["pod", "own"], "{.metadata.uid}");
    eventually("the pod that looks at the node", limit(60), || {
        match kubectl.try_path(&["pod", "node"], "{.status.phase}")? {
            phase if phase == "Running" => Ok(()),
            phase => Err(phase),
        }
    });
    let sh = |script: &str| kubectl.ok(&["exec", "node", "--", "sh", "-c", script]);
    let kept = sh(&format!("cat /pods/{uid}/userns"));
    let ids = format!(r#"[{{"hostId":{base},"containerId":0,"length":65536}}]"#);
    assert_eq!(kept, format!(r#"{{"uidMappings":{ids},"gidMappings":{ids}}}"#));
    let disk = format!("/pods/{uid}/volumes/kubernetes.io~empty-dir/disk");
    assert_eq!(
        sh(&format!("stat -c %u {disk}/f {disk}/by-exec {disk}/by-user")).split_whitespace().collect::<Vec<_>>(),
        ["1000", "0", "1000"]
    );
    let users = sh(
        "for p in /proc/[0-9]*; do grep -q sleep $p/comm && grep -q 36000 $p/cmdline && echo $(grep Uid: $p/status); done 2>/dev/null; true",
    );
    for user in [base, base + 1000] {
        assert!(
            users.lines().any(|line| line.trim() == format!("Uid: {user} {user} {user} {user}")),
            "{user} in {users}"
        );
    }
}
