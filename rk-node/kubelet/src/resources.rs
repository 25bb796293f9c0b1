//! Quality of service and the cgroup values that follow from requests and limits.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_cri_api::v1 as cri;

use crate::oom_score::oom_score_adj;
use crate::pod::spec;
use crate::quantity::{milli_of, units, units_of};

/// Period of CPU quotas, microseconds.
const CPU_PERIOD: i64 = 100_000;
/// Smallest quota that the kernel takes.
const MIN_QUOTA: i64 = 1000;
/// Shares of a container that asks for nothing.
const MIN_SHARES: i64 = 2;
/// Most shares that the kernel takes.
const MAX_SHARES: i64 = 262_144;

/// Quality-of-service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Something is asked for, but not that.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl Qos {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

fn requirements(pod: &Pod) -> Vec<ResourceRequirements> {
    if let Some(own) =
        pod.spec.as_ref().and_then(|s| s.resources.clone()).filter(|r| r.requests.is_some() || r.limits.is_some())
    {
        return vec![own];
    }
    spec::init_containers(pod)
        .iter()
        .chain(spec::app_containers(pod))
        .map(|c| c.resources.clone().unwrap_or_default())
        .collect()
}

fn positive(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    Some(milli_of(list, name)).filter(|v| *v > 0)
}

/// The class of a pod.
pub fn qos_class(pod: &Pod) -> Qos {
    let all = requirements(pod);
    let asks = |r: &ResourceRequirements| {
        ["cpu", "memory"]
            .iter()
            .any(|n| positive(r.requests.as_ref(), n).is_some() || positive(r.limits.as_ref(), n).is_some())
    };
    if !all.iter().any(asks) {
        return Qos::BestEffort;
    }
    let guaranteed = all.iter().all(|r| {
        ["cpu", "memory"].iter().all(|n| {
            let limit = positive(r.limits.as_ref(), n);
            // A request that is left out equals its limit.
            limit.is_some() && positive(r.requests.as_ref(), n).is_none_or(|request| Some(request) == limit)
        })
    });
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// CPU shares for a request in millicores.
pub fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 { MIN_SHARES } else { (milli_cpu * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// cgroup v2 weight for shares: the range 2..262144 onto 1..10000.
pub fn weight(shares: i64) -> i64 {
    1 + ((shares - 2).max(0) * 9999) / 262_142
}

/// CPU quota in microseconds per period for a limit in millicores; zero means none.
pub fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 { 0 } else { (milli_cpu * CPU_PERIOD / 1000).max(MIN_QUOTA) }
}

fn effective_request(container: &Container, name: &str) -> i64 {
    let resources = container.resources.as_ref();
    let request = milli_of(resources.and_then(|r| r.requests.as_ref()), name);
    let limit = milli_of(resources.and_then(|r| r.limits.as_ref()), name);
    if asks(container, name) { request } else { limit }
}

fn asks(container: &Container, name: &str) -> bool {
    container.resources.as_ref().and_then(|r| r.requests.as_ref()).is_some_and(|r| r.contains_key(name))
}

/// Limits of the pod as a whole.
fn pod_limits(pod: &Pod) -> Option<&BTreeMap<String, Quantity>> {
    pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref())
}

/// The CRI resources of one container. Where it has no limit of its own it is held to the pod's, as upstream: programs read their
/// bounds from their own cgroup.
pub fn container_resources(pod: &Pod, container: &Container, node_memory: i64) -> cri::LinuxContainerResources {
    let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
    let in_force = |name: &str| if milli_of(limits, name) > 0 { limits } else { pod_limits(pod) };
    let cpu_limit = milli_of(in_force("cpu"), "cpu");
    let memory_limit = units_of(in_force("memory"), "memory");
    let cpu = if asks(container, "cpu") { effective_request(container, "cpu") } else { cpu_limit };
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(cpu_limit),
        cpu_shares: shares(cpu),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score_adj(pod, container, node_memory),
        hugepage_limits: huge_page_limits(pod, limits),
        ..Default::default()
    }
}

/// The container's own limits, and the pod's for those sizes of which it names none: these are for all containers together.
fn huge_page_limits(pod: &Pod, own: Option<&BTreeMap<String, Quantity>>) -> Vec<cri::HugepageLimit> {
    let mut limits = hugepages(own);
    for limit in hugepages(pod_limits(pod)) {
        if !limits.iter().any(|own| own.page_size == limit.page_size) {
            limits.push(limit);
        }
    }
    limits
}

fn hugepages(limits: Option<&BTreeMap<String, Quantity>>) -> Vec<cri::HugepageLimit> {
    limits
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let page_size = page_size_of(name)?;
            let bytes = units(&value.0)?;
            Some(cri::HugepageLimit { page_size, limit: u64::try_from(bytes).ok()? })
        })
        .collect()
}

/// The size of huge pages that a resource such as `hugepages-2Mi` stands for, as the kernel names it in files of cgroups.
fn page_size_of(resource: &str) -> Option<String> {
    let bytes = units(resource.strip_prefix("hugepages-")?)?;
    Some(page_size(u64::try_from(bytes).ok()? / 1024))
}

/// A size of huge pages as the kernel names it in files of cgroups: `2MB`, `1GB`.
pub fn page_size(kib: u64) -> String {
    match (kib >> 20, kib >> 10) {
        (0, 0) => format!("{kib}KB"),
        (0, mib) => format!("{mib}MB"),
        (gib, _) => format!("{gib}GB"),
    }
}

/// Adds what a container does not ask for and is held to all the same, as upstream does: no huge page of a size that it names no
/// limit of, and, with `whole`, an end of all of its processes when memory ends one: nothing half-dead is left.
pub fn hold(resources: &mut cri::LinuxContainerResources, page_sizes: &[String], whole: bool) {
    let limits = &mut resources.hugepage_limits;
    for size in page_sizes {
        if !limits.iter().any(|limit| limit.page_size == *size) {
            limits.push(cri::HugepageLimit { page_size: size.clone(), limit: 0 });
        }
    }
    if whole {
        resources.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
}

/// The files that bound a pod's huge pages of these sizes, bytes: what it names no limit of is not for it.
pub fn pod_huge_pages(pod: &Pod, page_sizes: &[String]) -> Vec<(String, u64)> {
    let containers = spec::app_containers(pod).iter().chain(spec::init_containers(pod));
    let lists = containers.filter_map(|c| c.resources.as_ref()?.limits.as_ref());
    let names: BTreeSet<&String> = lists.chain(pod_limits(pod)).flat_map(BTreeMap::keys).collect();
    let limit = |size: &String| {
        let name = names.iter().find(|name| page_size_of(name).as_ref() == Some(size));
        name.map_or(0, |name| u64::try_from(pod_total(pod, name, true) / 1000).unwrap_or(0))
    };
    page_sizes.iter().map(|size| (format!("hugetlb.{size}.max"), limit(size))).collect()
}

/// CPU in thousandths that the Burstable ones among pods ask for together.
pub fn burstable_request<'a>(pods: impl Iterator<Item = &'a Pod>) -> i64 {
    let burstable = pods.filter(|pod| qos_class(pod) == Qos::Burstable);
    burstable.map(|pod| pod_total(pod, "cpu", false)).fold(0, i64::saturating_add)
}

/// Requests or limits of a pod's containers together: the larger of what apps (with sidecars) and any init step need.
pub fn of_containers(pod: &Pod, of: impl Fn(&Container) -> i64) -> i64 {
    let apps: i64 = spec::app_containers(pod).iter().map(&of).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for container in spec::init_containers(pod) {
        if spec::is_sidecar(container) {
            sidecars += of(container);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(container));
        }
    }
    (apps + sidecars).max(peak)
}

/// Requests or limits of a whole pod: its own, else those of its containers together, plus overhead.
pub fn pod_total(pod: &Pod, name: &str, limits: bool) -> i64 {
    let of = |c: &Container| {
        if limits {
            milli_of(c.resources.as_ref().and_then(|r| r.limits.as_ref()), name)
        } else {
            effective_request(c, name)
        }
    };
    let mut total = of_containers(pod, of);
    if let Some(own) = pod.spec.as_ref().and_then(|s| s.resources.as_ref()) {
        let list = if limits { own.limits.as_ref() } else { own.requests.as_ref() };
        if list.is_some_and(|l| l.contains_key(name)) {
            total = milli_of(list, name);
        }
    }
    total + milli_of(pod.spec.as_ref().and_then(|s| s.overhead.as_ref()), name)
}

/// Whether every app container and sidecar limits the resource: only then may the pod as a whole be limited.
pub fn all_limited(pod: &Pod, name: &str) -> bool {
    if pod_limits(pod).is_some_and(|l| l.contains_key(name)) {
        return true;
    }
    let mut containers = spec::app_containers(pod).iter().chain(spec::init_containers(pod));
    containers.all(|c| milli_of(c.resources.as_ref().and_then(|r| r.limits.as_ref()), name) > 0)
}

/// The files of a pod's cgroup: name and value. Unless it is `throttled` it may use its CPUs all the time, whatever its limit.
pub fn pod_cgroup(pod: &Pod, throttled: bool) -> Vec<(&'static str, String)> {
    let mut files = vec![("cpu.weight", weight(shares(pod_total(pod, "cpu", false))).to_string())];
    // Limits are always written: a resize may have taken one away.
    let cpu = (throttled && all_limited(pod, "cpu")).then(|| quota(pod_total(pod, "cpu", true)).to_string());
    files.push(("cpu.max", format!("{} {CPU_PERIOD}", cpu.as_deref().unwrap_or("max"))));
    let memory = all_limited(pod, "memory").then(|| (pod_total(pod, "memory", true) / 1000).to_string());
    files.push(("memory.max", memory.unwrap_or_else(|| "max".into())));
    files
}

/// The cgroup of a pod below the root, as the CRI wants it: absolute, cgroupfs style.
pub fn cgroup_parent(pod: &Pod) -> String {
    let uid = spec::uid(pod);
    match qos_class(pod) {
        Qos::Guaranteed => format!("/kubepods/pod{uid}"),
        Qos::Burstable => format!("/kubepods/burstable/pod{uid}"),
        Qos::BestEffort => format!("/kubepods/besteffort/pod{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        for (resources, want) in [
            (json!([{"name": "a"}]), Qos::BestEffort),
            (json!([{"name": "a", "resources": {"requests": {"cpu": "0"}}}]), Qos::BestEffort),
            (json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]), Qos::Guaranteed),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}}]),
                Qos::Guaranteed,
            ),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1m"}}}]),
                Qos::Burstable,
            ),
            (
                json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {"name": "b"}]),
                Qos::Burstable,
            ),
            (json!([{"name": "a", "resources": {"requests": {"memory": "1"}}}]), Qos::Burstable),
        ] {
            assert_eq!(qos_class(&pod(resources.clone())), want, "{resources}");
        }
    }

    #[test]
    fn shares_weights_and_quotas_are_the_kernels() {
        assert_eq!((shares(0), shares(1), shares(1000), shares(10_000_000)), (2, 2, 1024, 262_144));
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
        assert_eq!((quota(0), quota(5), quota(250)), (0, 1000, 25_000));
    }

    #[test]
    fn huge_pages_that_a_container_does_not_ask_for_are_not_for_it_and_it_ends_as_a_whole() {
        let pod = pod(json!([
            {"name": "a", "resources": {"limits": {"hugepages-2Mi": "6Mi", "cpu": "1"}}},
            {"name": "b", "resources": {"limits": {"hugepages-2Mi": "4Mi"}}},
            {"name": "c"}]));
        let sizes = [2 << 10, 1 << 20, 64].map(page_size);
        assert_eq!(sizes, ["2MB", "1GB", "64KB"]);
        for (index, whole, want) in [(0, true, 6 << 20), (1, false, 4 << 20), (2, true, 0)] {
            let mut resources = container_resources(&pod, &spec::app_containers(&pod)[index], 1 << 30);
            hold(&mut resources, &sizes, whole);
            let limits = resources.hugepage_limits.iter().map(|l| (l.page_size.as_str(), l.limit));
            assert_eq!(limits.collect::<Vec<_>>(), [("2MB", want), ("1GB", 0), ("64KB", 0)], "{index}");
            let group = resources.unified.get("memory.oom.group").map(String::as_str);
            assert_eq!(group, whole.then_some("1"), "{index}");
        }
        let of_pod = pod_huge_pages(&pod, &sizes);
        let want = [("hugetlb.2MB.max", 10 << 20), ("hugetlb.1GB.max", 0), ("hugetlb.64KB.max", 0)];
        assert_eq!(of_pod, want.map(|(file, limit)| (file.to_owned(), limit)));
    }

    #[test]
    fn a_container_without_limits_is_held_to_those_of_its_pod() {
        let own = json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}});
        let mut pod = pod(
            json!([{"name": "a", "resources": own}, {"name": "b"}, {"name": "c", "resources": {"requests": {"cpu": "1"}}}]),
        );
        let seen = |pod: &Pod| {
            [0, 1, 2].map(|index| {
                let found = container_resources(pod, &spec::app_containers(pod)[index], 1 << 30);
                (found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes)
            })
        };
        let before = seen(&pod);
        assert_eq!(before[0], (256, 50_000, 64 << 20));
        assert_eq!((before[1].2, before[2].2), (0, 0));
        let whole = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
        pod.spec.as_mut().unwrap().resources = Some(serde_json::from_value(whole).unwrap());
        let limited = [before[0], (2048, 200_000, 1 << 30), (1024, 200_000, 1 << 30)];
        assert_eq!(seen(&pod), limited);
    }

    #[test]
    fn huge_pages_of_the_pod_as_a_whole_are_for_each_of_its_containers() {
        let mut pod = pod(json!([{"name": "a", "resources": {"limits": {"hugepages-2Mi": "4Mi"}}}, {"name": "b"}]));
        let limits = json!({"limits": {"hugepages-2Mi": "8Mi", "cpu": "1"}});
        pod.spec.as_mut().unwrap().resources = Some(serde_json::from_value(limits).unwrap());
        for (index, want) in [(0, 4 << 20), (1, 8 << 20)] {
            let mut resources = container_resources(&pod, &spec::app_containers(&pod)[index], 1 << 30);
            hold(&mut resources, &["2MB".to_owned(), "1GB".to_owned()], false);
            let limits = resources.hugepage_limits.iter().map(|l| (l.page_size.as_str(), l.limit));
            assert_eq!(limits.collect::<Vec<_>>(), [("2MB", want), ("1GB", 0)], "{index}");
        }
    }

    #[test]
    fn burstable_pods_ask_for_the_sum_of_their_requests() {
        let cpu = |request: &str| pod(json!([{"name": "a", "resources": {"requests": {"cpu": request}}}]));
        let guaranteed = pod(json!([{"name": "a", "resources": {"limits": {"cpu": "4", "memory": "1Gi"}}}]));
        let only_memory = pod(json!([{"name": "a", "resources": {"requests": {"memory": "1Gi"}}}]));
        let pods = [cpu("500m"), cpu("2"), guaranteed, only_memory, pod(json!([{"name": "a"}]))];
        assert_eq!(burstable_request(pods.iter()), 2500);
        assert_eq!(burstable_request([].iter()), 0);
    }

    #[test]
    fn a_pods_request_is_the_peak_of_init_steps_and_apps() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}],
            "overhead": {"cpu": "10m"}}}))
        .unwrap();
        assert_eq!(pod_total(&pod, "cpu", false), 2110);
    }
}
