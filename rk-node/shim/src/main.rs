//! rk-shim
fn main() {}
