//! What hostile and unlucky pods do to their node: nothing that lasts, and nothing to their neighbours.

use super::pods::{pod, ready, sh};
use super::single;
use rk_tests::{Kubectl, eventually, limit, number};
use std::thread;

/// A privileged pod that sees the node's processes, links and files.
fn inspector(kubectl: &Kubectl) {
    let more = "  hostPID: true\n  hostNetwork: true\n";
    kubectl.apply(&pod("inspector", "exec sleep 36000", more, "    securityContext: {privileged: true}\n"));
    ready(kubectl, "inspector");
}

/// What a node holds for its pods: processes, mounts, namespaces, cgroups, links, addresses and files.
const HOLDINGS: &str = "cd /proc/1/root; echo shims=$(pidof rk-shim | wc -w) mounts=$(wc -l < /proc/1/mountinfo) \
     netns=$(ls run/netns | wc -l) cgroups=$(find sys/fs/cgroup/kubepods -type d -name 'pod*' | wc -l) \
     veths=$(ls /sys/class/net | grep -c veth) addresses=$(find var/lib/cni/networks -name '*.*.*.*' | wc -l) \
     sandboxes=$(ls run/rk/sandboxes | wc -l) pods=$(ls var/lib/kubelet/pods | wc -l)";

/// Waits until the node holds what it held before.
fn back_to(kubectl: &Kubectl, before: &str, seconds: u64) {
    eventually("what was held is given back", limit(seconds), || match sh(kubectl, "inspector", HOLDINGS)? {
        now if now == before => Ok(()),
        now => Err(format!("{now} instead of {before}")),
    });
}

fn node_is_ready(kubectl: &Kubectl) {
    let path = "{.items[0].status.conditions[?(@.type==\"Ready\")].status}";
    eventually("a ready node", limit(60), || match kubectl.try_path(&["nodes"], path)?.as_str() {
        "True" => Ok(()),
        seen => Err(seen.to_owned()),
    });
}

fn delete(kubectl: &Kubectl, what: &[&str]) {
    kubectl.ok(&[&["delete", "--wait=true", "--timeout=240s"], what].concat());
}

#[test]
fn links_in_volumes_and_in_the_place_of_logs_lead_nowhere() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("links");
    let container = |name: &str, sub: &str| {
        format!(
            "  - {{name: {name}, image: rk.local/busybox:demo, command: [sleep, '3600'], \
             volumeMounts: [{{name: v, mountPath: /v, subPath: {sub:?}}}]}}\n"
        )
    };
    let (root, up, device) = (container("root", "root/etc"), container("up", "up"), container("device", "device"));
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: escape}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         tolerations: [{{operator: Exists}}]\n  volumes: [{{name: v, emptyDir: {{}}}}]\n  initContainers:\n  \
         - {{name: links, image: rk.local/busybox:demo, volumeMounts: [{{name: v, mountPath: /v}}], command: [sh, -c, \
         'cd /v; ln -s / root; ln -s ../../../../../../../etc up; ln -s /proc/1/root device; mkdir real; ln -s real inside']}}\n  \
         containers:\n{root}{up}{device}{}",
        container("good", "inside")
    ));
    let path = "{range .status.containerStatuses[*]}{.name}:{.state.waiting.reason}{.state.running.startedAt} {end}";
    eventually("three refusals beside a neighbour that runs", limit(60), || {
        let seen = kubectl.try_path(&["pod", "escape"], path)?;
        let refused =
            ["root", "up", "device"].iter().all(|name| seen.contains(&format!("{name}:CreateContainerConfigError")));
        if refused && seen.contains("good:2") { Ok(()) } else { Err(seen) }
    });
    let message = kubectl.path(&["pod", "escape"], "{.status.containerStatuses[*].state.waiting.message}");
    assert!(message.contains("failed to prepare subPath"), "{message}");

    let host = "  volumes: [{name: l, hostPath: {path: /var/log/pods}}]\n";
    let script = "echo mine; until [ -e /go ]; do sleep 0.2; done; cd /logs/links_thief_*/main && rm 0.log && ln -s /run/rk/machine.json 0.log; sleep 3600";
    kubectl.apply(&pod("thief", script, host, "    volumeMounts: [{name: l, mountPath: /logs}]\n"));
    ready(&kubectl, "thief");
    eventually("its words", limit(30), || match kubectl.ok(&["logs", "thief"]).trim() {
        "mine" => Ok(()),
        said => Err(said.to_owned()),
    });
    sh(&kubectl, "thief", "touch /go; until [ -L /logs/links_thief_*/main/0.log ]; do sleep 0.2; done")
        .expect("a link");
    let answer = kubectl.run(&["logs", "thief"]);
    assert!(
        !answer.out.contains("token") && !answer.out.contains("cluster"),
        "a file of the node was read: {answer:?}"
    );
}

#[test]
fn a_link_or_a_pipe_in_the_place_of_the_next_log_is_not_written_and_its_pod_ends() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("nextlog");
    inspector(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let host = "  volumes: [{name: l, hostPath: {path: /var/log/pods}}]\n";
    for (name, trap) in [("linker", "ln -s /run/rk/written-by-a-link 1.log"), ("piper", "mkfifo 1.log")] {
        // The second run of the container would log there.
        let script = format!("cd /logs/nextlog_{name}_*/main && {trap}; exit 1");
        kubectl.apply(&pod(name, &script, host, "    volumeMounts: [{name: l, mountPath: /logs}]\n"));
        eventually("a refusal to write there", limit(90), || {
            let path = format!("{{range .items[?(@.involvedObject.name==\"{name}\")]}}{{.message}} {{end}}");
            let told = kubectl.try_path(&["events"], &path)?;
            if told.contains("open the container's log file") { Ok(()) } else { Err(told) }
        });
        delete(&kubectl, &["pod", name]);
    }
    sh(&kubectl, "inspector", "! test -e /proc/1/root/run/rk/written-by-a-link")
        .expect("nothing is written through it");
    back_to(&kubectl, &before, 60);
    node_is_ready(&kubectl);
}

#[test]
fn a_fork_bomb_ends_with_its_own_pod() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("bomb");
    inspector(&kubectl);
    kubectl.apply(&pod("neighbour", "exec sleep 36000", "", ""));
    ready(&kubectl, "neighbour");
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let limits = "    resources: {limits: {memory: 40Mi, cpu: 300m}}\n";
    kubectl.apply(&pod("bomb", "bomb() { bomb | bomb & }; bomb; sleep 3600", "  restartPolicy: Never\n", limits));
    eventually("the end of the bomb", limit(120), || {
        let seen = kubectl.try_path(&["pod", "bomb"], "{.status.containerStatuses[0].state.terminated.reason}")?;
        if seen == "OOMKilled" { Ok(()) } else { Err(seen) }
    });
    sh(&kubectl, "neighbour", "true").expect("the neighbour answers");
    let restarts = kubectl.path(&["pod", "neighbour"], "{.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0");
    node_is_ready(&kubectl);
    delete(&kubectl, &["pod", "bomb"]);
    back_to(&kubectl, &before, 60);
}

#[test]
fn many_execs_at_once_and_cut_ones_leave_nothing_behind() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("execs");
    inspector(&kubectl);
    kubectl.apply(&pod("target", "exec sleep 36000", "", ""));
    ready(&kubectl, "target");
    // Descriptors and threads of everything that a stream passes through.
    let open = "for p in $(pidof rk-node) $(pidof rk-shim); do ls /proc/$p/fd | wc -l; done | sort | tr '\\n' ' '";
    sh(&kubectl, "target", "true").expect("a first one opens what stays open");
    let before = sh(&kubectl, "inspector", open).expect("descriptors");
    thread::scope(|scope| {
        for lane in 0..6 {
            let kubectl = kubectl.clone();
            scope.spawn(move || {
                for turn in 0..8 {
                    let word = format!("{lane}-{turn}");
                    let said = sh(&kubectl, "target", &format!("head -c 100000 /dev/zero | wc -c; echo {word}"));
                    assert_eq!(
                        said.as_deref().map(|s| s.split_whitespace().collect::<Vec<_>>()),
                        Ok(vec!["100000", word.as_str()])
                    );
                }
            });
        }
    });
    for turn in 0..4 {
        let log = shared.artifacts.work.join(format!("cut-{turn}.log"));
        let cut = kubectl.start(&["exec", "target", "--", "yes"], &log);
        eventually("some output", limit(30), || {
            if cut.said().is_empty() { Err(()) } else { Ok(()) }.map_err(|()| "none".to_owned())
        });
        drop(cut);
    }
    eventually("the end of what nobody reads", limit(60), || match sh(&kubectl, "target", "pidof yes; true")?.trim() {
        "" => Ok(()),
        seen => Err(seen.to_owned()),
    });
    let all = |text: &str| text.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
    eventually("the descriptors of before", limit(60), || {
        let now = sh(&kubectl, "inspector", open)?;
        // A kept-alive connection more or less is no leak; one for each of dozens of streams is.
        if all(&now) <= all(&before) + 12 { Ok(()) } else { Err(format!("{now} after {before}")) }
    });
}

/// Kills the node agent or a pod's shim, one a moment, while pods are made anew for those that die. `RK_STORM` says how often.
const STORM: &str = r#"
for turn in $(seq 14); do
  if [ $((turn % 3)) = 0 ]; then kill -9 $(pidof rk-node); else
    victim=$(for p in $(pidof sleep); do tr '\0' ' ' < /proc/$p/cmdline | grep -q 777 && echo $p; done | sed -n "$((turn % 4 + 1))p")
    [ -n "$victim" ] && kill -9 $(awk '/^PPid/ {print $2}' /proc/$victim/status)
  fi
  sleep 2
done
touch /over
"#;

#[test]
fn killing_the_node_agent_and_shims_at_random_leaks_nothing() {
    let shared = single();
    let kubectl = shared.kubectl.new_namespace("storm");
    inspector(&kubectl);
    kubectl.apply(&pod("bystander", "exec sleep 36000", "", ""));
    ready(&kubectl, "bystander");
    let identity = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
    let container = kubectl.path(&["pod", "bystander"], identity);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    kubectl.apply(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: churn}\nspec:\n  replicas: 4\n  selector: {matchLabels: {app: churn}}\n  \
         template:\n    metadata: {labels: {app: churn}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      \
         tolerations: [{operator: Exists}]\n      volumes: [{name: m, emptyDir: {medium: Memory}}]\n      containers:\n      \
         - {name: main, image: rk.local/busybox:demo, command: [sleep, '777'], volumeMounts: [{name: m, mountPath: /m}]}\n",
    );
    let rolled = ["rollout", "status", "deployment/churn", &format!("--timeout={}s", limit(90).as_secs())];
    kubectl.ok(&rolled);
    // The stream would die with the node agent: the storm goes on without it.
    // Two seconds each: with `RK_LONG` for ten minutes.
    let turns = number("RK_STORM", 14, 300);
    let storm = STORM.replace("seq 14", &format!("seq {turns}"));
    sh(&kubectl, "inspector", &format!("cat > /storm <<'END'{storm}END\nsetsid sh /storm > /log 2>&1 < /dev/null &"))
        .expect("a storm");
    eventually("the end of the storm", limit(50 + 5 * turns as u64), || sh(&kubectl, "inspector", "cat /over /log"));
    node_is_ready(&kubectl);
    kubectl.ok(&rolled);
    assert_eq!(kubectl.path(&["pod", "bystander"], identity), container);
    delete(&kubectl, &["deployment", "churn"]);
    eventually("no pod of the storm", limit(90), || {
        match kubectl.try_path(&["pods", "-l", "app=churn"], "{.items[*].metadata.name}")?.as_str() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
    back_to(&kubectl, &before, 120);
}
