use rk_cri_api::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};

use crate::cgroup;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Changes the limits of a container that has not ended.
pub(crate) async fn update(runtime: &Runtime, request: UpdateContainerResourcesRequest) -> Result<()> {
    let container = runtime.tables.container(&request.container_id)?;
    let _step = container.step.lock().await;
    let record = container.get();
    // One that was removed meanwhile is not to be saved again.
    runtime.tables.container(&record.id)?;
    if record.ended.is_some() {
        return Err(Error::State(format!("container {:?} has ended", record.id)));
    }
    let wanted = request.linux.unwrap_or_default();
    if record.started_at > 0 {
        cgroup::apply(&record.cgroup, &wanted)?;
    }
    container.update(|record| {
        let linux = record.config.linux.get_or_insert_default();
        linux.resources = Some(merged(linux.resources.take().unwrap_or_default(), wanted));
    })?;
    Ok(())
}

/// `new` over `old`, where zero and empty mean "leave as it is".
fn merged(old: LinuxContainerResources, new: LinuxContainerResources) -> LinuxContainerResources {
    let number = |new: i64, old: i64| if new != 0 { new } else { old };
    let text = |new: String, old: String| if new.is_empty() { old } else { new };
    let mut unified = old.unified;
    unified.extend(new.unified);
    LinuxContainerResources {
        cpu_period: number(new.cpu_period, old.cpu_period),
        cpu_quota: number(new.cpu_quota, old.cpu_quota),
        cpu_shares: number(new.cpu_shares, old.cpu_shares),
        memory_limit_in_bytes: number(new.memory_limit_in_bytes, old.memory_limit_in_bytes),
        // Of the processes, not of the cgroup: they keep what they began with, as under other runtimes, and it is that which is told.
        oom_score_adj: old.oom_score_adj,
        cpuset_cpus: text(new.cpuset_cpus, old.cpuset_cpus),
        cpuset_mems: text(new.cpuset_mems, old.cpuset_mems),
        hugepage_limits: if new.hugepage_limits.is_empty() { old.hugepage_limits } else { new.hugepage_limits },
        unified,
        memory_swap_limit_in_bytes: number(new.memory_swap_limit_in_bytes, old.memory_swap_limit_in_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig;

    #[tokio::test]
    async fn what_is_removed_before_its_turn_to_change_is_not_there() {
        let request = UpdateContainerResourcesRequest { container_id: "c".into(), ..Default::default() };
        let heard = rig::removed_before_its_turn(|runtime| async move { update(&runtime, request).await }).await;
        assert!(matches!(heard, Err(Error::NotFound { .. })));
    }

    #[test]
    fn what_is_not_said_stays_and_so_does_the_score_of_what_runs() {
        let old = LinuxContainerResources {
            cpu_shares: 512,
            memory_limit_in_bytes: 1 << 20,
            oom_score_adj: 900,
            cpuset_cpus: "0".into(),
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        };
        let new = LinuxContainerResources {
            cpu_shares: 1024,
            oom_score_adj: -997,
            unified: [("memory.high".to_owned(), "9".to_owned())].into(),
            ..Default::default()
        };
        let got = merged(old.clone(), new);
        let unified = [("memory.oom.group".to_owned(), "1".to_owned()), ("memory.high".to_owned(), "9".to_owned())];
        assert_eq!(got, LinuxContainerResources { cpu_shares: 1024, unified: unified.into(), ..old });
    }
}
