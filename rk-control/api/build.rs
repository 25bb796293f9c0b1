//! Turns the text tables into static Rust tables.

#[path = "build/resources.rs"]
mod resources;
#[path = "build/types.rs"]
mod types;

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=tables");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let table = |name: &str| fs::read_to_string(name).unwrap_or_else(|e| panic!("{name} is part of the crate: {e}"));
    fs::write(out.join("resources.rs"), resources::generate(&table("tables/resources.txt")))
        .expect("OUT_DIR is writable");
    fs::write(out.join("types.rs"), types::generate(&table("tables/types.txt"))).expect("OUT_DIR is writable");
}
