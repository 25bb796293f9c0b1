//! Against the program that everyone uses: `RK_CRYPTSETUP` names a folder with the package `cryptsetup-bin` and all it depends on.
//! Without it these tests have no peer and do nothing; `cargo xtask test` sets it.

use rk_luks::{Cost, Header, LuksError, Secret, Write};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PASSPHRASE: &str = "correct horse battery";

fn peer() -> Option<PathBuf> {
    std::env::var_os("RK_CRYPTSETUP").map(PathBuf::from)
}

/// Runs it with a passphrase on its standard input; answers whether it succeeded, and its output.
fn cryptsetup(root: &Path, args: &[&str], image: &Path, passphrase: &str) -> (bool, String) {
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.args(["--inhibit-cache", "--library-path"]).arg(root.join("usr/lib/x86_64-linux-gnu"));
    command.arg(root.join("usr/sbin/cryptsetup")).args(args).arg("--disable-locks").arg(image);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("cryptsetup");
    child.stdin.take().unwrap().write_all(passphrase.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn noise(bytes: &mut [u8]) -> std::io::Result<()> {
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, bytes)
}

fn image(dir: &Path) -> (PathBuf, File) {
    let path = dir.join("image");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.set_len(32 << 20).unwrap();
    (path, file)
}

fn put(file: &File, writes: impl IntoIterator<Item = Write>) {
    for Write { offset, bytes } in writes {
        file.write_all_at(&bytes, offset).unwrap();
    }
}

fn read(file: &File) -> impl Fn(u64, usize) -> std::io::Result<Vec<u8>> {
    move |offset, size| {
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

#[test]
fn what_is_written_here_opens_here_and_survives_the_loss_of_either_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = image(dir.path());
    let (mut header, key) = Header::new("RK-STATE", &mut noise).unwrap();
    let (slot, area) = header.set_key(None, &key, &secret("one"), Cost::Random, &mut noise).unwrap();
    let (other, more) = header.set_key(None, &key, &secret("two"), Cost::Random, &mut noise).unwrap();
    assert_eq!((slot, other), (0, 1));
    let headers = header.encode(&mut noise).unwrap();
    put(&file, [area, more]);
    put(&file, headers.clone());
    for lost in [None, Some(0), Some(headers[0].offset)] {
        put(&file, headers.clone());
        if let Some(offset) = lost {
            file.write_all_at(&[0xff; 5000], offset).unwrap();
        }
        let read = read(&file);
        let header = Header::read(&read).unwrap();
        assert_eq!(header.label(), "RK-STATE");
        assert_eq!(header.open(&secret("two"), None, &read).unwrap().key, key, "{lost:?}");
        assert!(matches!(header.open(&secret("two"), Some(&[0]), &read), Err(LuksError::WrongSecret)));
        assert!(matches!(header.open(&secret("three"), None, &read), Err(LuksError::WrongSecret)));
    }
    // A keyslot that is given another secret keeps its place.
    put(&file, headers);
    let mut header = Header::read(&read(&file)).unwrap();
    let (again, area) = header.set_key(Some(0), &key, &secret("new"), Cost::Random, &mut noise).unwrap();
    assert_eq!(again, 0);
    put(&file, [area]);
    put(&file, header.encode(&mut noise).unwrap());
    let header = Header::read(&read(&file)).unwrap();
    assert!(header.open(&secret("one"), None, &read(&file)).is_err());
    assert_eq!(header.open(&secret("new"), None, &read(&file)).unwrap().slot, 0);
}

#[test]
fn noise_is_no_header() {
    let mut junk = vec![0; 8 << 20];
    noise(&mut junk).unwrap();
    let of =
        |bytes: Vec<u8>| move |at: u64, size: usize| Ok(bytes.iter().skip(at as usize).take(size).copied().collect());
    assert!(matches!(Header::read(&of(junk.clone())), Err(LuksError::Torn)));
    junk.truncate(100);
    assert!(matches!(Header::read(&of(junk)), Err(LuksError::Torn)));
}

#[test]
fn cryptsetup_opens_what_is_written_here() {
    let Some(root) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = image(dir.path());
    let (mut header, key) = Header::new("RK-DATA", &mut noise).unwrap();
    let (_, sealed) = header.set_key(None, &key, &secret("sealed"), Cost::Random, &mut noise).unwrap();
    let (_, people) = header.set_key(None, &key, &secret(PASSPHRASE), Cost::Passphrase, &mut noise).unwrap();
    let token = serde_json::json!({"type": "rk-tpm2", "keyslots": ["0"], "tpm2-blob": "AAAA"});
    header.set_token(None, token).unwrap();
    put(&file, [sealed, people]);
    put(&file, header.encode(&mut noise).unwrap());
    let (good, dump) = cryptsetup(&root, &["luksDump"], &path, "");
    assert!(good, "{dump}");
    for word in ["RK-DATA", "aes-xts-plain64", "argon2id", "pbkdf2", "rk-tpm2", "sector: 4096 [bytes]"] {
        assert!(dump.contains(word), "{word}: {dump}");
    }
    let open = ["open", "--test-passphrase", "--key-file=-"];
    for passphrase in ["sealed", PASSPHRASE] {
        let (good, said) = cryptsetup(&root, &open, &path, passphrase);
        assert!(good, "{passphrase}: {said}");
    }
    let (good, _) = cryptsetup(&root, &open, &path, "wrong");
    assert!(!good, "it opened with a wrong passphrase");
    // And it checks the header's every field when it repairs.
    let (good, said) = cryptsetup(&root, &["repair", "--batch-mode"], &path, "");
    assert!(good, "{said}");
}

#[test]
fn what_cryptsetup_writes_opens_here() {
    let Some(root) = peer() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (kdf, hash, bits) in [("pbkdf2", "sha256", "512"), ("pbkdf2", "sha512", "256"), ("argon2id", "sha256", "512")] {
        let (path, file) = image(dir.path());
        let cost: &[&str] = match kdf {
            "pbkdf2" => &["--pbkdf-force-iterations", "2000"],
            _ => &["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32768", "--pbkdf-parallel", "2"],
        };
        let format = ["luksFormat", "--type", "luks2", "--batch-mode", "--key-file=-", "--label", "theirs"];
        let how = ["--pbkdf", kdf, "--hash", hash, "--key-size", bits];
        let (good, said) = cryptsetup(&root, &[&format, how.as_slice(), cost].concat(), &path, PASSPHRASE);
        assert!(good, "{said}");
        let read = read(&file);
        let header = Header::read(&read).unwrap();
        assert_eq!((header.label(), header.slots()), ("theirs", vec![0]));
        let opened = header.open(&secret(PASSPHRASE), None, &read).unwrap_or_else(|err| panic!("{kdf} {hash}: {err}"));
        assert_eq!((opened.slot, opened.key.bytes().len() * 8), (0, bits.parse().unwrap()));
        assert!(matches!(header.open(&secret("wrong"), None, &read), Err(LuksError::WrongSecret)));
        assert_eq!(header.segment().unwrap().offset(), 16 << 20);
    }
}
