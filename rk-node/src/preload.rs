//! Images that come without a registry: what lies in [`PRELOAD`] at the start, and what the machine API hands over at
//! [`IMAGES_SOCKET`]. Both are OCI image layouts.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rk_config::{IMAGES_SOCKET, MAX_IMAGES_BYTES};
use rk_images::{Archive, Images, Imported};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Archives (directories or tars) whose images a node has from its start.
pub const PRELOAD: &str = "/var/lib/rk/preload";
/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// Whoever hands an archive over and sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(90);
/// The share of the disk that an archive leaves free, for the images in it.
const LEFT_FREE: u64 = 10;

/// Takes what lies in a folder, then whatever is handed over, for ever.
pub async fn run(images: Images) {
    for archive in archives(Path::new(PRELOAD)) {
        preload(&images, archive).await;
    }
    let listener = match listen(Path::new(IMAGES_SOCKET)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("no images are taken from the machine API: {error:#}"),
    };
    loop {
        // One after the other: an archive takes disk and memory, and who waits is answered in turn.
        match listener.accept().await {
            Ok((stream, _)) => serve(&images, stream).await,
            Err(error) => {
                tracing::warn!("accepting at {IMAGES_SOCKET}: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// What a folder holds, in the order of names; nothing when there is no such folder.
fn archives(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

async fn preload(images: &Images, archive: PathBuf) {
    match images.import(Archive::Path(archive.clone())).await {
        Ok(taken) => warn_of(&taken),
        Err(error) => tracing::warn!(archive = %archive.display(), "not preloaded: {}", error.chain()),
    }
}

fn warn_of(taken: &[Imported]) {
    for (name, result) in taken {
        if let Err(error) = result {
            tracing::warn!(image = %name, "an archive's image is not taken: {}", error.chain());
        }
    }
}

/// A socket for root alone, in the place of that of another process.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    // Of the process that was here before: the image store's lock tells that it is gone.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes one archive in and answers with a line for each of its images.
async fn serve(images: &Images, mut stream: UnixStream) {
    let answer = match receive(images, &mut stream).await {
        Ok(file) => match images.import(Archive::File(file)).await {
            Ok(taken) => {
                warn_of(&taken);
                lines(&taken)
            }
            Err(error) => vec![json!({"error": error.chain()})],
        },
        Err(error) => vec![json!({"error": format!("{error:#}")})],
    };
    let text: String = answer.iter().map(|line| format!("{line}\n")).collect();
    // Who asked may be gone; what was taken stays.
    let _ = stream.write_all(text.as_bytes()).await;
}

fn lines(taken: &[Imported]) -> Vec<Value> {
    if taken.is_empty() {
        return vec![json!({"error": "the archive holds no image"})];
    }
    let line = |(name, result): &Imported| match result {
        Ok(id) => json!({"name": name, "id": id.as_str()}),
        Err(error) => json!({"name": name, "error": error.chain()}),
    };
    taken.iter().map(line).collect()
}

/// The archive as a file without a name.
async fn receive(images: &Images, stream: &mut UnixStream) -> anyhow::Result<File> {
    let total = tokio::time::timeout(SILENCE, stream.read_u64()).await.context("nothing came")??;
    let disk = images.fs_info().await?;
    if let Some(reason) = no_room(total, disk.available_bytes, disk.capacity_bytes) {
        anyhow::bail!(reason);
    }
    let mut file = tokio::fs::File::from_std(images.scratch().await?);
    let mut left = total;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..wanted).unwrap_or_default();
        let size = tokio::time::timeout(SILENCE, stream.read(room)).await.context("nothing came for too long")??;
        anyhow::ensure!(size > 0, "the archive ended {left} bytes early");
        file.write_all(piece.get(..size).unwrap_or_default()).await.context("keeping the archive")?;
        left -= size as u64;
    }
    file.flush().await.context("keeping the archive")?;
    Ok(file.into_std().await)
}

fn no_room(total: u64, available: u64, capacity: u64) -> Option<String> {
    if total > MAX_IMAGES_BYTES {
        return Some(format!("the archive has {total} bytes, and at most {MAX_IMAGES_BYTES} are taken in"));
    }
    let usable = available.saturating_sub(capacity / 100 * LEFT_FREE);
    (total > usable).then(|| {
        format!("the archive has {total} bytes, and the disk has {usable} beside the {LEFT_FREE} % that are left free")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_must_fit_and_leave_room() {
        assert_eq!(no_room(800, 1000, 2000), None);
        assert!(no_room(801, 1000, 2000).is_some_and(|reason| reason.contains("800 beside")));
        assert!(no_room(1, 100, 2000).is_some());
        assert!(no_room(MAX_IMAGES_BYTES + 1, u64::MAX, 0).is_some());
    }

    #[test]
    fn archives_are_taken_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(archives(dir.path()), [dir.path().join("a.tar"), dir.path().join("b.tar")]);
        assert!(archives(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn every_image_of_an_archive_has_a_line() {
        let missing = || rk_images::Error::NotFound { what: "blob".into() };
        let taken = [("a/b:1".to_owned(), Err(missing()))];
        assert_eq!(lines(&taken), [json!({"name": "a/b:1", "error": "blob: not found"})]);
        assert_eq!(lines(&[]), [json!({"error": "the archive holds no image"})]);
    }
}
