//! Secure Boot with keys of one's own.

use super::{BOOT, READY, folder, says, spec, start};
use rk_qemu::vm::{Bus, Firmware, VmSpec};
use rk_tests::{Operator, artifacts, eventually, limit};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A GUID for whoever owns the keys.
const OWNER: &str = "5a5a0c1e-0f0e-4d0d-8c0b-0a0908070605";

/// What is said of a program that nobody trusted vouches for.
const REFUSALS: [&str; 3] = ["access denied", "security violation", "security policy violation"];

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
    let args = ["image", "build", "--from", &text(&raw), "--format", "raw,iso", "--output", &text(&dir)];
    let signing =
        ["--sign", &text(&key), "--certificate", &text(&certificate), "--tools", &text(&artifacts().closures)];
    Operator::new(&artifacts(), &dir).run(&[args.as_slice(), signing.as_slice()].concat()).good();
    let disk = dir.join("rk.raw");
    let firmware = locked(&dir, &certificate);
    the_signed_cd_starts_and_the_other_does_not(&dir, &firmware);
    let spec = spec(&dir, firmware).drive(&disk, false);
    let mark = { rk_qemu::console::Console::new("m", &spec.console_log()).mark() };
    let mut vm = start(&spec);
    for word in ["slot a runs", READY] {
        vm.wait_console_from(mark, word, limit(BOOT)).unwrap_or_else(|err| panic!("{err}"));
    }
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
    is_refused(&spec);
}

/// The firmware does not start what is on this machine's medium, and says why.
fn is_refused(spec: &VmSpec) {
    let mark = { rk_qemu::console::Console::new("m", &spec.console_log()).mark() };
    let mut vm = start(spec);
    eventually("the firmware's refusal", limit(BOOT), || {
        let said = vm.console().text_since(mark);
        // The firmware and the boot loader write it each in its own way.
        let words = said.to_lowercase();
        if REFUSALS.iter().any(|refusal| words.contains(refusal)) { Ok(()) } else { Err(said) }
    });
    assert!(!vm.console().text_since(mark).contains("pid 1 up"), "{}", vm.console().text_since(mark));
    vm.kill();
}

/// The CD that lies in `dir` is signed, the one that everybody has is not.
fn the_signed_cd_starts_and_the_other_does_not(dir: &Path, firmware: &Firmware) {
    let with = |iso: &Path| spec(dir, firmware.clone()).drive_on(Bus::Cd, iso, true);
    let mut vm = start(&with(&dir.join("rk.iso")));
    says(&mut vm, &[READY]);
    vm.kill();
    drop(vm);
    is_refused(&with(&artifacts().media.join("rk.iso")));
}
