//! Work inside another network namespace.

use std::{
    fs::File,
    future::Future,
    io,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

/// Runs async work on a thread of its own that lives in the namespace; the thread ends with the work, so that no other work
/// can ever run in the wrong namespace.
pub fn in_netns<T, F, W>(netns: &Path, work: W) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
    W: FnOnce() -> F + Send + 'static,
{
    let path: PathBuf = netns.to_owned();
    let thread = std::thread::Builder::new().name("netns".into()).spawn(move || -> io::Result<T> {
        let namespace = File::open(&path)?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    })?;
    thread.join().map_err(|_| io::Error::other("work in a network namespace panicked"))?
}
