//! rk-control
fn main() {}
