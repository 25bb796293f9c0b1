//! rk-init
fn main() {}
