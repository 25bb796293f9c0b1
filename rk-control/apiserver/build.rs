//! Tells which compiler builds this, for `/version`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").expect("cargo sets RUSTC");
    let told = std::process::Command::new(compiler).arg("--version").output().expect("the compiler tells its version");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.split_whitespace().nth(1).expect("the version comes after the name");
    println!("cargo::rustc-env=RK_RUSTC_VERSION={version}");
}
