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

#[test]
fn every_message_that_a_method_takes_is_fed() {
    let definitions = include_str!("../proto/proto/machine.proto");
    let targets = include_str!("../../fuzz/targets.rs");
    let methods = definitions.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split_once('('));
    let taken = methods.filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0.trim_start_matches("stream "))));
    let taken: Vec<(&str, &str)> = taken.collect();
    assert!(taken.len() > 30, "{taken:?}");
    for (method, message) in taken {
        assert!(targets.contains(&format!("one::<v1::{message}>(data);")), "{message} of {method}");
    }
}

#[test]
fn headers_of_the_corpus_are_read_and_written_alike_or_refused() {
    // Keys are derived on the way.
    corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/luks"), 16, targets::luks);
}

#[test]
fn tpm_answers_of_the_corpus_end_in_a_secret_or_an_error() {
    run("tpm", targets::tpm);
}
