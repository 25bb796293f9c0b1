//! What a container goes through and what is told of it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rk_cri_api::v1::*;
use tonic::Code;

use crate::client::{Cri, IMAGE, Pod};
use crate::{Result, must};

pub async fn pull(mut cri: Cri) -> Result<()> {
    let image = || Some(ImageSpec { image: IMAGE.into(), ..Default::default() });
    let pulled =
        cri.images.pull_image(PullImageRequest { image: image(), ..Default::default() }).await?.into_inner().image_ref;
    let listed = cri.images.list_images(ListImagesRequest::default()).await?.into_inner().images;
    must!(listed.len() == 1 && listed[0].id == pulled && listed[0].size > 0, "{listed:?}");
    let status = cri.images.image_status(ImageStatusRequest { image: image(), verbose: true }).await?.into_inner();
    must!(status.image.is_some() && status.info.contains_key("info"), "{status:?}");
    let status = cri.runtime.status(StatusRequest::default()).await?.into_inner();
    must!(status.status.as_ref().is_some_and(|s| s.conditions.iter().all(|c| c.status)), "{status:?}");
    Ok(())
}

pub async fn pod_status(mut cri: Cri, pod: Pod) -> Result<()> {
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
    let answer = cri.runtime.pod_sandbox_status(request).await?.into_inner();
    let status = answer.status.clone().ok_or("no status")?;
    must!(status.state() == PodSandboxState::SandboxReady, "{status:?}");
    must!(status.network.as_ref().is_some_and(|n| n.ip.starts_with("10.244.0.")), "{status:?}");
    let id = cri.run(&pod, "names", "sleep 1000", |_| ()).await?;
    let (seen, _) = cri
        .sh(&id, "hostname; cat /etc/resolv.conf; df /dev/shm | tail -1; ip -o addr show eth0; ls -l /proc/1/exe")
        .await?;
    for wanted in ["main\n", "nameserver 10.96.0.10", "65536", "10.244.0."] {
        must!(seen.contains(wanted), "{wanted:?} in {seen:?}");
    }
    let same = cri.pod("main", |_| ()).await.err().ok_or("a second pod of the same name was made")?;
    must!(same.to_string().contains("exists"), "{same}");
    Ok(())
}

pub async fn logs(mut cri: Cri, pod: Pod) -> Result<()> {
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

pub async fn exec(mut cri: Cri, pod: Pod) -> Result<()> {
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

pub async fn missing(mut cri: Cri, pod: Pod) -> Result<()> {
    for (name, command, text) in [
        ("none", "nope", r#"exec: "nope": executable file not found in $PATH"#),
        ("none2", "/no/pe", r#"exec: "/no/pe": stat /no/pe: no such file or directory"#),
        ("none3", "/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
    ] {
        let id = cri.create(&pod, name, "", |c| c.command = vec![command.into()]).await?;
        let error = cri
            .runtime
            .start_container(StartContainerRequest { container_id: id.clone() })
            .await
            .err()
            .ok_or("it started")?;
        must!(error.message().contains(text), "{error}");
        let status = cri.status(&id).await?;
        must!(status.exit_code == 128 && status.reason == "StartError" && status.message.contains(text), "{status:?}");
    }
    Ok(())
}

pub async fn exits(mut cri: Cri, pod: Pod) -> Result<()> {
    for (name, script, code, reason) in [
        ("zero", "true", 0, "Completed"),
        ("seven", "exit 7", 7, "Error"),
        ("killed", "sh -c 'kill -9 $$'; exit $?", 137, "Error"),
        ("term", "trap 'exit 9' TERM; kill -TERM $$; sleep 1", 9, "Error"),
    ] {
        let id = cri.run(&pod, name, script, |_| ()).await?;
        let status = cri.ended(&id).await?;
        must!(
            status.exit_code == code && status.reason == reason && status.finished_at > status.started_at,
            "{status:?}"
        );
    }
    let id = cri.run(&pod, "oom", "tail /dev/zero", |c| {
        c.linux.get_or_insert_default().resources =
            Some(LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() });
    });
    let id = id.await?;
    let status = cri.ended(&id).await?;
    must!(status.reason == "OOMKilled" && status.exit_code == 137, "{status:?}");
    Ok(())
}

pub async fn stopping(mut cri: Cri, pod: Pod) -> Result<()> {
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

pub async fn shared_pid(mut cri: Cri) -> Result<()> {
    let pod = cri.pod("shared", |c| {
        let linux = c.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options = Some(NamespaceOption::default());
    });
    let pod = pod.await?;
    let one = cri.run(&pod, "one", "sleep 4321", |_| ()).await?;
    let two = cri.run(&pod, "two", "(sleep 0.1 &) ; sleep 4322", |_| ()).await?;
    let (seen, _) = cri.sh(&two, "sleep 0.5; ps").await?;
    must!(
        seen.contains("sleep 4321")
            && seen.contains("sleep 4322")
            && seen.contains("/pause")
            && !seen.contains("[sleep]"),
        "{seen}"
    );
    let (seen, code) = cri.sh(&one, "ls /proc/1/root/").await?;
    must!(code != 0, "the pause process's root is open: {seen}");
    cri.runtime.stop_container(StopContainerRequest { container_id: one, timeout: 0 }).await?;
    must!(cri.sh(&two, "true").await?.1 == 0, "the other container died");
    cri.remove_pod(&pod).await
}

pub async fn host_pod(mut cri: Cri) -> Result<()> {
    let pod = cri.pod("hosted", |c| {
        c.hostname = String::new();
        let node = NamespaceMode::Node.into();
        let linux = c.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().namespace_options =
            Some(NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() });
    });
    let pod = pod.await?;
    let id = cri.run(&pod, "one", "sleep 1000 & sleep 1001", |_| ()).await?;
    let (seen, _) = cri.sh(&id, "ps; ip -o link; wget -q -O - http://127.0.0.1:5000/v2/ && echo reached").await?;
    must!(seen.contains("guest check") && seen.contains("cni0") && seen.contains("reached"), "{seen}");
    cri.runtime.stop_container(StopContainerRequest { container_id: id.clone(), timeout: 0 }).await?;
    let left = Command::new("/bin/busybox").args(["pgrep", "-f", "sleep 100[01]$"]).output()?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    let mine: Vec<_> = left
        .lines()
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|c| c.contains(&id)))
        .collect();
    must!(mine.is_empty(), "processes outlived their container: {mine:?}");
    cri.remove_pod(&pod).await
}

pub async fn unstarted(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.create(&pod, "unstarted", "true", |_| ()).await?;
    must!(cri.status(&id).await?.state() == ContainerState::ContainerCreated, "its state");
    for _ in 0..2 {
        cri.runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await?;
    }
    must!(cri.status(&id).await.is_err(), "it is still known");
    must!(!Path::new(&format!("/var/lib/rk/images/snapshots/{id}")).exists(), "its snapshot is still there");
    Ok(())
}

pub async fn speed(mut cri: Cri) -> Result<()> {
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
    println!(
        "   mean of 5: sandbox {} ms, create {} ms, start {} ms",
        sandbox.as_millis() / 5,
        create.as_millis() / 5,
        start.as_millis() / 5
    );
    for pod in &pods {
        let pid = std::fs::read_to_string(format!("/run/rk/sandboxes/{}/shim.pid", pod.id))?;
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap_or_default();
        let kib = |key: &str| {
            rollup
                .lines()
                .find_map(|l| l.strip_prefix(key))
                .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        println!(
            "   shim: rss {} KiB, private dirty {} KiB, proportional {} KiB",
            kib("Rss:"),
            kib("Private_Dirty:"),
            kib("Pss:")
        );
        must!(kib("Private_Dirty:") < 1024, "{rollup}");
        cri.remove_pod(pod).await?;
    }
    Ok(())
}
