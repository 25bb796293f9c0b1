//! The control plane as a program of its own.

fn main() -> std::process::ExitCode {
    rk_control::main()
}
