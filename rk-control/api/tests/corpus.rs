//! The fuzz targets of the API over their corpus.

#[path = "../../../tests/fixtures/corpus.rs"]
mod corpus;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn run(target: &str, over: fn(&[u8])) {
    corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target), 16, over);
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

#[test]
fn patterns_of_the_corpus_are_read_or_refused_and_quotations_stand_for_themselves() {
    run("patterns", targets::patterns);
}
