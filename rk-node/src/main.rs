//! The node agent as a program of its own.

fn main() -> std::process::ExitCode {
    rk_node::main()
}
