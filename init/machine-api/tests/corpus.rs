//! The fuzz targets over their corpus: every input that was ever worth keeping, whole, cut short, and with bytes turned over.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn run(target: &str, over: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 3, "{}", folder.display());
    for file in files {
        let data = std::fs::read(&file).expect("readable");
        over(&data);
        for at in (0..data.len()).step_by(data.len() / 128 + 1) {
            over(&data[..at]);
            for flip in [0x01, 0x80, 0xff] {
                let mut other = data.clone();
                other[at] ^= flip;
                over(&other);
            }
        }
    }
}

#[test]
fn configs_of_the_corpus_are_read_and_written_alike_or_refused() {
    run("config", targets::config);
}

#[test]
fn packets_of_the_corpus_are_leases_or_nothing() {
    run("dhcp", targets::dhcp);
}

#[test]
fn answers_of_the_corpus_are_understood_or_refused() {
    run("answers", targets::answers);
}

#[test]
fn metadata_of_the_corpus_is_understood_or_refused() {
    run("metadata", targets::metadata);
}

#[test]
fn messages_of_the_corpus_are_understood_or_refused() {
    run("machine", targets::machine);
}
