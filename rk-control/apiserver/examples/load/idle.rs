//! Connections that ask nothing: what they cost the server, and whether others notice.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::client::{Client, Target};
use crate::kinds::Kinds;
use crate::{memory, millis, percentile, row};

/// Half of them say nothing at all, half are ready to ask.
const HELD: usize = 10_000;
const ASKED: usize = 500;

/// Holds them open while one client goes on asking.
pub async fn held(target: &Arc<Target>, pid: u32, kinds: Kinds) -> anyhow::Result<()> {
    let mut admin = Client::connect(target).await?;
    let before = memory::resident(pid)?;
    let mut silent: Vec<TcpStream> = Vec::with_capacity(HELD / 2);
    let mut ready: Vec<Client> = Vec::with_capacity(HELD / 2);
    for _ in 0..HELD / 2 {
        silent.push(target.dial().await?);
        ready.push(Client::connect(target).await?);
    }
    let path = kinds.short_list();
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let begin = Instant::now();
        admin.get(&path).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let added = memory::resident(pid)?.saturating_sub(before);
    row(
        &format!("memory on top of {HELD} idle connections, half of them ready"),
        &format!("{:.1} MB", added as f64 / 1e6),
        "bounded",
    );
    let (half, most) = (percentile(&times, 0.5), percentile(&times, 0.99));
    row("a small list beside them, p50 and p99", &format!("{}, {}", millis(half), millis(most)), "unharmed");
    drop((silent, ready));
    Ok(())
}
