//! `rk-machine-api` as a program of its own.

fn main() -> std::process::ExitCode {
    rk_machine_api::main()
}
