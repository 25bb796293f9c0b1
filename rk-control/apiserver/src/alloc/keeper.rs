//! The loop that keeps ServiceCIDRs and IPAddresses true to what Services hold; level-triggered, safe to run in every server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::ranges::{self, Step};
use super::records::{self, Owner, named_owner};
use super::{addresses, lock};
use crate::front_door::write;
use crate::keeper::keep;
use crate::server::Core;

/// Changes that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(300);
/// How often everything is compared without a reason.
const PERIOD: Duration = Duration::from_secs(180);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// A record may be older than its Service by a moment: it is written first. Upstream's figure.
const ORPHAN_AGE: Duration = Duration::from_secs(60);

const NETWORKING: &str = "networking.k8s.io";
/// What upstream's controller of the default ServiceCIDR calls itself in events.
const COMPONENT: &str = "kubernetes-service-cidr-controller";

/// Runs until shutdown.
pub async fn run(core: Arc<Core>) {
    keep(core, RETRY, "Service ranges and addresses could not be compared", turn).await;
}

/// Compares everything until nothing is left to write: what a server does before it calls itself ready.
///
/// # Errors
/// What could not be read or written.
pub async fn settle(core: &Arc<Core>) -> Result<(), Status> {
    repair(core).await?;
    // A range takes two steps: its finalizer, then its status.
    for _ in 0..3 {
        if !tend(core).await? {
            break;
        }
    }
    Ok(())
}

/// Compares everything, then waits for a change.
async fn turn(core: &Arc<Core>) -> Result<(), Status> {
    let mut ranges = core.cache(NETWORKING, "v1", "servicecidrs").await?.subscribe();
    let mut records = core.cache(NETWORKING, "v1", "ipaddresses").await?.subscribe();
    let orphans = repair(core).await?;
    tend(core).await?;
    let period = if orphans { ORPHAN_AGE } else { PERIOD };
    // A cache that ends is loaded anew by the next turn.
    tokio::select! {
        _ = ranges.changed() => {}
        _ = records.changed() => {}
        () = tokio::time::sleep(period) => {}
    }
    tokio::time::sleep(GATHER).await;
    Ok(())
}

/// Gives every address of a Service its record and takes away records of what no Service has. Tells whether some are left that
/// are too young to judge.
async fn repair(core: &Arc<Core>) -> Result<bool, Status> {
    // Nothing is chosen meanwhile: a record that no Service accounts for may be claimed by a change that is under way.
    let _gate = core.services.gate.lock().await;
    let claimed = lock(&core.services.pending).claimed();
    let records = core.objects(NETWORKING, "v1", "ipaddresses", "").await?;
    let mut held: HashMap<IpAddr, Vec<Owner>> = HashMap::new();
    for service in core.storage.all_cached(&core.resource("", "v1", "services")?, "").await? {
        let owner: Owner = (service.namespace.to_string(), service.name.to_string());
        for address in addresses::of(service.addressing()) {
            held.entry(address).or_default().push(owner.clone());
        }
    }
    let known: HashMap<IpAddr, &Value> =
        records.iter().filter_map(|record| Some((meta::name(record).parse().ok()?, record))).collect();
    for (address, owners) in &held {
        let Some(owner) = owners.first() else { continue };
        match known.get(address).map(|record| named_owner(record)) {
            Some(Some(named)) if owners.contains(&named) => {}
            Some(named) => {
                tracing::warn!(%address, ?named, ?owner, "the record of a Service's address was not its own; it is rewritten");
                records::rewrite(core, *address, owner).await?;
            }
            None => drop(records::claim(core, *address, owner).await?),
        }
    }
    let mut young = false;
    for (address, record) in
        known.iter().filter(|(address, _)| !held.contains_key(*address) && !claimed.contains(*address))
    {
        let Some(owner) = named_owner(record) else { continue };
        // Another server may be about to store the Service that it is for, or a change of that.
        if age(record) >= ORPHAN_AGE {
            records::release(core, [*address], &owner).await;
        } else {
            young = true;
        }
    }
    Ok(young)
}

fn age(object: &Value) -> Duration {
    let made: Option<jiff::Timestamp> = meta::text(object, &["metadata", "creationTimestamp"]).parse().ok();
    made.and_then(|made| Duration::try_from(jiff::Timestamp::now().duration_since(made)).ok()).unwrap_or_default()
}

/// Takes every ServiceCIDR one step further; tells whether it wrote.
async fn tend(core: &Arc<Core>) -> Result<bool, Status> {
    let mut wrote = false;
    let resource = core.resource(NETWORKING, "v1", "servicecidrs")?;
    let all = core.objects(NETWORKING, "v1", "servicecidrs", "").await?;
    let records = core.objects(NETWORKING, "v1", "ipaddresses", "").await?;
    let held: Vec<IpAddr> = records.iter().filter_map(|record| meta::name(record).parse().ok()).collect();
    for object in &all {
        if let Some(changed) = ranges::widened(object, &core.config.service_cidrs) {
            write(core, Method::PUT, &resource, "", &changed).await?;
            wrote = true;
            continue;
        }
        if let Some(message) = ranges::mismatch(object, &core.config.service_cidrs)
            && !core.services.mismatch_told.swap(true, Ordering::AcqRel)
        {
            tell_mismatch(core, object, &message).await;
        }
        match ranges::next(object, &all, &held, jiff::Timestamp::now()) {
            Step::Keep => continue,
            Step::Finalizers(changed) => write(core, Method::PUT, &resource, "", &changed).await?,
            Step::Status(changed) => write(core, Method::PUT, &resource, "status", &changed).await?,
        }
        wrote = true;
    }
    if !all.iter().any(|object| meta::name(object) == ranges::DEFAULT) {
        write(core, Method::POST, &resource, "", &default_range(core)).await?;
        wrote = true;
    }
    Ok(wrote)
}

/// Tells of it in the log and by an event, as upstream does once in the life of a server.
async fn tell_mismatch(core: &Arc<Core>, object: &Value, message: &str) {
    tracing::warn!("{message}: change the settings, or delete it");
    let told = match core.resource("", "v1", "events") {
        Ok(events) => write(core, Method::POST, &events, "", &event(object, message, jiff::Timestamp::now())).await,
        Err(status) => Err(status),
    };
    if let Err(status) = told {
        tracing::warn!(%status, "the event of it was not written");
    }
}

/// A warning about a ServiceCIDR. Events about what has no namespace live in the default one.
fn event(object: &Value, message: &str, now: jiff::Timestamp) -> Value {
    let (name, time) = (meta::name(object), now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": "default"},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "name": name,
            "uid": meta::text(object, &["metadata", "uid"]),
            "resourceVersion": meta::text(object, &["metadata", "resourceVersion"]),
        },
        "type": "Warning", "reason": "KubernetesDefaultServiceCIDRInconsistent", "message": message,
        "source": {"component": COMPONENT}, "reportingComponent": COMPONENT, "reportingInstance": "",
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    })
}

/// The ServiceCIDR of the server's own settings.
pub fn default_range(core: &Core) -> Value {
    let cidrs: Vec<String> = core.config.service_cidrs.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": ranges::DEFAULT}, "spec": {"cidrs": cidrs},
    })
}
