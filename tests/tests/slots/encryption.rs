//! Encrypted STATE and DATA: opened by the TPM that sealed their key and by no other, or by a passphrase.

use super::upgrade::{GUARDED, IMAGE, kubectl};
use super::{API, BOOT, Installed, artifacts, uefi};
use rk_qemu::cidata;
use rk_qemu::vm::{Firmware, Swtpm};
use rk_tests::exit::PRECONDITION;
use rk_tests::{Outcome, eventually, limit, registry};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PASSPHRASE: &str = "a recovery passphrase";
/// Where the partitions begin that `image/src/media/raw.rs` lays out.
const STATE_AT: u64 = 226 << 20;
const DATA_AT: u64 = 290 << 20;
const HEADER: usize = 4 << 20;

fn tpm(machine: &mut Installed, name: &str) -> Swtpm {
    let tpm = Swtpm::start(&artifacts().closures.join("swtpm"), &machine.dir.join(name)).expect("swtpm");
    machine.spec.tpm = Some(tpm.socket().to_owned());
    tpm
}

fn disk(machine: &Installed) -> PathBuf {
    machine.dir.join("disk.raw")
}

/// What a partition begins with.
fn header(machine: &Installed, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    File::open(disk(machine)).and_then(|file| file.read_exact_at(&mut bytes, at)).expect("disk");
    bytes
}

/// Whether cryptsetup opens a partition of the disk with this passphrase.
fn cryptsetup_opens(machine: &Installed, at: u64, passphrase: &str) -> bool {
    let root = artifacts().closures.join("cryptsetup-bin");
    let image = machine.dir.join("partition");
    let file = File::create(&image).expect("a file");
    file.set_len(32 << 20).expect("size");
    file.write_all_at(&header(machine, at), 0).expect("header");
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.args(["--inhibit-cache", "--library-path"]).arg(root.join("usr/lib/x86_64-linux-gnu"));
    command.arg(root.join("usr/sbin/cryptsetup"));
    command.args(["open", "--test-passphrase", "--key-file=-", "--disable-locks"]).arg(&image);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("cryptsetup");
    child.stdin.take().expect("a pipe").write_all(passphrase.as_bytes()).expect("a passphrase");
    child.wait().is_ok_and(|status| status.success())
}

fn unlock(machine: &mut Installed, passphrase: &str) -> Outcome {
    std::fs::write(machine.dir.join("passphrase"), format!("{passphrase}\n")).expect("a file");
    let fingerprint = machine.fingerprint();
    let file = ["--passphrase-file", "passphrase"];
    let args = [&["node", "unlock", "--insecure", "--fingerprint", &fingerprint], file.as_slice()].concat();
    machine.rkctl(&args)
}

fn with_encryption(path: &Path, encryption: &str, more: &str) -> String {
    let config = std::fs::read_to_string(path).expect("a config");
    let config = format!("{config}\ndisks: {{encryption: {encryption}}}\n{more}");
    std::fs::write(path, &config).expect("a config");
    config
}

#[test]
fn disks_sealed_to_a_tpm_keep_what_they_hold_and_open_on_no_other_machine() {
    let mut machine = Installed::new("tpm", uefi);
    machine.spec.memory_mib = 1536;
    let (registry, mirror) = registry(&machine.dir);
    machine.operator.run(&["config", "gen", "demo", &format!("https://10.0.2.15:{API}")]).good();
    let encryption = format!("{{state: tpm, data: tpm, passphrase: {PASSPHRASE:?}}}");
    with_encryption(
        &machine.dir.join("control-plane.yaml"),
        &encryption,
        &format!("registries: {{mirrors: [{mirror}]}}\n"),
    );
    let own = tpm(&mut machine, "own");
    machine.start();
    let fingerprint = machine.fingerprint();
    machine.rkctl(&["node", "apply", "--insecure", "--fingerprint", &fingerprint, "control-plane.yaml"]).good();
    machine.ends();
    drop(own);
    let own = tpm(&mut machine, "own");
    machine.start();
    machine.says(&[
        "STATE is encrypted from now on; it is opened by the TPM and a passphrase",
        "is encrypted from now on; it is opened by the TPM and a passphrase",
        "/var is on /dev/dm-",
        "config accepted from the machine's state",
    ]);
    machine.answers();
    let cluster = kubectl(&machine);
    cluster.apply(&GUARDED.replace("IMAGE", IMAGE));
    let runs = |machine: &Installed| {
        let cluster = kubectl(machine);
        eventually("the pod to run", limit(2 * BOOT), || {
            let answer = cluster.run(&["rollout", "status", "deployment/guarded", "--timeout=5s"]);
            if answer.success { Ok(()) } else { Err(answer.out + &answer.err) }
        });
    };
    runs(&machine);
    let id = machine.rkctl(&["node", "read", "/etc/machine-id"]).good();
    machine.rkctl(&["node", "reboot", "--no-drain"]).good();
    machine.ends();
    for at in [STATE_AT, DATA_AT] {
        assert!(header(&machine, at).starts_with(b"LUKS\xba\xbe"), "{at}: not encrypted");
        assert!(cryptsetup_opens(&machine, at, PASSPHRASE), "{at}: cryptsetup does not open it");
    }
    // Neither the API nor the registry has what the node is about to run: its own disk has.
    drop((registry, own));
    let own = tpm(&mut machine, "own");
    machine.start();
    machine.says(&["STATE on /dev/vda5 is opened by the TPM", "DATA on /dev/vda6 is opened by the TPM"]);
    machine.answers();
    runs(&machine);
    assert_eq!(machine.rkctl(&["node", "read", "/etc/machine-id"]).good(), id);
    machine.rkctl(&["node", "shutdown", "--no-drain"]).good();
    machine.ends();
    drop(own);
    exchanged_partitions_lock(&mut machine);
    let other = tpm(&mut machine, "other");
    machine.start();
    machine.says(&["STATE is locked: another TPM sealed the key", "waits for rkctl node unlock"]);
    let wrong = unlock(&mut machine, "not the passphrase");
    assert_eq!(wrong.code, PRECONDITION, "{wrong:?}");
    assert!(!machine.said().contains("config accepted"), "{}", machine.said());
    unlock(&mut machine, PASSPHRASE).good();
    machine.says(&[
        "STATE on /dev/vda5 is opened by a passphrase, and by the TPM from now on",
        "config accepted from the machine's state",
    ]);
    machine.answers();
    machine.rkctl(&["node", "reset", "--state"]).good();
    machine.ends();
    drop(other);
    let _other = tpm(&mut machine, "other");
    machine.start();
    machine.says(&[
        "STATE on /dev/vda5 is opened by the TPM",
        "reset: forgetting the keys of STATE",
        "rkctl node apply --insecure",
    ]);
    assert!(!machine.said().contains("config accepted"), "{}", machine.said());
}

/// What lies on the disk from `at` on, as long as STATE is.
fn region(disk: &Path, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; (DATA_AT - STATE_AT) as usize];
    File::open(disk).and_then(|file| file.read_exact_at(&mut bytes, at)).expect("disk");
    bytes
}

/// Somebody at the machine puts a STATE of their own beside its DATA, and a DATA of their own beside its STATE: the TPM is the same, and
/// neither opens. What was there before opens again.
fn exchanged_partitions_lock(machine: &mut Installed) {
    let put = |machine: &Installed, at: u64, bytes: &[u8]| {
        let file = File::options().write(true).open(disk(machine)).expect("disk");
        file.write_all_at(bytes, at).expect("write");
    };
    let empty = |at: u64| region(&artifacts().media.join("rk.raw"), at);
    let mut used = empty(DATA_AT);
    // ext4's time of the last mount: to a machine it was used before.
    used[1024 + 0x2c] = 1;
    for (at, theirs, said) in [
        (STATE_AT, empty(STATE_AT), "DATA is locked: it belongs to another STATE than this one"),
        (DATA_AT, used, "DATA is locked: the encrypted one that belongs to this machine's STATE is not there"),
    ] {
        let ours = region(&disk(machine), at);
        put(machine, at, &theirs);
        let own = tpm(machine, "own");
        machine.start();
        machine.says(&[said, "waits for rkctl node unlock"]);
        assert!(!machine.said().contains("config accepted"), "{}", machine.said());
        machine.vm = None;
        drop(own);
        put(machine, at, &ours);
    }
}

#[test]
fn disks_with_a_passphrase_open_by_the_config_that_has_it_or_by_an_operator() {
    let mut machine = Installed::new("passphrase", |_| Firmware::Bios);
    machine.operator.run(&["config", "gen", "paper", "https://10.0.2.2:1"]).good();
    let encryption = format!("{{state: passphrase, data: passphrase, passphrase: {PASSPHRASE:?}}}");
    let config = with_encryption(&machine.dir.join("worker.yaml"), &encryption, "");
    let seed = machine.dir.join("cidata.img");
    cidata::create(&seed, &config, "instance-id: slots\n").expect("config drive");
    let bare = machine.spec.clone();
    machine.spec = machine.spec.clone().drive(&seed, true);
    machine.start();
    machine.says(&[
        "STATE on /dev/vda5 is encrypted from now on; it is opened by a passphrase",
        "DATA on /dev/vda6 is encrypted from now on; it is opened by a passphrase",
        "config accepted from config drive",
    ]);
    machine.answers();
    machine.starts_again_by(&["node", "reboot"]);
    machine.says(&["STATE on /dev/vda5 is opened by a passphrase", "DATA on /dev/vda6 is opened by a passphrase"]);
    machine.answers();
    // From now on the config lies on the encrypted STATE, and nobody else has the passphrase.
    machine.rkctl(&["node", "apply", "worker.yaml"]).good();
    machine.rkctl(&["node", "shutdown"]).good();
    machine.ends();
    machine.spec = bare;
    machine.start();
    machine.says(&["STATE is locked: no passphrase is at hand", "waits for rkctl node unlock"]);
    unlock(&mut machine, PASSPHRASE).good();
    machine.says(&["/var is on /dev/dm-", "config accepted from the machine's state"]);
    machine.answers();
    machine.starts_again_by(&["node", "reset", "--all"]);
    // Locked again: its note lies behind the lock.
    machine.says(&["STATE is locked: no passphrase is at hand"]);
    // The machine goes off before it can answer.
    unlock(&mut machine, PASSPHRASE);
    machine.ends();
    assert!(!header(&machine, STATE_AT).starts_with(b"LUKS"), "a header is left");
}
