//! Who a container is and what it may do.

use rk_cri_api::v1::*;

use crate::client::{Cri, Pod};
use crate::{Result, must};

pub async fn confinement(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "confined", "sleep 1000", |_| ()).await?;
    let (seen, _) = cri.sh(&id, "grep -E 'Seccomp:|CapEff|CapBnd|NoNewPrivs' /proc/self/status /proc/1/status").await?;
    for wanted in
        ["/proc/1/status:Seccomp:\t2", "/proc/self/status:Seccomp:\t2", "CapEff:\t00000000a80425fb", "NoNewPrivs:\t0"]
    {
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

pub fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

pub async fn identity(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "user", "echo out > /dev/stdout; sleep 1000", |c| {
        security(c).run_as_user = Some(Int64Value { value: 1234 });
        security(c).supplemental_groups = vec![77];
        c.working_dir = "/made/for/it".into();
        c.envs = vec![KeyValue { key: "X".into(), value: b"a b\xff".to_vec() }];
    });
    let id = id.await?;
    let (seen, _) = cri.sh(&id, "id; pwd; echo \"X=$X\"; grep CapEff /proc/self/status; touch /root/x").await?;
    for wanted in ["uid=1234 gid=0", "77", "/made/for/it", "X=a b", "CapEff:\t0000000000000000", "ermission denied"] {
        must!(seen.contains(wanted), "{wanted:?} in {seen}");
    }
    let status = cri.status(&id).await?;
    must!(
        status.user.and_then(|u| u.linux).is_some_and(|u| u.uid == 1234 && u.supplemental_groups == [0, 77]),
        "the status's user"
    );
    must!(std::fs::read_to_string(&status.log_path)?.contains("stdout F out"), "{}", status.log_path);
    Ok(())
}

pub async fn mounts(mut cri: Cri, pod: Pod) -> Result<()> {
    std::fs::create_dir_all("/var/data")?;
    std::fs::write("/var/data/file", "content")?;
    let id = cri.run(&pod, "mounts", "sleep 1000", |c| {
        security(c).readonly_rootfs = true;
        security(c).masked_paths = vec!["/proc/kcore".into(), "/proc/acpi".into()];
        security(c).readonly_paths = vec!["/proc/sys".into()];
        let mount = |path: &str, readonly| Mount {
            container_path: path.into(),
            host_path: "/var/data".into(),
            readonly,
            ..Default::default()
        };
        c.mounts = vec![mount("/rw", false), mount("/ro", true)];
    });
    let id = id.await?;
    for (line, works) in [
        ("touch /x", false),
        ("cat /rw/file /ro/file", true),
        ("echo more >> /rw/file", true),
        ("echo more >> /ro/file", false),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward", false),
        ("test -s /proc/kcore && head -c1 /proc/kcore | grep -q .", false),
        ("echo x > /dev/shm/x", true),
        ("touch /etc/hosts", false),
        ("mount -t tmpfs x /mnt", false),
    ] {
        let (seen, code) = cri.sh(&id, line).await?;
        must!((code == 0) == works, "{line}: {code} {seen}");
    }
    Ok(())
}

pub async fn privileged(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "mighty", "sleep 1000", |c| security(c).privileged = true).await?;
    let (seen, code) = cri
        .sh(&id, "mkdir -p /mnt && mount -t tmpfs x /mnt && grep -E 'Seccomp:' /proc/self/status && ls -l /dev/kmsg")
        .await?;
    must!(code == 0 && seen.contains("Seccomp:\t0"), "{code} {seen}");
    Ok(())
}

pub async fn limits(mut cri: Cri, pod: Pod) -> Result<()> {
    let id = cri.run(&pod, "limited", "sleep 1000", |c| {
        c.linux.get_or_insert_default().resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            cpu_shares: 512,
            oom_score_adj: 900,
            ..Default::default()
        });
    });
    let id = id.await?;
    let read = |file: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/kubepods/podmain/{id}/{file}")).unwrap_or_default()
    };
    must!(
        read("memory.max") == "67108864\n" && read("cpu.max") == "50000 100000\n",
        "{} {}",
        read("memory.max"),
        read("cpu.max")
    );
    let (seen, _) = cri.sh(&id, "cat /proc/1/oom_score_adj /sys/fs/cgroup/memory.max").await?;
    must!(seen == "900\n67108864\n", "{seen}");
    let linux = Some(LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() });
    cri.runtime
        .update_container_resources(UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux,
            ..Default::default()
        })
        .await?;
    must!(read("memory.max") == "100663296\n", "{}", read("memory.max"));
    let shown = cri.status(&id).await?.resources.and_then(|r| r.linux).unwrap_or_default();
    must!(shown.memory_limit_in_bytes == 96 << 20 && shown.cpu_quota == 50_000, "{shown:?}");
    let stats = cri
        .runtime
        .container_stats(ContainerStatsRequest { container_id: id.clone() })
        .await?
        .into_inner()
        .stats
        .unwrap_or_default();
    must!(stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).is_some_and(|v| v.value > 0), "{stats:?}");
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats =
        cri.runtime.pod_sandbox_stats(request).await?.into_inner().stats.and_then(|s| s.linux).unwrap_or_default();
    must!(
        stats.network.as_ref().and_then(|n| n.default_interface.as_ref()).is_some_and(|i| i.name == "eth0"),
        "{stats:?}"
    );
    Ok(())
}

pub async fn sysctls(mut cri: Cri) -> Result<()> {
    let with = |name: &'static str| {
        move |c: &mut PodSandboxConfig| drop(c.linux.get_or_insert_default().sysctls.insert(name.into(), "1".into()))
    };
    let pod = cri.pod("sysctl", with("net.ipv4.ip_unprivileged_port_start")).await?;
    let id = cri.run(&pod, "one", "sleep 1000", |_| ()).await?;
    must!(cri.sh(&id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").await?.0 == "1\n", "the pod's value");
    must!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")? == "1024\n", "the node's value");
    cri.remove_pod(&pod).await?;
    let error =
        cri.pod("badsysctl", with("vm.overcommit_memory")).await.err().ok_or("the node's sysctl was let through")?;
    must!(error.to_string().contains("vm.overcommit_memory"), "{error}");
    Ok(())
}
