//! The thread that starts shims.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use tokio::sync::oneshot;

/// A shim to be started, and where its process goes.
struct Order {
    binary: PathBuf,
    dir: PathBuf,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts shims from a thread of its own. System calls that the process forbids its other threads after this was made are not forbidden
/// here, and so to no container: a filter is inherited by whatever a thread starts (`seccomp(2)`).
#[derive(Clone)]
pub struct Starter {
    orders: mpsc::Sender<Order>,
}

impl Starter {
    /// Starts the thread; it ends with the last copy of this.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn new() -> io::Result<Self> {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("shims".to_owned()).spawn(move || {
            while let Ok(Order { binary, dir, reply }) = taken.recv() {
                // Nobody waits for it any more.
                if let Err(Ok(mut child)) = reply.send(command(&binary, &dir).spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts `binary run dir`, its standard error on a pipe.
    pub(crate) async fn start(&self, binary: &Path, dir: &Path) -> io::Result<Started> {
        let gone = || io::Error::other("the thread that starts shims is gone");
        let (reply, started) = oneshot::channel();
        let order = Order { binary: binary.to_owned(), dir: dir.to_owned(), reply };
        self.orders.send(order).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?.map(Started)
    }
}

/// A process that is killed when nobody waits for it any more.
pub(crate) struct Started(pub(crate) Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Of one that has ended, and was waited for, neither does anything.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shim's command, which says nothing that `posix_spawn(3)` cannot do: with a working directory, whose function a static program lacks,
/// the whole of this process would be forked, and each of its pages that is written afterwards would be a fault. The shim goes to `/` by
/// itself.
fn command(binary: &Path, dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("run").arg(dir).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_started_without_a_copy_of_this_process() {
        // What makes the standard library fork instead of spawn, as far as a command tells it.
        let command = command(Path::new("/bin/rk-shim"), Path::new("/run/rk/sandboxes/s"));
        assert_eq!(command.get_current_dir(), None);
        assert!(Path::new(command.get_program()).is_absolute(), "no search in a PATH that was cleared");
    }

    #[tokio::test]
    async fn a_program_is_started_and_one_that_is_missing_is_told() {
        let starter = Starter::new().unwrap();
        let mut started = starter.start(Path::new("/bin/echo"), Path::new("/tmp")).await.unwrap();
        assert!(started.0.wait().unwrap().success());
        assert!(starter.start(Path::new("/nowhere/rk-shim"), Path::new("/tmp")).await.is_err());
    }
}
