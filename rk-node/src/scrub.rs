//! Unpacked layers are read again once a day, at a pace that nobody feels.

use std::time::Duration;

use rk_images::Images;

/// A node that just started has better things to do.
const FIRST: Duration = Duration::from_secs(60 * 60);
/// Between the end of a round and the next.
const ROUND: Duration = Duration::from_secs(24 * 60 * 60);
/// After each MiB: at most 4 MiB/s of the disk.
const PAUSE: Duration = Duration::from_millis(250);

/// Reads on, for ever. What is damaged is told where it is found.
pub async fn run(images: Images) {
    tokio::time::sleep(FIRST).await;
    loop {
        match images.scrub(PAUSE).await {
            Ok(damaged) => tracing::debug!(damaged, "layers were read again"),
            Err(error) => tracing::warn!("layers are not read again: {}", error.chain()),
        }
        tokio::time::sleep(ROUND).await;
    }
}
