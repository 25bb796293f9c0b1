//! The fuzz targets of a machine over their corpus.

#[path = "../../../tests/fixtures/corpus.rs"]
mod corpus;
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn run(target: &str, over: fn(&[u8])) {
    corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target), 128, over);
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
