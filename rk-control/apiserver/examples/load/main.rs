//! Load on a running API server: `load KUBECONFIG PID [custom]`. Prints one reading per line, tab-separated: what, measured, budget.
//!
//! It creates ConfigMaps as fast as they are taken, watches one namespace a thousand times over while a hundred changes are made
//! each second, lists ten thousand pods, and asks beside ten thousand connections that do not. `PID` is the server's, for its memory.
//! With `custom`, custom resources take the place of built-in kinds.

mod client;
mod idle;
mod kinds;
mod memory;
mod watches;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Client, Target};
use kinds::Kinds;
use serde_json::json;
use tokio::task::JoinSet;
use watches::Watches;

const CREATES: usize = 4000;
const WRITERS: usize = 64;
const WATCHERS: usize = 1000;
/// Well under the streams that one connection may have.
const WATCHERS_PER_CONNECTION: usize = 100;
const RATE: u32 = 100;
const CHANGES: u32 = 600;
const PODS: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: load KUBECONFIG PID [custom]";
    let target = Arc::new(Target::read(Path::new(&args.next().context(usage)?))?);
    let pid: u32 = args.next().context(usage)?.parse()?;
    let kinds = match args.next().as_deref() {
        None => Kinds::BuiltIn,
        Some("custom") => Kinds::Custom,
        Some(_) => anyhow::bail!(usage),
    };
    kinds.prepare(&mut Client::connect(&target).await?).await?;
    creates(&target, kinds).await?;
    watches(&target, kinds).await?;
    lists(&target, pid, kinds).await?;
    idle::held(&target, pid, kinds).await
}

fn row(what: &str, measured: &str, budget: &str) {
    println!("{what}\t{measured}\t{budget}");
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len().saturating_sub(1)) as f64 * share) as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// Creates objects from many clients at once; answers how long each took.
async fn create_all(
    target: &Arc<Target>,
    count: usize,
    make: impl Fn(usize) -> (String, serde_json::Value) + Send + Sync + Clone + 'static,
) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (next, make, mut client) = (Arc::clone(&next), make.clone(), Client::connect(target).await?);
        writers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(times);
                }
                let (path, object) = make(number);
                let begin = Instant::now();
                client.post(&path, object).await?;
                times.push(begin.elapsed());
            }
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(done) = writers.join_next().await {
        times.extend(done??);
    }
    times.sort_unstable();
    Ok((begin.elapsed(), times))
}

async fn creates(target: &Arc<Target>, kinds: Kinds) -> anyhow::Result<()> {
    let (took, times) = create_all(target, CREATES, move |number| kinds.small(number)).await?;
    let rate = CREATES as f64 / took.as_secs_f64();
    row(&format!("creates from {WRITERS} clients, each commit on disk"), &format!("{rate:.0}/s"), "≥ 3 × upstream");
    let (half, most) = (percentile(&times, 0.5), percentile(&times, 0.99));
    row("one create, p50 and p99", &format!("{}, {}", millis(half), millis(most)), "—");
    Ok(())
}

/// Each change carries the time at which it was sent; each watcher tells how old the change is when it arrives.
async fn watches(target: &Arc<Target>, kinds: Kinds) -> anyhow::Result<()> {
    let mut admin = Client::connect(target).await?;
    let (path, object) = kinds.watched();
    admin.post(&path, object).await?;
    let epoch = Instant::now();
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS / WATCHERS_PER_CONNECTION {
        let path = format!("{path}?watch=1&resourceVersion=0");
        let watches = Watches::open(target, &path, WATCHERS_PER_CONNECTION, epoch, CHANGES).await?;
        watchers.spawn(watches.ages());
    }
    let mut beat = tokio::time::interval(Duration::from_secs(1) / RATE);
    for number in 0..CHANGES {
        beat.tick().await;
        let sent = epoch.elapsed().as_nanos();
        let note = json!({"metadata": {"annotations": {"number": number.to_string(), "sent": sent.to_string()}}});
        admin.patch(&format!("{path}/one"), note).await?;
    }
    let mut ages = Vec::new();
    while let Some(done) = watchers.join_next().await {
        ages.extend(done??);
    }
    ages.sort_unstable();
    let what = format!("change to event, {WATCHERS} watchers, {RATE} writes/s, p50 and p99");
    let measured = format!("{}, {}", millis(percentile(&ages, 0.5)), millis(percentile(&ages, 0.99)));
    row(&what, &measured, "p99 ≤ 1/5 of upstream");
    Ok(())
}

async fn lists(target: &Arc<Target>, pid: u32, kinds: Kinds) -> anyhow::Result<()> {
    let mut admin = Client::connect(target).await?;
    let (path, name) = kinds.list();
    let (took, _) = create_all(target, PODS, move |number| kinds.large(number)).await?;
    row(&format!("creates of {PODS} {name}"), &format!("{:.0}/s", PODS as f64 / took.as_secs_f64()), "—");
    admin.get(&path).await?;
    let before = memory::resident(pid)?;
    memory::forget_peak(pid)?;
    let mut times = Vec::new();
    let mut size = 0;
    for _ in 0..5 {
        let begin = Instant::now();
        size = admin.get(&path).await?.len();
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let peak = memory::peak(pid)?.saturating_sub(before);
    let what = format!("LIST of {PODS} {name}, {:.1} MB of JSON, median of 5", size as f64 / 1e6);
    row(&what, &millis(percentile(&times, 0.5)), "≤ 1/3 of upstream");
    row("memory on top while it is listed", &format!("{:.1} MB", peak as f64 / 1e6), "≤ 1/5 of upstream");
    row("resident with all of this in the caches", &format!("{:.1} MB", memory::resident(pid)? as f64 / 1e6), "—");
    Ok(())
}
