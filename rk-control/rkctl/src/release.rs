//! Signing disk images, so that machines whose config names the key take no others.

use crate::args::Format;
use crate::exit::{Class, Failure};
use crate::node::disk;
use crate::{generate, output};
use anyhow::{Context, Result};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use rk_image::media::Installed;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a line of the signature file is for.
const UPGRADE: &str = "upgrade";
const INSTALL: &str = "install-";
/// Disks that images are laid out for.
const SECTORS: [u64; 2] = [512, 4096];

/// Makes a key pair; files that are there are not written over.
///
/// # Errors
/// A file is there already, or cannot be written.
pub fn make_key(format: Format, name: &Path) -> Result<Class> {
    let pair = KeyPair::generate_for(&PKCS_ED25519).context("making a key")?;
    let mut files = Vec::new();
    for (ending, mode, text) in [("key", 0o600, pair.serialize_pem()), ("pub", 0o644, pair.public_key_pem())] {
        let path = with_ending(name, ending);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .with_context(|| format!("making {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
        files.push(path.display().to_string());
    }
    output::made(format, "files", &files)?;
    Ok(Class::Good)
}

/// Writes the signature of an image beside it.
///
/// # Errors
/// The key is no Ed25519 key, the file no image of ours.
pub fn sign(format: Format, key: &Path, image: &Path) -> Result<Class> {
    let pem = generate::read(key)?;
    let pair = KeyPair::from_pem(&pem).with_context(|| format!("reading {}", key.display()))?;
    if pair.algorithm() != &PKCS_ED25519 {
        let text = format!("{} is no Ed25519 key; rkctl image key makes one", key.display());
        return Err(Failure::new(Class::Usage, text).into());
    }
    let mut statements = vec![(UPGRADE.to_owned(), statement(&crate::image::open(image)?)?)];
    for sector in SECTORS {
        let sums = disk::sums(image, sector)?;
        statements.push((format!("{INSTALL}{sector}"), sums.statement(sector.try_into()?)));
    }
    let mut text = String::new();
    for (name, statement) in statements {
        let signature = pair.sign(statement.as_bytes()).context("signing")?;
        text.push_str(&format!("{name} {}\n", hex::encode(signature)));
    }
    let path = signature_of(image);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    output::made(format, "files", &[path.display().to_string()])?;
    Ok(Class::Good)
}

/// The signature beside an image that upgrades take; empty when there is none.
///
/// # Errors
/// There is one that cannot be read.
pub fn signature(image: &Path) -> Result<Vec<u8>> {
    named(image, UPGRADE)
}

/// As [`signature`], for installations on disks with such sectors.
///
/// # Errors
/// As [`signature`].
pub fn install_signature(image: &Path, sector: u64) -> Result<Vec<u8>> {
    named(image, &format!("{INSTALL}{sector}"))
}

fn named(image: &Path, name: &str) -> Result<Vec<u8>> {
    let path = signature_of(image);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let found = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
            hex::decode(found.unwrap_or_default().trim())
                .with_context(|| format!("{} is not a signature", path.display()))
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err).with_context(|| format!("reading {}", path.display())),
    }
}

/// Sum of all that an upgrade to this image sends, in hex.
///
/// # Errors
/// The image cannot be read.
pub fn sha256(image: &Installed) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(&image.program);
    std::io::copy(&mut image.slot()?, &mut hasher).context("reading the image")?;
    Ok(hex::encode(hasher.finalize()))
}

fn statement(image: &Installed) -> Result<String> {
    let program = image.program.len() as u64;
    Ok(rk_slots::statement(program + image.slot_bytes, program, &sha256(image)?))
}

fn signature_of(image: &Path) -> PathBuf {
    with_ending(image, "sig")
}

/// `rk.raw` becomes `rk.raw.sig`.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_private_and_a_missing_signature_is_none() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("release");
        make_key(Format::Table, &name).unwrap();
        assert!(make_key(Format::Table, &name).is_err(), "it was written over");
        let key = with_ending(&name, "key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let pair = KeyPair::from_pem(&std::fs::read_to_string(&key).unwrap()).unwrap();
        assert_eq!(pair.algorithm(), &PKCS_ED25519);
        let public = std::fs::read_to_string(with_ending(&name, "pub")).unwrap();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
        let image = dir.path().join("rk.raw");
        assert!(signature(&image).unwrap().is_empty());
        std::fs::write(signature_of(&image), "upgrade 00ff\ninstall-512 01\ninstall-4096 zz\n").unwrap();
        assert_eq!(signature(&image).unwrap(), [0, 255]);
        assert_eq!(install_signature(&image, 512).unwrap(), [1]);
        assert!(install_signature(&image, 4096).is_err());
        assert!(sign(Format::Table, &key, &image).is_err(), "no image was signed");
    }
}
