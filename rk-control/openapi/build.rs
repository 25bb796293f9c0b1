//! Builds the documents: structure and merge semantics from rk-api's tables, prose from k8s-openapi's schemas.

#[path = "build/descriptions.rs"]
mod descriptions;
#[path = "build/documents.rs"]
mod documents;
#[path = "src/names.rs"]
mod names;
#[path = "src/parameters.rs"]
mod parameters;
#[path = "src/paths.rs"]
mod paths;
#[path = "build/schemas.rs"]
mod schemas;
#[path = "src/spec.rs"]
mod spec;

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha512};

/// Of Zstandard: documents say much that others say as well, far away.
const LEVEL: i32 = 22;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let documents = documents::all();
    let mut all = String::new();
    // What is before a document is unpacked with it. So what is read most often comes first: the one that those of custom kinds are made of,
    // at each change of any of their definitions.
    let common = row(&mut all, "common", &documents.common.to_string());
    let v2 = row(&mut all, "v2", &documents.v2.to_string());
    let mut table = format!("pub(crate) static V3: [Document; {}] = [\n", documents.v3.len());
    for (path, document) in &documents.v3 {
        table.push_str(&row(&mut all, path, &document.to_string()));
        table.push_str(",\n");
    }
    writeln!(table, "];\npub(crate) static V2: Document = {v2};\npub(crate) static COMMON: Document = {common};")
        .expect("strings take all text");
    std::fs::write(out.join("documents.rs"), table).expect("OUT_DIR is writable");
    let archive = zstd::bulk::compress(all.as_bytes(), LEVEL).expect("memory takes all bytes");
    std::fs::write(out.join("documents.zst"), archive).expect("OUT_DIR is writable");
}

/// Puts one document behind the others, and answers the table row that tells where it is.
fn row(all: &mut String, path: &str, text: &str) -> String {
    let (start, size, hash) = (all.len(), text.len(), hex::encode_upper(Sha512::digest(text)));
    all.push_str(text);
    let mut row = String::new();
    write!(row, "Document {{ path: {path:?}, hash: {hash:?}, size: {size}, start: {start}, gzip: OnceLock::new() }}")
        .expect("strings take all text");
    row
}
