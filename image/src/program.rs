//! Programs of the distribution: the system's own, or out of a package that is only unpacked.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders in which Debian's packages keep libraries.
const LIBRARIES: [&str; 4] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64", "lib64"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// How a program is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// By its name or path, with the system's libraries.
    Own(PathBuf),
    /// Out of a folder that its package and all that it depends on are unpacked in, with the libraries there.
    Unpacked {
        /// The folder.
        root: PathBuf,
        /// Path of the program in it.
        path: PathBuf,
    },
}

impl Program {
    /// Of the system, found in `PATH` or in the sbin folders that Debian leaves out of it.
    pub fn own(name: &str) -> Program {
        Program::Own(
            ["/usr/sbin", "/sbin"]
                .map(|dir| Path::new(dir).join(name))
                .into_iter()
                .find(|p| p.is_file())
                .unwrap_or_else(|| name.into()),
        )
    }

    /// A command that runs it.
    ///
    /// # Errors
    /// The unpacked folder has no dynamic loader.
    pub fn command(&self) -> Result<Command> {
        match self {
            Program::Own(path) => Ok(Command::new(path)),
            Program::Unpacked { root, path } => {
                let folders = LIBRARIES.map(|dir| root.join(dir));
                let loader = folders.iter().map(|dir| dir.join(LOADER)).find(|loader| loader.is_file());
                let mut command = Command::new(loader.with_context(|| format!("{} has no {LOADER}", root.display()))?);
                let search: Vec<String> = folders.iter().map(|dir| dir.display().to_string()).collect();
                command.args(["--inhibit-cache", "--library-path", &search.join(":")]).arg(root.join(path));
                Ok(command)
            }
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        let (Program::Own(path) | Program::Unpacked { path, .. }) = self;
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Runs `command` to its end; its output is kept for the error.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}
