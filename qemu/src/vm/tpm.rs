//! A TPM for a machine: `swtpm` beside QEMU, with a state that outlives both.

use crate::process::Bound;
use crate::{Error, Result, wait};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Folders of libraries in a package that is only unpacked.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/swtpm"];
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// A running software TPM. Dropping it kills it; what it keeps is in its folder.
#[derive(Debug)]
pub struct Swtpm {
    _process: Bound,
    socket: PathBuf,
}

impl Swtpm {
    /// Starts the one of the package `swtpm`, unpacked with all it depends on in `package`, with its state in `dir`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(package: &Path, dir: &Path) -> Result<Swtpm> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let socket = dir.join("ctrl");
        let _ = fs::remove_file(&socket);
        let search = LIBRARIES.map(|folder| package.join(folder).display().to_string()).join(":");
        let mut command = Command::new(package.join(LOADER));
        command.args(["--inhibit-cache", "--library-path", &search]).arg(package.join("usr/bin/swtpm"));
        command.args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", dir.display())]);
        command.args(["--ctrl", &format!("type=unixio,path={}", socket.display())]);
        let process = Bound::spawn_logged("swtpm", &command, &dir.join("log"))?;
        wait::until("swtpm's socket", LIMIT, || {
            if socket.exists() { Ok(()) } else { Err(format!("{} is not there", socket.display())) }
        })?;
        Ok(Swtpm { _process: process, socket })
    }

    /// Where QEMU reaches it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}
