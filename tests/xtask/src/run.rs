//! Running other programs.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Lines of a failed program's output that are told.
const TAIL: usize = 40;

/// Runs to the end and answers standard output; a failure tells the end of what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = [out.stdout, out.stderr].concat();
    bail!("{program} failed ({}):\n{}", out.status, tail(&String::from_utf8_lossy(&said)))
}

/// Runs with the terminal's own output and answers whether it succeeded.
pub fn shown(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    Ok(command.status().with_context(|| format!("cannot run {program}"))?.success())
}

/// Cargo, as the one that runs us, but without what `cargo run` told about this very package: build scripts watch those
/// variables and would build half the world anew.
pub fn cargo(root: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_us) {
            command.env_remove(name);
        }
    }
    command
}

/// What is built and tested where everything is: with one set of features, no crate is built twice.
pub const ALL: [&str; 3] = ["--workspace", "--features", "rk-tests/guest"];

/// [`cargo`] for the whole workspace at once: what serves to build a part of it anew later costs time now, and 15 GB of disk.
pub fn cargo_for_all(root: &std::path::Path) -> Command {
    let mut command = cargo(root);
    command.env("CARGO_INCREMENTAL", "0");
    command
}

fn is_about_us(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    const NAMES: [&str; 5] = ["CARGO", "CARGO_PRIMARY_PACKAGE", "LD_LIBRARY_PATH", "OUT_DIR", "RUST_RECURSION_COUNT"];
    PREFIXES.iter().any(|p| name.starts_with(p)) || NAMES.contains(&name)
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_user_reach_cargo_and_descriptions_of_us_do_not() {
        for (name, about_us) in [
            ("CARGO_PKG_NAME", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_HOME", false),
            ("RUSTFLAGS", false),
        ] {
            assert_eq!(is_about_us(name), about_us, "{name}");
        }
    }
}
