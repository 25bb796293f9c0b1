//! What volumes need though no pod asks for it: being let go when nobody has them any more, and being counted.

use std::time::{Duration, Instant};

use rk_figures::Ask;
use tokio::time::sleep;

use super::STATS_AGE;
use super::held::PATIENCE;
use crate::context::Shared;

/// How often volumes are looked for that nobody wants any more.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks after them for ever. Drivers are asked for their counts at upstream's pace, whoever reads them.
pub async fn tend_loop(context: Shared) {
    let mut counted = Instant::now();
    loop {
        sleep(PERIOD).await;
        context.volumes.release_devices().await;
        // Without any there is nobody to ask, and most nodes have none.
        if !context.volumes.csi.has_drivers() {
            continue;
        }
        context.volumes.csi.release_unused().await;
        if counted.elapsed() < STATS_AGE {
            continue;
        }
        counted = Instant::now();
        for uid in context.volumes.known_pods() {
            context.volumes.csi.stats(&uid, Ask::new(STATS_AGE / 2, PATIENCE)).await;
        }
    }
}
