//! `cargo xtask`: everything that one does with this repository.
//!
//! * `commands`: one file per subcommand.
//! * `setup`: what `up`, `test` and `bench` share: system packages, kernel, binaries, image, peers, demo images.
//! * `lint`: checks that clippy does not know.
//! * `report`: one line per step with its duration, progress bars on a terminal.
//! * `paths`: where things lie.

/// A line on standard output; a reader who went away (`… | head`) is no error.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

mod commands;
mod lint;
mod paths;
mod report;
mod run;
mod setup;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(commands::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
