//! When pods have to leave devices that drivers taint.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice,
};
use rk_client::tolerates_device;
use std::sync::Arc;

/// Name of the index of slices, and of claims by what they have, by pools of devices.
pub(super) const BY_POOL: &str = "device-pool";

/// The [`BY_POOL`] value of a driver's pool; a driver's name has no slash.
fn pool(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

/// The pool of a slice.
pub(super) fn pool_of(slice: &ResourceSlice) -> String {
    pool(&slice.spec.driver, &slice.spec.pool.name)
}

/// The devices that a claim has.
fn devices(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    allocation
        .and_then(|allocation| allocation.devices.as_ref())
        .into_iter()
        .flat_map(|own| own.results.iter().flatten())
}

/// The pools of the devices that a claim has, each once.
pub(super) fn pools_of(claim: &ResourceClaim) -> Vec<String> {
    let mut pools: Vec<String> = devices(claim).map(|device| pool(&device.driver, &device.pool)).collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

/// What a slice says of taints; `generation` first, since only the highest of a pool counts.
pub(super) fn told(slice: &ResourceSlice) -> (i64, Vec<(&str, &[DeviceTaint])>) {
    let taints = slice.spec.devices.iter().flatten().filter_map(|device| {
        let taints = device.taints.as_deref().filter(|taints| !taints.is_empty())?;
        Some((device.name.as_str(), taints))
    });
    (slice.spec.pool.generation, taints.collect())
}

/// The taints of a device, as the current slices of its pool have them, by which pods are evicted.
fn evicting<'a>(slices: &'a [Arc<ResourceSlice>], name: &'a str) -> impl Iterator<Item = &'a DeviceTaint> {
    let current = slices.iter().map(|slice| slice.spec.pool.generation).max();
    let current = slices.iter().filter(move |slice| Some(slice.spec.pool.generation) == current);
    let device = current.flat_map(|slice| slice.spec.devices.iter().flatten()).find(|device| device.name == name);
    device.into_iter().flat_map(|device| device.taints.iter().flatten()).filter(|taint| taint.effect == "NoExecute")
}

/// When a taint ends who uses the device; `None` if it is tolerated for ever. A taint without a time came just now.
fn end(taint: &DeviceTaint, tolerations: &[DeviceToleration], now: Timestamp) -> Option<Timestamp> {
    let since = taint.time_added.as_ref().map_or(now, |time| time.0);
    let mut patience: Option<i64> = None;
    for toleration in tolerations.iter().filter(|toleration| tolerates_device(toleration, taint)) {
        let seconds = toleration.toleration_seconds?.max(0);
        patience = Some(patience.map_or(seconds, |known| known.min(seconds)));
    }
    let patience = SignedDuration::from_secs(patience.unwrap_or(0));
    Some(since.saturating_add(patience).unwrap_or(Timestamp::MAX))
}

/// When the pods that use a claim have to go; `None` as long as they may stay. `slices` are those of a pool.
pub(super) fn due(
    claim: &ResourceClaim,
    slices: impl Fn(&str) -> Vec<Arc<ResourceSlice>>,
    now: Timestamp,
) -> Option<Timestamp> {
    let end_of = |device: &DeviceRequestAllocationResult| {
        let slices = slices(&pool(&device.driver, &device.pool));
        let tolerations = device.tolerations.as_deref().unwrap_or_default();
        evicting(&slices, &device.device).filter_map(|taint| end(taint, tolerations, now)).min()
    };
    devices(claim).filter_map(end_of).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(generation: i64, taints: Value) -> Arc<ResourceSlice> {
        let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "d", "devices": [{"name": "other"}, {"name": "x", "taints": taints}],
            "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1}}});
        Arc::new(serde_json::from_value(slice).expect("a slice"))
    }

    fn claim(device: &str, tolerations: Value) -> ResourceClaim {
        let result = json!({"request": "r", "driver": "d", "pool": "p", "device": device, "tolerations": tolerations});
        let claim = json!({"metadata": {"name": "c"}, "spec": {}, "status": {"allocation": {"devices": {"results": [result]}}}});
        serde_json::from_value(claim).expect("a claim")
    }

    fn time(second: u32) -> Timestamp {
        format!("2026-01-01T00:00:{second:02}Z").parse().expect("a time")
    }

    #[test]
    fn who_does_not_tolerate_a_taint_of_its_device_goes() {
        let taint = |key: &str, effect: &str, since: &str| json!({"key": key, "value": "v", "effect": effect, "timeAdded": since});
        let bad = taint("bad", "NoExecute", "2026-01-01T00:00:10Z");
        let worse = taint("worse", "NoExecute", "2026-01-01T00:00:20Z");
        let any = json!({"operator": "Exists"});
        let patient = |key: &str, seconds: i64| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        for (taints, device, tolerations, wanted) in [
            (json!([bad]), "x", json!([]), Some(time(10))),
            (json!([bad]), "other", json!([]), None),
            (json!([taint("bad", "NoSchedule", "2026-01-01T00:00:10Z")]), "x", json!([]), None),
            (json!([bad]), "x", json!([any]), None),
            (json!([bad]), "x", json!([{"key": "bad", "value": "v"}]), None),
            (json!([bad]), "x", json!([{"key": "bad", "value": "other"}]), Some(time(10))),
            (json!([bad]), "x", json!([{"operator": "Exists", "effect": "NoSchedule"}]), Some(time(10))),
            (json!([bad]), "x", json!([patient("bad", 30), patient("bad", 5)]), Some(time(15))),
            (json!([bad]), "x", json!([patient("bad", -1)]), Some(time(10))),
            (json!([bad]), "x", json!([patient("bad", 5), any]), None),
            // What ends first counts.
            (json!([bad, worse]), "x", json!([patient("bad", 30)]), Some(time(20))),
            (json!([{"key": "new", "effect": "NoExecute"}]), "x", json!([]), Some(time(50))),
        ] {
            let due = due(&claim(device, tolerations.clone()), |_| vec![slice(1, taints.clone())], time(50));
            assert_eq!(due, wanted, "{taints} {tolerations}");
        }
    }

    #[test]
    fn only_the_newest_slices_of_the_device_s_pool_count() {
        let bad = json!([{"key": "bad", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:10Z"}]);
        let claim = claim("x", json!([]));
        let of = |slices: Vec<Arc<ResourceSlice>>| {
            due(&claim, |pool| if pool == "d/p" { slices.clone() } else { Vec::new() }, time(50))
        };
        assert_eq!(of(vec![slice(1, bad.clone()), slice(2, json!([]))]), None);
        assert_eq!(of(vec![slice(1, json!([])), slice(2, bad.clone())]), Some(time(10)));
        assert_eq!(of(Vec::new()), None);
        assert_eq!(pools_of(&claim), ["d/p"]);
        assert_eq!(pool_of(&slice(1, bad)), "d/p");
    }
}
