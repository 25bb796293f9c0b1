//! rk-node
fn main() {}
