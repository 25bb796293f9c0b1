//! Functions that came out alike are kept once: generics and async code make many of them.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    println!("cargo::rerun-if-changed=build.rs");
}
