//! `rk-control snapshot` and `rk-control restore`: the database as one file.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is done instead of serving.
#[derive(Debug, Parser)]
#[command(name = "rk-control", version)]
pub enum Command {
    /// Write a snapshot of the database, also while it is in use.
    Snapshot {
        /// The data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Put a snapshot in place of the database, which must not be in use; the old one is kept beside it.
    Restore {
        /// The data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// The snapshot.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Only look whether it is a whole snapshot.
        #[arg(long)]
        check: bool,
    },
}

impl Command {
    /// The command, when the first argument names one.
    pub fn asked_for() -> Option<Command> {
        let first = std::env::args().nth(1)?;
        ["snapshot", "restore"].contains(&first.as_str()).then(Command::parse)
    }

    /// Carries it out.
    pub fn run(self) -> ExitCode {
        let database = |dir: PathBuf| dir.join("state.db");
        let done = match self {
            Command::Snapshot { data_dir, to } => rk_store::take_snapshot(&database(data_dir), &to),
            Command::Restore { from, check: true, .. } => rk_store::check_snapshot(&from),
            Command::Restore { data_dir, from, check: false } => rk_store::restore_snapshot(&from, &database(data_dir)),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("rk-control: {:#}", anyhow::Error::from(error));
                ExitCode::FAILURE
            }
        }
    }
}
