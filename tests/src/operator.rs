//! `rkctl`, run as an operator runs it.

use rk_qemu::Artifacts;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of `rkctl` came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit code; -1 when it was killed.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Outcome {
    /// What it printed, when it succeeded; panics with what it said otherwise.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "rkctl failed:\n{}{}", self.out, self.err);
        self.out
    }
}

/// An operator with their files.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    dir: PathBuf,
}

impl Operator {
    /// One who works in this folder.
    pub fn new(artifacts: &Artifacts, dir: &Path) -> Operator {
        Operator { program: artifacts.binaries.join("rkctl"), dir: dir.to_owned() }
    }

    /// Runs `rkctl` with these arguments.
    pub fn run(&self, args: &[&str]) -> Outcome {
        let output = Command::new(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .env_remove("RKCTL_CONFIG")
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|err| panic!("{}: {err}", self.program.display()));
        Outcome {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
