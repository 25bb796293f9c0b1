//! The fuzz targets over their corpus: every input that was ever worth keeping.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn run(target: &str, over: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 3, "{}", folder.display());
    for file in files {
        let data = std::fs::read(&file).expect("readable");
        over(&data);
        // Each input cut short is an input, too.
        for end in (0..data.len()).step_by(data.len() / 64 + 1) {
            over(&data[..end]);
        }
    }
}

#[test]
fn bodies_of_the_corpus_decode_or_are_refused() {
    run("bodies", targets::bodies);
}

#[test]
fn patches_of_the_corpus_apply_or_change_nothing() {
    run("patches", targets::patches);
}

#[test]
fn selectors_of_the_corpus_mean_what_they_say() {
    run("selectors", targets::selectors);
}

#[test]
fn messages_of_the_corpus_decode_or_are_refused() {
    run("protobuf", targets::protobuf);
}
