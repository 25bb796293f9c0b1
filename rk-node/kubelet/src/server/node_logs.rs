//! `/logs/`: what pods have written on this node, as folders to look into and files to read.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use bytes::BytesMut;
use futures::FutureExt as _;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use rk_sys::patiently;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, open, openat2};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::body::{Body, Refusal, refuse, response, streamed};
use super::params::decode;

/// The folder of the machine's own logs, the audit log among them: the machine API gives these to those whom they are for.
const OWN: &str = "rk";
/// Entries of a folder that are shown; each pod has one, and nodes have far fewer pods.
const ENTRIES: usize = 10_000;
/// Bytes of a piece of a file.
const PIECE: usize = 32 * 1024;
/// Pieces on their way to a slow client.
const PIECES: usize = 4;
const TEXT: &str = "text/plain; charset=utf-8";

/// What a path leads to.
enum Found {
    /// The page of a folder.
    Folder(String),
    /// A folder whose path lacks its slash, without which links of its page lead astray: where it is.
    Elsewhere(String),
    /// A file, and its length.
    File(File, u64),
}

/// Answers what is at a path below `/logs`, which stands for `root`.
///
/// # Errors
/// 404 where nothing is that may be read.
pub(super) async fn logs(root: &Path, path: &str) -> Result<Response<Body>, Refusal> {
    let missing = || refuse(StatusCode::NOT_FOUND, "404 page not found\n");
    let (root, path) = (root.to_owned(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || look(&root, &path)).await;
    match found.ok().flatten().ok_or_else(missing)? {
        Found::Folder(page) => Ok(response(StatusCode::OK, "text/html; charset=utf-8", page)),
        Found::Elsewhere(place) => {
            let place = HeaderValue::try_from(place).map_err(|_| missing())?;
            let mut answer = response(StatusCode::MOVED_PERMANENTLY, TEXT, "");
            answer.headers_mut().insert(LOCATION, place);
            Ok(answer)
        }
        Found::File(file, length) => Ok(read(file, length)),
    }
}

fn look(root: &Path, path: &str) -> Option<Found> {
    // A plus is one in a path, and a space in a query alone.
    let asked = decode(&path.strip_prefix("/logs")?.replace('+', "%2B"));
    let within = relative(root, &asked)?;
    let is_top = within.as_os_str().is_empty();
    let name: &Path = if is_top { Path::new(".") } else { &within };
    let top = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // A pod that can write where logs are could put a link to any file of the node there.
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(patiently(|| openat2(&top, name, flags, Mode::empty(), how)).ok()?);
    let meta = file.metadata().ok()?;
    if meta.is_file() {
        return Some(Found::File(file, meta.len()));
    }
    if !meta.is_dir() {
        return None;
    }
    if path.ends_with('/') {
        return page(file, is_top).ok().map(Found::Folder);
    }
    path.rsplit('/').next().map(|last| Found::Elsewhere(format!("{last}/")))
}

/// The path below the root that is meant; the link that stands for a container's log is that log. None for what is not shown.
fn relative(root: &Path, asked: &str) -> Option<PathBuf> {
    let asked = shown(Path::new(asked.trim_matches('/')))?;
    match fs::read_link(root.join(&asked)) {
        Ok(target) => shown(target.strip_prefix(root).ok()?),
        Err(_) => Some(asked),
    }
}

/// A path that consists of names and does not lead to what the machine writes of itself.
fn shown(path: &Path) -> Option<PathBuf> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !path.starts_with(OWN)).then(|| path.to_owned())
}

/// A link to each entry of a folder, in the order of their names.
fn page(folder: File, is_top: bool) -> rustix::io::Result<String> {
    let mut names = Vec::new();
    for entry in Dir::new(folder)?.take(ENTRIES) {
        let entry = entry?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." || (is_top && name == OWN) {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    let links = names.iter().map(|name| format!("<a href=\"{}\">{}</a>\n", link(name), written(name)));
    Ok(format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{}</pre>\n",
        links.collect::<String>()
    ))
}

/// A name as the target of a link.
fn link(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

/// A name as the text of a page.
fn written(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A file as it is now: what is written meanwhile is left out.
fn read(file: File, length: u64) -> Response<Body> {
    let (send, receive) = mpsc::channel(PIECES);
    let task = async move {
        let mut file = tokio::fs::File::from_std(file).take(length);
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            let came = file.read_buf(&mut piece).await.unwrap_or(0);
            if came == 0 || send.send(piece.freeze()).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(task.boxed());
    let mut answer = Response::new(streamed(receive));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    answer
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use http_body_util::BodyExt;

    use super::*;

    /// Status, the place that is named, and the body.
    async fn asked(root: &Path, path: &str) -> (u16, String, String) {
        let (parts, body) = logs(root, path).await.unwrap_or_else(Into::into).into_parts();
        let place = parts.headers.get(LOCATION).map_or("", |place| place.to_str().unwrap()).to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), place, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn logs_of_pods_are_read_and_those_of_the_machine_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["pods/ns_p_u/c", "containers", "rk", "a+b <&>"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let log = root.join("pods/ns_p_u/c/0.log");
        fs::write(&log, "said\n".repeat(20_000)).unwrap();
        fs::write(root.join("rk/audit.log"), "secret").unwrap();
        symlink(&log, root.join("containers/p_ns_c.log")).unwrap();
        symlink(root.join("rk/audit.log"), root.join("containers/own.log")).unwrap();
        symlink("/etc/passwd", root.join("containers/other.log")).unwrap();
        symlink(root.join("rk"), root.join("pods/rk")).unwrap();
        let (status, _, top) = asked(root, "/logs/").await;
        let links = "<a href=\"a%2Bb%20%3C%26%3E/\">a+b &lt;&amp;&gt;/</a>\n\
                     <a href=\"containers/\">containers/</a>\n<a href=\"pods/\">pods/</a>\n";
        assert_eq!(status, 200);
        assert!(top.ends_with(&format!("<pre>\n{links}</pre>\n")), "{top}");
        for path in ["/logs/pods/ns_p_u/c/0.log", "/logs/containers/p_ns_c.log"] {
            let (status, _, body) = asked(root, path).await;
            assert_eq!((status, body.len()), (200, 100_000), "{path}");
        }
        for (path, status, place) in [
            ("/logs", 301, "logs/"),
            ("/logs/pods/ns_p_u", 301, "ns_p_u/"),
            ("/logs/a+b%20%3C%26%3E", 301, "a+b%20%3C%26%3E/"),
            ("/logs/a+b%20%3C%26%3E/", 200, ""),
            ("/logs/none", 404, ""),
            ("/logs/rk/", 404, ""),
            ("/logs/rk/audit.log", 404, ""),
            ("/logs/pods/../rk/audit.log", 404, ""),
            ("/logs/pods/%2e%2e/rk/audit.log", 404, ""),
            ("/logs/containers/own.log", 404, ""),
            ("/logs/containers/other.log", 404, ""),
            ("/logs/pods/rk/audit.log", 404, ""),
            ("/logs/%00", 404, ""),
        ] {
            let (told, to, _) = asked(root, path).await;
            assert_eq!((told, to.as_str()), (status, place), "{path}");
        }
    }
}
