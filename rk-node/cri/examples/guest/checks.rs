//! The checks, in the order in which a node's life would bring them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rk_cri_api::v1::*;
use tonic::Code;

use crate::client::{Cri, IMAGE, Pod};
use crate::{Result, registry, streams};

/// Fails the check with what was seen.
#[macro_export]
macro_rules! must {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Err(format!("{} is false; saw {}", stringify!($condition), format!($($seen)+)).into());
        }
    };
}

struct Report {
    failed: u32,
}

impl Report {
    async fn check(&mut self, name: &str, work: impl Future<Output = Result<()>>) {
        let began = Instant::now();
        let outcome = match tokio::time::timeout(Duration::from_secs(90), work).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no end within 90 s".into()),
        };
        match outcome {
            Ok(()) => println!("ok {name} ({} ms)", began.elapsed().as_millis()),
            Err(error) => {
                self.failed += 1;
                println!("FAILED {name}: {error}");
            }
        }
    }
}

fn start_server() -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).arg("serve").spawn()?)
}

async fn answering(cri: &mut Cri) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while cri.runtime.version(VersionRequest::default()).await.is_err() {
        must!(Instant::now() < deadline, "no answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub async fn run(layout: PathBuf) -> Result<()> {
    std::fs::create_dir_all("/etc/cni/net.d")?;
    std::fs::write("/etc/cni/net.d/10-rk.conflist", CONFLIST)?;
    registry::serve(layout).await?;
    let mut server = start_server()?;
    let mut cri = Cri::new();
    let mut report = Report { failed: 0 };
    answering(&mut cri).await?;
    report.check("an image is pulled and listed under one id", pull(cri.clone())).await;
    let before = leftovers();
    let mut pod = Pod::default();
    match cri.pod("main", |_| ()).await {
        Ok(made) => pod = made,
        Err(error) => println!("FAILED to run the first pod: {error}"),
    }
    report.check("a pod has an address and its own namespaces", pod_status(cri.clone(), pod.clone())).await;
    report.check("output is logged in CRI form and survives rotation", logs(cri.clone(), pod.clone())).await;
    report.check("a container is confined as RuntimeDefault says", confinement(cri.clone(), pod.clone())).await;
    report.check("the container's identity is the one asked for", identity(cri.clone(), pod.clone())).await;
    report.check("exec tells exit codes, time-outs and missing commands", exec(cri.clone(), pod.clone())).await;
    report.check("exec and attach stream stdio and terminals", streams::run(cri.clone(), pod.clone())).await;
    report.check("a port of the pod is reached through the streaming server", streams::forward(cri.clone(), pod.clone())).await;
    report.check("a command that does not exist fails the start with its reason", missing(cri.clone(), pod.clone())).await;
    report.check("exit codes, signals and the OOM killer are told apart", exits(cri.clone(), pod.clone())).await;
    report.check("stopping is graceful, then not", stopping(cri.clone(), pod.clone())).await;
    report.check("limits reach the cgroup and can be changed; usage is reported", limits(cri.clone(), pod.clone())).await;
    report.check("a read-only root and mounts behave", mounts(cri.clone(), pod.clone())).await;
    report.check("a privileged container may do what others may not", privileged(cri.clone(), pod.clone())).await;
    report.check("containers of a pod can share processes", shared_pid(cri.clone())).await;
    report.check("a pod in the node's namespaces has the node's", host_pod(cri.clone())).await;
    report.check("sysctls of a pod are set, those of the node refused", sysctls(cri.clone())).await;
    report.check("a container outlives a kill of the server, and its end is known after", restart(cri.clone(), pod.clone(), &mut server)).await;
    report.check("a pod whose shim dies is lost and reported so", shim_death(cri.clone())).await;
    report.check("a created container is removed without a trace", unstarted(cri.clone(), pod.clone())).await;
    report.check("pods are quick and shims small", speed(cri.clone())).await;
    report.check("nothing is left of pods that were removed", clean(cri.clone(), pod, before)).await;
    let _ = server.kill();
    let _ = server.wait();
    println!("DONE {} failed", report.failed);
    Ok(())
}

async fn pull(mut cri: Cri) -> Result<()> {
    let image = || Some(ImageSpec { image: IMAGE.into(), ..Default::default() });
    let pulled = cri.images.pull_image(PullImageRequest { image: image(), ..Default::default() }).await?.into_inner().image_ref;
    let listed = cri.images.list_images(ListImagesRequest::default()).await?.into_inner().images;
    must!(listed.len() == 1 && listed[0].id == pulled && listed[0].size > 0, "{listed:?}");
    let status = cri.images.image_status(ImageStatusRequest { image: image(), verbose: true }).await?.into_inner();
    must!(status.image.is_some() && status.info.contains_key("info"), "{status:?}");
    let status = cri.runtime.status(StatusRequest::default()).await?.into_inner();
    must!(status.status.as_ref().is_some_and(|s| s.conditions.iter().all(|c| c.status)), "{status:?}");
    Ok(())
}

async fn pod_status(mut cri: Cri, pod: Pod) -> Result<()> {
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
    let answer = cri.runtime.pod_sandbox_status(request).await?.into_inner();
    let status = answer.status.clone().ok_or("no status")?;
    must!(status.state() == PodSandboxState::SandboxReady, "{status:?}");
    must!(status.network.as_ref().is_some_and(|n| n.ip.starts_with("10.244.0.")), "{status:?}");
    let id = cri.run(&pod, "names", "sleep 1000", |_| ()).await?;
    let (seen, _) = cri.sh(&id, "hostname; cat /etc/resolv.conf; df /dev/shm | tail -1; ip -o addr show eth0; ls -l /proc/1/exe").await?;
    for wanted in ["main\n", "nameserver 10.96.0.10", "65536", "10.244.0."] {
        must!(seen.contains(wanted), "{wanted:?} in {seen:?}");
    }
    let same = cri.pod("main", |_| ()).await.err().ok_or("a second pod of the same name was made")?;
    must!(same.to_string().contains("exists"), "{same}");
    Ok(())
}

async fn logs(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "logger", "echo one; echo two >&2; sleep 1; echo three; sleep 1000", |_| ()).await?;
    let path = Path::new("/var/log/pods/main/logger/0.log");
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    let wait = async |text: &str| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !read().contains(text) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    wait("two").await;
    must!(read().contains(" stdout F one\n") && read().contains(" stderr F two\n"), "{:?}", read());
    std::fs::rename(path, path.with_extension("log.1"))?;
    cri.runtime.reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() }).await?;
    wait("three").await;
    must!(read().ends_with(" stdout F three\n") && !read().contains("one"), "{:?}", read());
    Ok(())
}

async fn confinement(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "confined", "sleep 1000", |_| ()).await?;
    let (seen, _) = cri.sh(&id, "grep -E 'Seccomp:|CapEff|CapBnd|NoNewPrivs' /proc/self/status /proc/1/status").await?;
    for wanted in ["/proc/1/status:Seccomp:\t2", "/proc/self/status:Seccomp:\t2", "CapEff:\t00000000a80425fb", "NoNewPrivs:\t0"] {
        must!(seen.contains(wanted), "{wanted:?} in {seen}");
    }
    let (seen, code) = cri.sh(&id, "unshare -m true").await?;
    must!(code != 0, "{seen}");
    let (seen, code) = cri.sh(&id, "mknod /dev/disk b 254 0 && cat /dev/disk > /dev/null").await?;
    must!(code != 0 && seen.contains("not permitted"), "{code} {seen}");
    let (seen, code) = cri.sh(&id, "cat /dev/null && head -c 4 /dev/urandom | wc -c && echo > /dev/full").await?;
    must!(code != 0 && seen.contains('4'), "{code} {seen}");
    let nnp = cri.run(&pod, "nnp", "sleep 1000", |c| security(c).no_new_privs = true).await?;
    let (seen, _) = cri.sh(&nnp, "grep -E 'Seccomp:|NoNewPrivs' /proc/1/status").await?;
    must!(seen.contains("NoNewPrivs:\t1") && seen.contains("Seccomp:\t2"), "{seen}");
    let bad = cri.create(&pod, "noprofile", "true", |c| {
        security(c).seccomp = Some(SecurityProfile { profile_type: 2, localhost_ref: "/no/profile.json".into() });
    });
    must!(bad.await.is_err(), "a profile that does not exist was ignored");
    Ok(())
}

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

async fn identity(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "user", "echo out > /dev/stdout; sleep 1000", |c| {
        security(c).run_as_user = Some(Int64Value { value: 1234 });
        security(c).supplemental_groups = vec![77];
        c.working_dir = "/made/for/it".into();
        c.envs = vec![KeyValue { key: "X".into(), value: "a b".into() }];
    });
    let id = id.await?;
    let (seen, _) = cri.sh(&id, "id; pwd; echo \"X=$X\"; grep CapEff /proc/self/status; touch /root/x").await?;
    for wanted in ["uid=1234 gid=0", "77", "/made/for/it", "X=a b", "CapEff:\t0000000000000000", "ermission denied"] {
        must!(seen.contains(wanted), "{wanted:?} in {seen}");
    }
    let status = cri.status(&id).await?;
    must!(status.user.and_then(|u| u.linux).is_some_and(|u| u.uid == 1234 && u.supplemental_groups == [0, 77]), "the status's user");
    must!(std::fs::read_to_string(&status.log_path)?.contains("stdout F out"), "{}", status.log_path);
    Ok(())
}

async fn exec(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "exec", "sleep 1000", |_| ()).await?;
    must!(cri.sh(&id, "echo a; exit 3").await? == ("a\n".to_owned(), 3), "output or code");
    let (big, code) = cri.sh(&id, "head -c 3000000 /dev/zero").await?;
    must!(big.len() == 3_000_000 && code == 0, "{} {code}", big.len());
    let request = ExecSyncRequest { container_id: id.clone(), cmd: vec!["sleep".into(), "100".into()], timeout: 1 };
    let error = cri.runtime.exec_sync(request).await.err().ok_or("no time-out")?;
    must!(error.code() == Code::DeadlineExceeded, "{error}");
    let request = ExecSyncRequest { container_id: id.clone(), cmd: vec!["nope".into()], timeout: 5 };
    let error = cri.runtime.exec_sync(request).await.err().ok_or("a missing command ran")?;
    must!(error.message().contains(r#"exec: "nope": executable file not found in $PATH"#), "{error}");
    let (seen, _) = cri.sh(&id, "ps | grep -c '[s]leep 100$'").await?;
    must!(seen == "0\n", "the timed-out command lives: {seen}");
    Ok(())
}

async fn missing(mut cri: Cri, pod: Pod) -> Result<()> {
    for (name, command, text) in [
        ("none", "nope", r#"exec: "nope": executable file not found in $PATH"#),
        ("none2", "/no/pe", r#"exec: "/no/pe": stat /no/pe: no such file or directory"#),
        ("none3", "/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
    ] {
        let id = cri.create(&pod, name, "", |c| c.command = vec![command.into()]).await?;
        let error = cri.runtime.start_container(StartContainerRequest { container_id: id.clone() }).await.err().ok_or("it started")?;
        must!(error.message().contains(text), "{error}");
        let status = cri.status(&id).await?;
        must!(status.exit_code == 128 && status.reason == "StartError" && status.message.contains(text), "{status:?}");
    }
    Ok(())
}

async fn exits(mut cri: Cri, pod: Pod) -> Result<()> {
    for (name, script, code, reason) in [
        ("zero", "true", 0, "Completed"),
        ("seven", "exit 7", 7, "Error"),
        ("killed", "sh -c 'kill -9 $$'; exit $?", 137, "Error"),
        ("term", "trap 'exit 9' TERM; kill -TERM $$; sleep 1", 9, "Error"),
    ] {
        let id = cri.run(&pod, name, script, |_| ()).await?;
        let status = cri.ended(&id).await?;
        must!(status.exit_code == code && status.reason == reason && status.finished_at > status.started_at, "{status:?}");
    }
    let id = cri.run(&pod, "oom", "tail /dev/zero", |c| {
        c.linux.get_or_insert_default().resources = Some(LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() });
    });
    let id = id.await?;
    let status = cri.ended(&id).await?;
    must!(status.reason == "OOMKilled" && status.exit_code == 137, "{status:?}");
    Ok(())
}

async fn stopping(mut cri: Cri, pod: Pod) -> Result<()> {
    let graceful = cri.run(&pod, "graceful", "trap 'exit 4' TERM; while :; do sleep 0.1; done", |_| ()).await?;
    let stubborn = cri.run(&pod, "stubborn", "trap '' TERM; sleep 1000 & wait; wait", |_| ()).await?;
    for (id, timeout, code) in [(graceful, 20, 4), (stubborn, 1, 137)] {
        cri.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout }).await?;
        let status = cri.status(&id).await?;
        must!(status.exit_code == code && status.state() == ContainerState::ContainerExited, "{status:?}");
        cri.runtime.stop_container(StopContainerRequest { container_id: id, timeout }).await?;
    }
    Ok(())
}

async fn limits(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "limited", "sleep 1000", |c| {
        c.linux.get_or_insert_default().resources =
            Some(LinuxContainerResources { memory_limit_in_bytes: 64 << 20, cpu_quota: 50_000, cpu_period: 100_000, cpu_shares: 512, oom_score_adj: 900, ..Default::default() });
    });
    let id = id.await?;
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/kubepods/podmain/{id}/{file}")).unwrap_or_default();
    must!(read("memory.max") == "67108864\n" && read("cpu.max") == "50000 100000\n", "{} {}", read("memory.max"), read("cpu.max"));
    let (seen, _) = cri.sh(&id, "cat /proc/1/oom_score_adj /sys/fs/cgroup/memory.max").await?;
    must!(seen == "900\n67108864\n", "{seen}");
    let linux = Some(LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() });
    cri.runtime.update_container_resources(UpdateContainerResourcesRequest { container_id: id.clone(), linux, ..Default::default() }).await?;
    must!(read("memory.max") == "100663296\n", "{}", read("memory.max"));
    let shown = cri.status(&id).await?.resources.and_then(|r| r.linux).unwrap_or_default();
    must!(shown.memory_limit_in_bytes == 96 << 20 && shown.cpu_quota == 50_000, "{shown:?}");
    let stats = cri.runtime.container_stats(ContainerStatsRequest { container_id: id.clone() }).await?.into_inner().stats.unwrap_or_default();
    must!(stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).is_some_and(|v| v.value > 0), "{stats:?}");
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats = cri.runtime.pod_sandbox_stats(request).await?.into_inner().stats.and_then(|s| s.linux).unwrap_or_default();
    must!(stats.network.as_ref().and_then(|n| n.default_interface.as_ref()).is_some_and(|i| i.name == "eth0"), "{stats:?}");
    Ok(())
}

async fn mounts(mut cri: Cri, pod: Pod) -> Result<()> {
    std::fs::create_dir_all("/var/data")?;
    std::fs::write("/var/data/file", "content")?;
    let id = cri.run(&pod, "mounts", "sleep 1000", |c| {
        security(c).readonly_rootfs = true;
        security(c).masked_paths = vec!["/proc/kcore".into(), "/proc/acpi".into()];
        security(c).readonly_paths = vec!["/proc/sys".into()];
        let mount = |path: &str, readonly| Mount { container_path: path.into(), host_path: "/var/data".into(), readonly, ..Default::default() };
        c.mounts = vec![mount("/rw", false), mount("/ro", true)];
    });
    let id = id.await?;
    for (line, works) in [
        ("touch /x", false), ("cat /rw/file /ro/file", true), ("echo more >> /rw/file", true), ("echo more >> /ro/file", false),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward", false), ("test -s /proc/kcore && head -c1 /proc/kcore | grep -q .", false),
        ("echo x > /dev/shm/x", true), ("touch /etc/hosts", false), ("mount -t tmpfs x /mnt", false),
    ] {
        let (seen, code) = cri.sh(&id, line).await?;
        must!((code == 0) == works, "{line}: {code} {seen}");
    }
    Ok(())
}

async fn privileged(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "mighty", "sleep 1000", |c| security(c).privileged = true).await?;
    let (seen, code) = cri.sh(&id, "mkdir -p /mnt && mount -t tmpfs x /mnt && grep -E 'Seccomp:' /proc/self/status && ls -l /dev/kmsg").await?;
    must!(code == 0 && seen.contains("Seccomp:\t0"), "{code} {seen}");
    Ok(())
}

async fn shared_pid(mut cri: Cri) -> Result<()> {
    let pod = cri.pod("shared", |c| {
        let linux = c.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options = Some(NamespaceOption::default());
    });
    let pod = pod.await?;
    let one = cri.run(&pod, "one", "sleep 4321", |_| ()).await?;
    let two = cri.run(&pod, "two", "(sleep 0.1 &) ; sleep 4322", |_| ()).await?;
    let (seen, _) = cri.sh(&two, "sleep 0.5; ps").await?;
    must!(seen.contains("sleep 4321") && seen.contains("sleep 4322") && seen.contains("/pause") && !seen.contains("[sleep]"), "{seen}");
    let (seen, code) = cri.sh(&one, "ls /proc/1/root/").await?;
    must!(code != 0, "the pause process's root is open: {seen}");
    cri.runtime.stop_container(StopContainerRequest { container_id: one, timeout: 0 }).await?;
    must!(cri.sh(&two, "true").await?.1 == 0, "the other container died");
    cri.remove_pod(&pod).await
}

async fn host_pod(mut cri: Cri) -> Result<()> {
    let pod = cri.pod("hosted", |c| {
        c.hostname = String::new();
        let node = NamespaceMode::Node.into();
        let linux = c.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options = Some(NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() });
    });
    let pod = pod.await?;
    let id = cri.run(&pod, "one", "sleep 1000 & sleep 1001", |_| ()).await?;
    let (seen, _) = cri.sh(&id, "ps; ip -o link; wget -q -O - http://127.0.0.1:5000/v2/ && echo reached").await?;
    must!(seen.contains("guest check") && seen.contains("cni0") && seen.contains("reached"), "{seen}");
    cri.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await?;
    let left = Command::new("/bin/busybox").args(["pgrep", "-f", "sleep 100[01]$"]).output()?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    let mine: Vec<_> = left.lines().filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|c| c.contains(&id))).collect();
    must!(mine.is_empty(), "processes outlived their container: {mine:?}");
    cri.remove_pod(&pod).await
}

async fn sysctls(mut cri: Cri) -> Result<()> {
    let with = |name: &'static str| move |c: &mut PodSandboxConfig| drop(c.linux.get_or_insert_default().sysctls.insert(name.into(), "1".into()));
    let pod = cri.pod("sysctl", with("net.ipv4.ip_unprivileged_port_start")).await?;
    let id = cri.run(&pod, "one", "sleep 1000", |_| ()).await?;
    must!(cri.sh(&id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").await?.0 == "1\n", "the pod's value");
    must!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")? == "1024\n", "the node's value");
    cri.remove_pod(&pod).await?;
    let error = cri.pod("badsysctl", with("vm.overcommit_memory")).await.err().ok_or("the node's sysctl was let through")?;
    must!(error.to_string().contains("vm.overcommit_memory"), "{error}");
    Ok(())
}

async fn restart(mut cri: Cri, pod: Pod, server: &mut Child) -> Result<()> {
    let stays = cri.run(&pod, "stays", "while :; do echo tick; sleep 0.2; done", |_| ()).await?;
    let ends = cri.run(&pod, "ends", "sleep 1; exit 5", |_| ()).await?;
    let pid_before = cri.sh(&stays, "echo $PPID; cat /proc/1/stat | cut -d' ' -f22").await?.0;
    server.kill()?;
    server.wait()?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    *server = start_server()?;
    answering(&mut cri).await?;
    let status = cri.ended(&ends).await?;
    must!(status.exit_code == 5 && status.reason == "Error", "{status:?}");
    must!(cri.status(&stays).await?.state() == ContainerState::ContainerRunning, "the container died with the server");
    let after = cri.sh(&stays, "echo $PPID; cat /proc/1/stat | cut -d' ' -f22").await?.0;
    must!(after == pid_before, "{pid_before:?} became {after:?}");
    cri.runtime.stop_container(StopContainerRequest { container_id: stays, timeout: 0 }).await?;
    Ok(())
}

async fn shim_death(mut cri: Cri) -> Result<()> {
    let pod = cri.pod("lost", |_| ()).await?;
    let id = cri.run(&pod, "one", "sleep 1000", |_| ()).await?;
    let pid = std::fs::read_to_string(format!("/run/rk/sandboxes/{}/shim.pid", pod.id))?;
    Command::new("/bin/busybox").args(["kill", "-9", pid.trim()]).status()?;
    let status = cri.ended(&id).await?;
    must!(status.exit_code == 255 && status.reason == "Unknown", "{status:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
        let state = cri.runtime.pod_sandbox_status(request).await?.into_inner().status.unwrap_or_default().state();
        if state == PodSandboxState::SandboxNotready {
            break;
        }
        must!(Instant::now() < deadline, "the pod is still ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cri.remove_pod(&pod).await
}

async fn unstarted(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.create(&pod, "unstarted", "true", |_| ()).await?;
    must!(cri.status(&id).await?.state() == ContainerState::ContainerCreated, "its state");
    for _ in 0..2 {
        cri.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await?;
    }
    must!(cri.status(&id).await.is_err(), "it is still known");
    must!(!Path::new(&format!("/var/lib/rk/images/snapshots/{id}")).exists(), "its snapshot is still there");
    Ok(())
}

async fn speed(mut cri: Cri) -> Result<()> {
    let mut pods = Vec::new();
    let (mut sandbox, mut create, mut start) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for n in 0..5 {
        let began = Instant::now();
        let pod = cri.pod(&format!("speed{n}"), |_| ()).await?;
        sandbox += began.elapsed();
        let began = Instant::now();
        let id = cri.create(&pod, "one", "sleep 1000", |_| ()).await?;
        create += began.elapsed();
        let began = Instant::now();
        cri.start(&id).await?;
        start += began.elapsed();
        pods.push(pod);
    }
    println!("   mean of 5: sandbox {} ms, create {} ms, start {} ms", sandbox.as_millis() / 5, create.as_millis() / 5, start.as_millis() / 5);
    for pod in &pods {
        let pid = std::fs::read_to_string(format!("/run/rk/sandboxes/{}/shim.pid", pod.id))?;
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap_or_default();
        let kib = |key: &str| rollup.lines().find_map(|l| l.strip_prefix(key)).and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
        println!("   shim: rss {} KiB, private dirty {} KiB, proportional {} KiB", kib("Rss:"), kib("Private_Dirty:"), kib("Pss:"));
        must!(kib("Private_Dirty:") < 1024, "{rollup}");
        cri.remove_pod(pod).await?;
    }
    Ok(())
}

/// What a pod may leave behind: mounts, namespaces, cgroups, directories.
fn leftovers() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut all: Vec<String> = mounts.lines().filter_map(|l| l.split_whitespace().nth(1)).map(str::to_owned).collect();
    for dir in ["/run/netns", "/run/rk/sandboxes", "/var/lib/rk/cri/sandboxes", "/var/lib/rk/cri/containers", "/var/lib/rk/images/snapshots", "/sys/class/net"] {
        all.extend(std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path().to_string_lossy().into_owned()));
    }
    all.sort();
    all
}

async fn clean(mut cri: Cri, pod: Pod, before: Vec<String>) -> Result<()> {
    cri.remove_pod(&pod).await?;
    cri.remove_pod(&pod).await?;
    let after: Vec<_> = leftovers().into_iter().filter(|path| !before.contains(path) && !path.ends_with("/cni0")).collect();
    must!(after.is_empty(), "{after:#?}");
    let shims = Command::new("/bin/busybox").args(["pgrep", "rk-shim"]).output()?;
    must!(shims.stdout.is_empty(), "shims live: {}", String::from_utf8_lossy(&shims.stdout));
    let listed = cri.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    must!(listed.is_empty(), "{listed:?}");
    Ok(())
}

const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "rk", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}}]}"#;
