//! Turns the text tables into static Rust tables.

#[path = "build/resources.rs"]
mod resources;

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=tables");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let text = fs::read_to_string("tables/resources.txt").expect("tables/resources.txt is part of the crate");
    fs::write(out.join("resources.rs"), resources::generate(&text)).expect("OUT_DIR is writable");
}
