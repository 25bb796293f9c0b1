//! rk-cni
fn main() {}
