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
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha512};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=src");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let documents = documents::all();
    let mut table = String::from("pub(crate) static V3: &[Document] = &[\n");
    for (path, document) in &documents.v3 {
        table.push_str(&embed(&out, path, document.to_string().as_bytes()));
        table.push_str(",\n");
    }
    table.push_str("];\npub(crate) static V2: Document = ");
    table.push_str(&embed(&out, "v2", documents.v2.to_string().as_bytes()));
    table.push_str(";\npub(crate) static COMMON: Document = ");
    table.push_str(&embed(&out, "common", documents.common.to_string().as_bytes()));
    table.push_str(";\n");
    std::fs::write(out.join("documents.rs"), table).expect("OUT_DIR is writable");
}

/// Writes one compressed document and answers the table row that embeds it.
fn embed(out: &Path, path: &str, text: &[u8]) -> String {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("memory takes all bytes");
    let gzip = encoder.finish().expect("memory takes all bytes");
    let file = format!("{}.gz", path.replace('/', "_"));
    std::fs::write(out.join(&file), gzip).expect("OUT_DIR is writable");
    let hash = hex::encode_upper(Sha512::digest(text));
    let mut row = String::new();
    write!(
        row,
        "Document {{ path: {path:?}, hash: {hash:?}, size: {}, gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")) }}",
        text.len()
    )
    .expect("strings take all text");
    row
}
