//! Secrets at rest: what is in the files of a control plane, and how keys are exchanged.

use crate::cluster::ControlPlane;
use std::path::Path;
use std::process::Command;

const WORD: &str = "a-word-that-nobody-finds";
/// The word as the API keeps it.
const STORED: &str = "YS13b3JkLXRoYXQtbm9ib2R5LWZpbmRz";
const READ: &str = "get secret hidden -o jsonpath={.data.word}";
const VERSION: &str = "get secret hidden -o jsonpath={.metadata.resourceVersion}";
/// Keys of 32 bytes.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// Whether the database, or its log of writes, has a text.
fn in_database(dir: &Path, text: &str) -> bool {
    // What a checkpoint moves meanwhile is found in one of them, in this order.
    let files = ["state.db-wal", "state.db"].map(|name| dir.join(name));
    Command::new("grep").args(["-qsaF", text]).args(files).status().expect("grep runs").success()
}

/// Has every Secret written again without a change.
fn write_again(plane: &ControlPlane) {
    let file = plane.dir().join("secrets.json");
    std::fs::write(&file, plane.kubectl("get secrets -A -o json")).expect("written");
    plane.kubectl(&format!("replace -f {}", file.display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_keeps_its_secrets_encrypted_and_nothing_else() {
    let mut plane = ControlPlane::start().await;
    plane.kubectl(&format!("create secret generic hidden --from-literal=word={WORD}"));
    plane.kubectl("create configmap open --from-literal=word=everybody-finds-this");
    assert!(!in_database(plane.dir(), WORD) && !in_database(plane.dir(), STORED));
    assert!(in_database(plane.dir(), "k8s:enc:secretbox:v1:") && in_database(plane.dir(), "everybody-finds-this"));
    plane.crash_and_restart().await;
    assert_eq!(plane.kubectl(READ), STORED);
    let before = plane.kubectl(VERSION);
    write_again(&plane);
    assert_eq!(plane.kubectl(VERSION), before, "by the same key nothing is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_exchanged_by_writing_everything_again() {
    let aesgcm = |keys: &[(&str, &str)]| {
        let keys: Vec<_> = keys.iter().map(|(name, key)| format!("{{name: {name}, secret: {key}}}")).collect();
        format!("{{aesgcm: {{keys: [{}]}}}}", keys.join(", "))
    };
    let write = |dir: &Path, providers: &str| {
        let rule = format!("{{resources: [secrets], providers: [{providers}]}}");
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
        std::fs::write(dir.join("encryption.yaml"), format!("{head}resources: [{rule}]\n")).expect("written");
    };
    let mut plane = ControlPlane::start_with(|dir| {
        write(dir, "{identity: {}}");
        vec!["--encryption-provider-config".to_owned(), dir.join("encryption.yaml").display().to_string()]
    })
    .await;
    plane.kubectl(&format!("create secret generic hidden --from-literal=word={WORD}"));
    assert!(in_database(plane.dir(), STORED), "as the file says");

    let steps = [
        (format!("{}, {{identity: {{}}}}", aesgcm(&[("one", ONE)])), "one"),
        (aesgcm(&[("two", TWO), ("one", ONE)]), "two"),
    ];
    for (providers, name) in steps {
        write(plane.dir(), &providers);
        plane.crash_and_restart().await;
        assert_eq!(plane.kubectl(READ), STORED, "by the key before {name}");
        let before = plane.kubectl(VERSION);
        write_again(&plane);
        assert_ne!(plane.kubectl(VERSION), before, "it is stored anew by key {name}");
        assert!(in_database(plane.dir(), &format!("k8s:enc:aesgcm:v1:{name}:")));
    }
    write(plane.dir(), &aesgcm(&[("two", TWO)]));
    plane.crash_and_restart().await;
    assert_eq!(plane.kubectl(READ), STORED, "the last key is enough");
    let before = plane.kubectl(VERSION);
    write_again(&plane);
    assert_eq!(plane.kubectl(VERSION), before);
}
