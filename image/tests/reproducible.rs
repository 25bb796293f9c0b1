//! Two builds from the same programs are the same bytes.

use rk_image::{BINARIES, INIT, Image, Inputs, Packer, build};
use std::fs;
use std::path::Path;

fn programs(dir: &Path, seed: u8) {
    fs::create_dir_all(dir).unwrap();
    for (i, (name, _)) in BINARIES.iter().enumerate() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n / 7 % 251) as u8 ^ (i as u8) ^ seed).collect();
        fs::write(dir.join(name), bytes).unwrap();
    }
}

fn built(root: &Path, name: &str, seed: u8) -> Image {
    programs(&root.join(name), seed);
    build(&Inputs {
        binaries: root.join(name),
        out: root.join(format!("{name}-out")),
        packer: Packer::default(),
        machine_config: None,
    })
    .unwrap()
}

#[test]
fn two_builds_give_equal_bytes_and_other_programs_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (built(dir.path(), "a", 0), built(dir.path(), "b", 0), built(dir.path(), "c", 1));
    assert_eq!(fs::read(&a.root).unwrap(), fs::read(&b.root).unwrap());
    assert_eq!(fs::read(&a.initramfs).unwrap(), fs::read(&b.initramfs).unwrap());
    assert_eq!(a.manifest.initramfs, b.manifest.initramfs);
    assert_ne!(a.manifest.root, c.manifest.root);
}

#[test]
fn another_pid_1_is_another_initramfs_around_the_same_root() {
    let dir = tempfile::tempdir().unwrap();
    let image = |name: &str, init: &[u8]| {
        let inputs = Inputs {
            binaries: dir.path().join(name),
            out: dir.path().join(format!("{name}-out")),
            packer: Packer::default(),
            machine_config: None,
        };
        programs(&inputs.binaries, 0);
        fs::write(inputs.binaries.join(INIT), init).unwrap();
        build(&inputs).unwrap()
    };
    let (one, other) = (image("one", b"one"), image("other", b"other"));
    assert_eq!(fs::read(&one.root).unwrap(), fs::read(&other.root).unwrap());
    assert_ne!(one.manifest.initramfs, other.manifest.initramfs);
}

#[test]
fn a_second_build_from_unchanged_files_only_looks() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = Inputs {
        binaries: dir.path().join("bin"),
        out: dir.path().join("out"),
        packer: Packer::default(),
        machine_config: None,
    };
    programs(&inputs.binaries, 0);
    assert!(!build(&inputs).unwrap().cached);
    assert!(build(&inputs).unwrap().cached);
    programs(&inputs.binaries, 1);
    assert!(!build(&inputs).unwrap().cached);
}

#[test]
fn missing_programs_are_named_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = Inputs {
        binaries: dir.path().to_owned(),
        out: dir.path().join("out"),
        packer: Packer::default(),
        machine_config: None,
    };
    let said = format!("{:#}", build(&inputs).unwrap_err());
    assert!(BINARIES.iter().all(|(name, _)| said.contains(name)), "{said}");
}
