//! The built-in CNI plugins in one binary; the name that it is called by tells which one.

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    rk_cni::plugin::main(&name)
}
