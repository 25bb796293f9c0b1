//! ResourceQuotas: keeps `status.used` true. Admission adds what comes; this loop takes off what goes. Both count by the rules of `rk-quota`.

use crate::context::Context;
use crate::discovery::{AnyMeta, Discovery};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use rk_api::meta::{Format, Quantity as Amount};
use rk_client::{BoxError, Change, Informer, Object, ObjectKey, Outcome, Queue, Verbs};
use rk_lenient::Lenient;
use rk_quota::{Named, Usage, is_shared};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Everything is counted again this often, in case somebody wrote a wrong `used`; upstream's full resync takes five times as long.
const RESYNC: Duration = Duration::from_secs(60);
/// Kinds that are only counted are not watched; they are counted this often while a quota limits them.
const RECOUNT: Duration = Duration::from_secs(5);
/// Everything is counted once more this soon after a count took something off: the quota that was read may hold what admission
/// charged for an object that the informers had not yet.
const AGAIN: Duration = Duration::from_secs(5);

/// What is to be counted for a quota.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Work {
    /// Everything.
    Whole(ObjectKey),
    /// Only kinds that are not watched. What admission charged for a pod a moment ago must not be taken back by the clock.
    Counted(ObjectKey),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Whole(key) | Self::Counted(key)) = self;
        key.fmt(f)
    }
}

struct Controller {
    client: kube::Client,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Lenient<Service>>,
    claims: Informer<PersistentVolumeClaim>,
    discovery: Discovery,
}

/// Starts the loop.
pub(crate) fn register(ctx: &Context) {
    let controller = Arc::new(Controller {
        client: ctx.client.clone(),
        quotas: ctx.informers.of(),
        pods: ctx.informers.of(),
        services: ctx.informers.of(),
        claims: ctx.informers.of(),
        discovery: Discovery::new(ctx.client.clone()),
    });
    let queue: Queue<Work> = Queue::default();
    let q = queue.clone();
    controller.quotas.on_change(move |change| {
        if matters(change) {
            q.add(Work::Whole(ObjectKey::of(change.object().as_ref())));
        }
    });
    let (q, quotas) = (queue.clone(), controller.quotas.clone());
    ctx.every(RESYNC, move || {
        quotas.list().iter().for_each(|quota| q.add(Work::Whole(ObjectKey::of(quota.as_ref()))));
        std::future::ready(())
    });
    let (q, quotas) = (queue.clone(), controller.quotas.clone());
    ctx.every(RECOUNT, move || {
        let limits = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
        let counts =
            |quota: &ResourceQuota| limits(quota).keys().any(|name| of_devices(name) || counted(name).is_some());
        let all = quotas.list();
        let due = all.iter().filter(|quota| counts(quota) && !quota.spec.as_ref().is_some_and(rk_quota::is_scoped));
        due.for_each(|quota| q.add(Work::Counted(ObjectKey::of(quota.as_ref()))));
        std::future::ready(())
    });
    on_release(&controller.pods, &controller.quotas, &queue, gives_back);
    on_release(&controller.services, &controller.quotas, &queue, |old, new| old.spec != new.spec);
    on_release(&controller.claims, &controller.quotas, &queue, |old, new| {
        let classes = |claim: &PersistentVolumeClaim| {
            let status = claim.status.clone().unwrap_or_default();
            (status.allocated_resources, status.current_volume_attributes_class_name, status.modify_volume_status)
        };
        old.spec != new.spec || classes(old) != classes(new)
    });
    ctx.work("resourcequota_primary", queue, 2, move |work| {
        let controller = Arc::clone(&controller);
        async move {
            match &work {
                Work::Whole(key) => controller.count_all(key).await,
                Work::Counted(key) => controller.recount(key).await,
            }
        }
    });
}

/// Whether a change of a quota asks for a count. Admission raises `used` before the object that it admits is stored: a count right
/// then would miss that object and take the raise back, and too many would be let in. What this loop wrote itself asks for none,
/// either: admission charges a new quota as soon as it has a status. Limits in the status that are not those of the spec do.
fn matters(change: &Change<ResourceQuota>) -> bool {
    let asked = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let told = |quota: &ResourceQuota| quota.status.as_ref().and_then(|status| status.hard.clone()).unwrap_or_default();
    match change {
        Change::Updated { old, new } => old.spec != new.spec || !same(&told(new), &asked(new)),
        Change::Added(_) | Change::Deleted(_) => true,
    }
}

/// Whether a pod takes less of anything than before, or another quota speaks of it.
fn gives_back(old: &Pod, new: &Pod) -> bool {
    let now = Timestamp::now();
    let usage = |pod: &Pod| rk_quota::of_pod(pod, now);
    rk_quota::is_terminating(old) != rk_quota::is_terminating(new)
        || !rk_quota::growth(&usage(old), &usage(new)).is_empty()
}

/// Counts again when something is given back. What is added is admission's business alone.
fn on_release<K: Object>(
    informer: &Informer<K>,
    quotas: &Informer<ResourceQuota>,
    queue: &Queue<Work>,
    matters: fn(&K, &K) -> bool,
) {
    let (quotas, queue) = (quotas.clone(), queue.clone());
    informer.on_change(move |change| {
        if matches!(change, Change::Added(_)) {
            return;
        }
        let due = quotas.in_namespace(change.object().meta().namespace.as_deref().unwrap_or_default());
        let relevant = match change {
            // Most namespaces have no quota: only for those that have is anything compared.
            Change::Updated { old, new } => !due.is_empty() && matters(old, new),
            Change::Added(_) => false,
            Change::Deleted(_) => true,
        };
        if relevant {
            due.iter().for_each(|quota| queue.add(Work::Whole(ObjectKey::of(quota.as_ref()))));
        }
    });
}

/// Whether a resource is the devices of a class, which ResourceClaims ask for.
fn of_devices(name: &str) -> bool {
    name.ends_with(rk_quota::DEVICES)
}

/// The older short names of counted resources, with their groups.
fn counted(name: &str) -> Option<(&str, &str)> {
    match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => Some((name, "")),
        _ => {
            let object = name.strip_prefix("count/")?;
            let (plural, group) = object.split_once('.').unwrap_or((object, ""));
            let typed = group.is_empty() && matches!(plural, "pods" | "services" | "persistentvolumeclaims");
            (!typed).then_some((plural, group))
        }
    }
}

impl Controller {
    /// The quota, unless it is going.
    fn living(&self, key: &ObjectKey) -> Option<Arc<ResourceQuota>> {
        self.quotas.get(key).filter(|quota| quota.metadata.deletion_timestamp.is_none())
    }

    async fn count_all(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(quota) = self.living(key) else { return Ok(Outcome::AwaitChange) };
        let spec = quota.spec.clone().unwrap_or_default();
        let hard = spec.hard.clone().unwrap_or_default();
        let (namespace, now) = (&key.namespace, Timestamp::now());
        let pods = self.pods.in_namespace(namespace).into_iter().filter(|pod| rk_quota::covers_pod(&spec, pod));
        let mut all: Vec<Usage> = pods.map(|pod| rk_quota::of_pod(&pod, now)).collect();
        let claims = self.claims.in_namespace(namespace).into_iter();
        let claims = claims.filter(|claim| rk_quota::covers_claim(&spec, claim));
        all.extend(claims.map(|claim| rk_quota::of_claim(&claim)));
        if !rk_quota::is_scoped(&spec) {
            let services = self.services.in_namespace(namespace);
            all.extend(services.iter().filter_map(|service| Some(rk_quota::of_service(service.spec.as_ref()?))));
            all.push(self.counts(namespace, &hard).await?);
            // Pods are charged for these, too: by the clock, what admission charged for one a moment ago would be taken back.
            all.push(self.devices(namespace, &hard, is_shared).await?);
        }
        let used = rk_quota::sum(all.into_iter(), &hard);
        let next = after(quota.status.as_ref(), &used);
        self.write(&quota, hard, written(used)).await?;
        Ok(next)
    }

    async fn recount(&self, key: &ObjectKey) -> Result<Outcome, BoxError> {
        let Some(quota) = self.living(key) else { return Ok(Outcome::AwaitChange) };
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
        let counts = self.counts(&key.namespace, &hard).await?;
        let known = quota.status.as_ref().filter(|status| status.hard.as_ref() == Some(&hard));
        let (Some(known), false) = (known.and_then(|status| status.used.clone()), counts.is_empty()) else {
            return Ok(Outcome::AwaitChange);
        };
        let used = known.into_iter().chain(written(counts)).collect();
        self.write(&quota, hard, used).await?;
        Ok(Outcome::AwaitChange)
    }

    /// How many there are of each limited kind that is only counted, and of the devices that claims ask for.
    async fn counts(&self, namespace: &str, hard: &BTreeMap<String, Quantity>) -> kube::Result<Usage> {
        let mut counts = Usage::new();
        for (name, (plural, group)) in hard.keys().filter_map(|name| Some((name, counted(name)?))) {
            let count = self.count(namespace, plural, group).await?;
            counts.insert(name.clone(), Amount::from_units(count, Format::DecimalSi));
        }
        counts.extend(self.devices(namespace, hard, of_devices).await?);
        Ok(counts)
    }

    /// What claims take of devices, as far as resources are limited that `counts` names.
    async fn devices(
        &self,
        namespace: &str,
        hard: &BTreeMap<String, Quantity>,
        counts: fn(&str) -> bool,
    ) -> kube::Result<Usage> {
        let limited = hard.iter().filter(|(name, _)| counts(name));
        let limited: BTreeMap<String, Quantity> = limited.map(|(name, most)| (name.clone(), most.clone())).collect();
        if limited.is_empty() {
            return Ok(Usage::new());
        }
        let api: Api<Lenient<ResourceClaim>> = Api::namespaced(self.client.clone(), namespace);
        let claims = api.list(&ListParams::default()).await?.items;
        if claims.is_empty() {
            return Ok(rk_quota::sum(std::iter::empty(), &limited));
        }
        let named = self.named().await?;
        let usage = |claim: &Lenient<ResourceClaim>| {
            let pod = rk_quota::owner_of_extended(claim).map(|name| ObjectKey::new(namespace, name));
            let pod = pod.and_then(|key| self.pods.get(&key));
            rk_quota::of_devices(claim, &named, pod.as_deref())
        };
        Ok(rk_quota::sum(claims.iter().map(usage), &limited))
    }

    /// The extended resources that device classes name.
    async fn named(&self) -> kube::Result<Named> {
        let classes = Api::<DeviceClass>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        let named =
            classes.into_iter().filter_map(|class| Some((class.metadata.name?, class.spec.extended_resource_name?)));
        Ok(named.collect())
    }

    async fn write(
        &self,
        quota: &ResourceQuota,
        hard: BTreeMap<String, Quantity>,
        used: BTreeMap<String, Quantity>,
    ) -> kube::Result<()> {
        if differs(quota.status.as_ref(), &hard, &used) {
            let status = ResourceQuotaStatus { hard: Some(hard), used: Some(used) };
            let changed = ResourceQuota { status: Some(status), ..quota.clone() };
            let written: ResourceQuota = self.client.replace_sub("status", &changed).await?;
            self.quotas.observe(written);
        }
        Ok(())
    }

    async fn count(&self, namespace: &str, plural: &str, group: &str) -> kube::Result<i64> {
        let served = self.discovery.served().await?;
        let Some(resource) =
            served.resources.iter().find(|r| r.api.plural == plural && r.api.group == group && r.can("list"))
        else {
            return Ok(0);
        };
        let api: Api<AnyMeta> = Api::namespaced_with(self.client.clone(), namespace, &resource.api);
        let page = api.list(&ListParams::default().limit(1)).await?;
        Ok(page.items.len() as i64 + page.metadata.remaining_item_count.unwrap_or(0))
    }
}

fn written(usage: Usage) -> BTreeMap<String, Quantity> {
    usage.into_iter().map(|(name, amount)| (name, Quantity(amount.to_string()))).collect()
}

/// What follows a count: another one if it is less than what the status says.
fn after(status: Option<&ResourceQuotaStatus>, used: &Usage) -> Outcome {
    let known = status.and_then(|status| status.used.as_ref()).into_iter().flatten();
    let known: Usage =
        known.map(|(name, amount)| (name.clone(), amount.0.parse::<Amount>().unwrap_or_default())).collect();
    if rk_quota::growth(&known, used).is_empty() { Outcome::AwaitChange } else { Outcome::RequeueAfter(AGAIN) }
}

/// Compares amounts, not texts: the server may write them differently.
fn same(a: &BTreeMap<String, Quantity>, b: &BTreeMap<String, Quantity>) -> bool {
    let equal = |v: &Quantity, w: &Quantity| v.0 == w.0 || v.0.parse::<Amount>() == w.0.parse::<Amount>();
    a.len() == b.len() && a.iter().all(|(name, v)| b.get(name).is_some_and(|w| equal(v, w)))
}

/// Whether a status says something else.
fn differs(
    status: Option<&ResourceQuotaStatus>,
    hard: &BTreeMap<String, Quantity>,
    used: &BTreeMap<String, Quantity>,
) -> bool {
    let Some(status) = status else { return true };
    let is = |told: Option<&BTreeMap<String, Quantity>>, counted| told.is_some_and(|told| same(told, counted));
    !is(status.hard.as_ref(), hard) || !is(status.used.as_ref(), used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quota(limit: &str, known: &str, used: &str) -> Arc<ResourceQuota> {
        let object =
            json!({"spec": {"hard": {"pods": limit}}, "status": {"hard": {"pods": known}, "used": {"pods": used}}});
        Arc::new(serde_json::from_value(object).expect("a quota"))
    }

    #[test]
    fn what_admission_charges_is_not_counted_at_once() {
        let from = quota("2", "2", "0");
        let to = |new: Arc<ResourceQuota>| matters(&Change::Updated { old: Arc::clone(&from), new });
        assert!(!to(quota("2", "2", "1")), "admission charged something");
        assert!(to(quota("3", "2", "0")), "the limit changed");
        assert!(to(quota("2", "9", "0")), "somebody wrote another limit into the status");
        assert!(matters(&Change::Added(Arc::clone(&from))));
        let fresh = Arc::new(ResourceQuota { status: None, ..(*from).clone() });
        let first = Change::Updated { old: Arc::clone(&fresh), new: from };
        assert!(!matters(&first), "the first count was written: admission charges from now on");
        let repaired = Change::Updated { old: quota("2", "9", "0"), new: quota("2", "2", "0") };
        assert!(!matters(&repaired), "the right limit is in the status again");
        assert!(matters(&Change::Updated { old: Arc::clone(&fresh), new: fresh }), "nothing was counted yet");
    }

    #[test]
    fn what_is_taken_off_is_counted_once_more() {
        let counted = |pods: &str| Usage::from([("pods".to_owned(), pods.parse::<Amount>().expect("an amount"))]);
        let quota = quota("5", "5", "2");
        let again = |pods: &str| match after(quota.status.as_ref(), &counted(pods)) {
            Outcome::RequeueAfter(delay) => Some(delay),
            Outcome::AwaitChange => None,
        };
        assert_eq!(again("1"), Some(AGAIN), "admission may have charged a pod that was not seen yet");
        assert_eq!(again("2"), None);
        assert_eq!(again("3"), None);
        assert!(matches!(after(None, &counted("0")), Outcome::AwaitChange), "the first count of a new quota");
    }

    #[test]
    fn a_pod_that_takes_less_is_counted_again() {
        let pod = |phase: &str, cpu: &str, deadline: Option<i64>| -> Pod {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
            let spec = json!({"containers": [container], "activeDeadlineSeconds": deadline});
            serde_json::from_value(json!({"spec": spec, "status": {"phase": phase}})).expect("a pod")
        };
        let before = pod("Running", "1", None);
        for (after, expected) in [
            (pod("Running", "1", None), false),
            (pod("Running", "2", None), false),
            (pod("Running", "500m", None), true),
            (pod("Succeeded", "1", None), true),
            (pod("Running", "1", Some(5)), true),
        ] {
            assert_eq!(gives_back(&before, &after), expected, "{after:?}");
        }
    }
}
