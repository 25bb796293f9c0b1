//! Secure Boot with keys of one's own.

use super::{READY, folder, says, spec, start};
use rk_qemu::vm::Firmware;
use rk_tests::{Operator, artifacts, limit};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A GUID for whoever owns the keys.
const OWNER: &str = "5a5a0c1e-0f0e-4d0d-8c0b-0a0908070605";

/// A key and a certificate that it signed itself.
pub(super) fn keys(dir: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (dir.join("db.key"), dir.join("db.crt"));
    let made = Command::new("openssl")
        .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "30", "-subj", "/CN=rk"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key, certificate)
}

/// Firmware that starts nothing but what this certificate vouches for.
fn locked(dir: &Path, certificate: &Path) -> Firmware {
    let (ovmf, python) =
        (artifacts().closures.join("ovmf/usr/share/OVMF"), artifacts().closures.join("python3-virt-firmware"));
    let variables = dir.join("variables.fd");
    let interpreter = rk_image::Program::Unpacked { root: python.clone(), path: "usr/bin/python3".into() };
    let mut command = interpreter.command().expect("python");
    command.args(["-m", "virt.firmware.vars", "--secure-boot", "--input"]);
    command.arg(ovmf.join("OVMF_VARS_4M.fd")).arg("--output").arg(&variables);
    for list in ["--set-pk", "--add-kek", "--add-db"] {
        command.args([list, OWNER]).arg(certificate);
    }
    command.env("PYTHONHOME", python.join("usr")).env("PYTHONPATH", python.join("usr/lib/python3/dist-packages"));
    let enrolled = command.output().expect("virt-fw-vars");
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    Firmware::LockedUefi { code: ovmf.join("OVMF_CODE_4M.secboot.fd"), variables }
}

#[test]
fn secure_boot_starts_what_our_key_signed_and_refuses_a_program_with_another_command_line() {
    let dir = folder("media", "secure-boot");
    let (key, certificate) = keys(&dir);
    let text = |path: &Path| path.display().to_string();
    let raw = artifacts().media.join("rk.raw");
    let args = ["image", "build", "--from", &text(&raw), "--format", "raw", "--output", &text(&dir)];
    let signing =
        ["--sign", &text(&key), "--certificate", &text(&certificate), "--tools", &text(&artifacts().closures)];
    Operator::new(&artifacts(), &dir).run(&[args.as_slice(), signing.as_slice()].concat()).good();
    let disk = dir.join("rk.raw");
    let spec = spec(&dir, locked(&dir, &certificate)).drive(&disk, false);
    let mut vm = start(&spec);
    says(&mut vm, &["slot a runs", READY]);
    vm.kill();
    drop(vm);
    // One letter of the command line of the EFI program, wherever it lies on the EFI partition.
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&disk).expect("disk");
    let mut esp = vec![0; 97 << 20];
    file.read_exact_at(&mut esp, 1 << 20).expect("EFI partition");
    let words = b"console=tty0 console=ttyS0";
    let mut places = 0;
    for at in (0..esp.len() - words.len()).filter(|at| esp.get(*at..*at + words.len()) == Some(words.as_slice())) {
        file.write_all_at(b"C", (1 << 20) + at as u64).expect("write");
        places += 1;
    }
    assert!(places > 0, "the command line was not found");
    let mark = { rk_qemu::console::Console::new("m", &spec.console_log()).mark() };
    let mut vm = start(&spec);
    vm.wait_console_from(mark, "Access denied", limit(120))
        .or_else(|_| vm.wait_console_from(mark, "Security", limit(5)))
        .unwrap_or_else(|err| panic!("{err}"));
    assert!(!vm.console().text_since(mark).contains("pid 1 up"), "{}", vm.console().text_since(mark));
}
