//! The agent's sign of life: a process that is there and does nothing any more is as good as none, and PID 1 sees to that.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Well within the least patience of PID 1's watchdog, which is a minute.
const EVERY: Duration = Duration::from_secs(10);

/// Touches the note again and again, on the runtime that all parts share: one that is stuck touches nothing. Runs for ever.
pub async fn beat(note: &Path) {
    loop {
        // On other machines the folder is missing, and nobody looks.
        if let Err(error) = touch(note) {
            tracing::debug!("the sign of life: {error}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn touch(note: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(note)?;
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_touch_is_a_new_sign() {
        let note = std::env::temp_dir().join(format!("rk-node-alive-{}", std::process::id()));
        let signs = [(); 2].map(|()| {
            touch(&note).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            std::fs::metadata(&note).and_then(|note| note.modified()).unwrap()
        });
        std::fs::remove_file(&note).unwrap();
        assert_ne!(signs[0], signs[1]);
        assert!(touch(Path::new("/nowhere/alive")).is_err());
    }
}
