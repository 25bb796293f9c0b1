//! Against a software TPM that nobody here wrote: `RK_SWTPM` names a folder with the package `swtpm` and all it depends on.
//! Without it these tests have no peer and do nothing; `cargo xtask test` sets it.

use rk_tpm::{TpmError, seal, unseal};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PCR_EXTEND: [u8; 33] =
    [0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, 16, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x0b];

struct Swtpm {
    child: Child,
    socket: UnixStream,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peer() -> Option<PathBuf> {
    std::env::var_os("RK_SWTPM").map(PathBuf::from)
}

fn start(root: &Path, state: &Path) -> Swtpm {
    std::fs::create_dir_all(state).unwrap();
    let socket = state.join("socket");
    let _ = std::fs::remove_file(&socket);
    let libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/swtpm"].map(|dir| root.join(dir));
    let search = libraries.each_ref().map(|dir| dir.display().to_string()).join(":");
    let child = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"))
        .args(["--inhibit-cache", "--library-path", &search])
        .arg(root.join("usr/bin/swtpm"))
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .spawn()
        .expect("swtpm");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match UnixStream::connect(&socket) {
            Ok(socket) => return Swtpm { child, socket },
            Err(err) if Instant::now() > deadline => panic!("swtpm does not listen: {err}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Measures something into PCR 16, which is there for that.
fn extend(tpm: &mut Swtpm) {
    let command = [PCR_EXTEND.as_slice(), &[7; 32]].concat();
    tpm.socket.write_all(&command).unwrap();
    let mut answer = [0; 64];
    let size = tpm.socket.read(&mut answer).unwrap();
    assert_eq!(answer[..size].get(6..10), Some([0; 4].as_slice()), "extending failed");
}

#[test]
fn a_secret_comes_back_from_the_tpm_that_sealed_it_while_its_measurements_are_the_same() {
    let Some(root) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut tpm = start(&root, &dir.path().join("one"));
    let sealed = seal(&mut tpm.socket, b"a secret", &[7, 16]).unwrap();
    assert_eq!(unseal(&mut tpm.socket, &sealed).unwrap(), b"a secret");
    // A TPM has room for three objects: none was left behind.
    for _ in 0..4 {
        unseal(&mut tpm.socket, &sealed).unwrap();
    }
    let other = seal(&mut tpm.socket, b"another", &[7]).unwrap();
    extend(&mut tpm);
    let refused = unseal(&mut tpm.socket, &sealed).unwrap_err();
    assert!(matches!(&refused, TpmError::Measured { which } if which == "PCR 16"), "{refused}");
    assert_eq!(unseal(&mut tpm.socket, &other).unwrap(), b"another");
    drop(tpm);
    // The state is kept, and the measurements are those of a fresh start again.
    let mut tpm = start(&root, &dir.path().join("one"));
    assert_eq!(unseal(&mut tpm.socket, &sealed).unwrap(), b"a secret");
    let mut foreign = start(&root, &dir.path().join("two"));
    let refused = unseal(&mut foreign.socket, &sealed).unwrap_err();
    assert!(matches!(refused, TpmError::Foreign), "{refused}");
    let mut torn = sealed.clone();
    torn.blob.truncate(40);
    assert!(unseal(&mut tpm.socket, &torn).is_err());
}
