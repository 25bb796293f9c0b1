//! How far pulls are, told to the machine API at [`PULLS_SOCKET`].

use std::path::Path;
use std::time::Duration;

use rk_config::PULLS_SOCKET;
use rk_images::{Images, Pulls};
use tokio::io::AsyncWriteExt;

use crate::preload::listen;

/// Pulls that are told of, the oldest first; a node runs a few at once.
const MOST: usize = 64;
/// Whoever asks and does not read for so long is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells whoever connects, for ever.
pub async fn run(images: Images) {
    let listener = match listen(Path::new(PULLS_SOCKET)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the machine API is not told of pulls: {error:#}"),
    };
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let text = document(images.pulls());
                // Who asked may be gone.
                let _ = tokio::time::timeout(PATIENCE, stream.write_all(&text)).await;
            }
            Err(error) => {
                tracing::warn!("accepting at {PULLS_SOCKET}: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn document(mut pulls: Pulls) -> Vec<u8> {
    pulls.ongoing.truncate(MOST);
    // Numbers and texts are always JSON.
    serde_json::to_vec(&pulls).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rk_images::{LayerProgress, LayerState, Progress, Totals};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pulls_are_told_by_their_layers_and_only_so_many_of_them() {
        let layer =
            LayerProgress { digest: "sha256:0".into(), state: LayerState::Downloading, done: 3, resumed: 1, total: 9 };
        let pull = Progress { image: "r.io/a:1".into(), seconds: 7, layers: vec![layer] };
        let totals = Totals { succeeded: 2, failed: 1, bytes: 30, resumed_bytes: 4 };
        let told: Value =
            serde_json::from_slice(&document(Pulls { ongoing: vec![pull; MOST + 1], totals })).expect("JSON");
        let ongoing = told["ongoing"].as_array().expect("a list");
        let layer = json!({"digest": "sha256:0", "state": "downloading", "done": 3, "resumed": 1, "total": 9});
        assert_eq!(
            (ongoing.len(), &ongoing[0]),
            (MOST, &json!({"image": "r.io/a:1", "seconds": 7, "layers": [layer]}))
        );
        assert_eq!(told["totals"], json!({"succeeded": 2, "failed": 1, "bytes": 30, "resumed_bytes": 4}));
    }
}
