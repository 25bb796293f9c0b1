//! Clients in Python, from PyPI: they share no code with what they talk to.

use crate::artifacts;
use std::path::PathBuf;
use std::process::Command;

/// The Python of a virtual environment with `packages`, as `NAME==VERSION` so that a test means the same tomorrow. It is made on first use
/// beside the other caches, as `name`; `statement` is Python that works once the environment is whole.
pub fn python_with(name: &str, packages: &[&str], statement: &str) -> PathBuf {
    let home = artifacts().registry_storage.with_file_name("python").join(name);
    let python = home.join("bin/python");
    if Command::new(&python).args(["-c", statement]).output().is_ok_and(|output| output.status.success()) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&home);
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&home), "needs the package python3-venv");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).args(packages);
    succeed(&mut install, "needs PyPI or a mirror of it");
    python
}

/// Runs `command` to its end; panics with `advice` and all that it said when it fails.
pub fn succeed(command: &mut Command, advice: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed; {advice}:\n{out}{err}");
}
