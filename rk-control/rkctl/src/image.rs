//! `rkctl image build`: media out of a raw disk image, which brings kernel and root.

use crate::args::{Build, Format, MediaFormat, Platform};
use crate::exit::{Class, Failure};
use crate::output::{Column, Shape, Show};
use crate::{generate, output};
use anyhow::Result;
use rk_image::initramfs;
use rk_image::media::{self, Artefact, Inputs, Installed, Signer, Tools};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;

/// What kernels of this architecture read of their command line.
const MOST_CMDLINE: usize = 2047;

const ARTEFACTS: Shape = Shape {
    rows: "artefacts",
    columns: &[
        Column("FORMAT", "format", Show::Plain),
        Column("SIZE", "bytes", Show::Bytes),
        Column("PATH", "path", Show::Plain),
    ],
};

/// Builds the media and prints their names and sizes.
///
/// # Errors
/// The file is no image, a tool of the distribution is missing, the command line becomes too long.
pub fn run(format: Format, wanted: &Build) -> Result<Class> {
    let remedy = "--from names the raw disk image to build of";
    let image = Installed::open(&wanted.from).map_err(|err| unusable(missing(err, "opening", Class::Usage, remedy)))?;
    spared(wanted)?;
    let mut starter = image.section(".initrd")?;
    if let Some(path) = &wanted.config {
        let config = generate::read(path)?;
        for key in generate::check(&config)? {
            eprintln!("rkctl: config key {key} is unknown and has no effect");
        }
        starter = initramfs::and_config(starter, &config);
    }
    let base = wanted.cmdline.clone().map_or_else(|| image.cmdline(), Ok)?;
    let cmdline = cmdline(&base, wanted.platform, wanted.config.is_some())?;
    let signer = wanted.sign.as_deref().map(|key| signer(key, wanted.certificate.as_deref())).transpose()?;
    // What was beside the image is still what is in it.
    let sbom = std::fs::read(wanted.from.with_file_name("sbom.cdx.json")).ok();
    if sbom.is_none() {
        eprintln!("rkctl: no sbom.cdx.json lies beside {}: the media are without one", wanted.from.display());
    }
    let inputs = Inputs {
        kernel: image.section(".linux")?,
        starter,
        root: image.root_image()?,
        signer,
        cmdline,
        tools: wanted.tools.as_deref().map_or_else(Tools::system, Tools::unpacked),
        version: image.version.clone(),
        sbom: sbom.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        out: wanted.output.clone(),
    };
    let built = media::build(&inputs, &wanted.format).map_err(|err| {
        missing(err, "(package", Class::Precondition, "install it, or give unpacked packages by --tools")
    })?;
    let rows = built.iter().map(|artefact| row(artefact, &wanted.output)).collect::<Vec<_>>();
    output::print(format, &ARTEFACTS, false, &[(String::new(), json!({"artefacts": rows}))])?;
    Ok(Class::Good)
}

/// A disk is not written over the one that it is made of.
fn spared(wanted: &Build) -> Result<()> {
    let made = std::fs::canonicalize(wanted.output.join(MediaFormat::Raw.file_name()));
    let same = made.is_ok_and(|made| std::fs::canonicalize(&wanted.from).is_ok_and(|from| from == made));
    if same && wanted.format.contains(&MediaFormat::Raw) {
        let text = format!("{} would be written over while it is read; name another --output", wanted.from.display());
        return Err(Failure::new(Class::Usage, text).into());
    }
    Ok(())
}

/// An artefact as the manifest has it, by the path at which it lies from here.
fn row(artefact: &Artefact, folder: &Path) -> Value {
    json!({
        "format": artefact.format,
        "path": folder.join(&artefact.path).display().to_string(),
        "bytes": artefact.info.bytes,
        "sha256": artefact.info.sha256,
    })
}

/// A raw disk image that an operator named.
///
/// # Errors
/// There is none of this name, or it is something else: wrong input both.
pub fn open(path: &Path) -> Result<Installed> {
    Installed::open(path).map_err(unusable)
}

/// What is no image, or not there, is wrong input; other troubles of this system are none.
fn unusable(err: anyhow::Error) -> anyhow::Error {
    let trouble = err.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match trouble {
        None | Some(ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::UnexpectedEof) => {
            Failure::new(Class::Usage, format!("{err:#}")).into()
        }
        Some(_) => err,
    }
}

/// A key and its certificate, which lies beside it unless it is named.
fn signer(key: &Path, certificate: Option<&Path>) -> Result<Signer> {
    let beside = key.with_extension("crt");
    let certificate = certificate.unwrap_or(&beside);
    for (file, flag) in [(key, "--sign"), (certificate, "--certificate")] {
        if !file.is_file() {
            let text = format!("{} is not there; {flag} names the file to sign with", file.display());
            return Err(Failure::new(Class::Usage, text).into());
        }
    }
    Ok(Signer { key: key.to_owned(), certificate: certificate.to_owned() })
}

/// Of an error that says `words` about a file that is not there: how to go on.
fn missing(err: anyhow::Error, words: &str, class: Class, remedy: &str) -> anyhow::Error {
    let gone = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::NotFound;
    let text = format!("{err:#}");
    if text.contains(words) && err.chain().any(|cause| cause.downcast_ref().is_some_and(gone)) {
        return Failure::new(class, format!("{text}; {remedy}")).into();
    }
    err
}

/// `configured`: a config is built in, so that one on the command line would be read by every pod and have no effect.
fn cmdline(base: &str, platform: Option<Platform>, configured: bool) -> Result<String> {
    let mut words: Vec<String> = base.split_ascii_whitespace().map(str::to_owned).collect();
    words.retain(|word| !configured || !["rk.config=", "rk.config.sha256="].iter().any(|key| word.starts_with(key)));
    let name = match platform {
        None | Some(Platform::Nocloud) => None,
        Some(Platform::Metal) => Some("metal"),
        Some(Platform::Aws) => Some("aws"),
        Some(Platform::Gcp) => Some("gcp"),
        Some(Platform::Azure) => Some("azure"),
        Some(Platform::Openstack) => Some("openstack"),
    };
    if platform.is_some() {
        words.retain(|word| !word.starts_with("rk.platform="));
        words.extend(name.map(|name| format!("rk.platform={name}")));
    }
    let line = words.join(" ");
    // A disk's command line also says where the root is.
    if line.len() + 128 > MOST_CMDLINE {
        let text = format!(
            "the command line has {} bytes, and kernels read {MOST_CMDLINE}; a machine config need not be there, see --config",
            line.len()
        );
        return Err(Failure::new(Class::Usage, text).into());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_a_remedy() {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let told = missing(anyhow::Error::from(gone()).context("opening a"), "opening", Class::Usage, "do b");
        assert!(told.to_string().ends_with("; do b") && told.downcast_ref::<Failure>().is_some(), "{told}");
        for other in [anyhow::Error::from(gone()).context("making a"), anyhow::anyhow!("opening a: it is torn")] {
            assert!(missing(other, "opening", Class::Usage, "do b").downcast_ref::<Failure>().is_none());
        }
    }

    #[test]
    fn a_disk_is_not_written_over_the_one_that_it_is_made_of() {
        use crate::args::{Args, Command, ImageCommand};
        use clap::Parser;
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        std::fs::write(dir.path().join("rk.raw"), "").unwrap();
        for (formats, output, allowed) in [
            ("raw", format!("{here}/."), false),
            ("qcow2", here.to_string(), true),
            ("raw,iso", format!("{here}/b"), true),
        ] {
            let line = format!("rkctl image build --from {here}/rk.raw --format {formats} --output {output}");
            let Command::Image(ImageCommand::Build(wanted)) = Args::try_parse_from(line.split(' ')).unwrap().command
            else {
                panic!("{line}");
            };
            assert_eq!(spared(&wanted).is_ok(), allowed, "{line}");
        }
    }

    #[test]
    fn what_is_no_image_is_wrong_input() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "no image at all").unwrap();
        for path in [text, dir.path().join("missing"), dir.path().to_owned()] {
            let refused = open(&path).unwrap_err();
            assert_eq!(crate::exit::class_of_error(&refused), Class::Usage, "{refused:#}");
        }
        let denied = anyhow::Error::from(std::io::Error::from(ErrorKind::PermissionDenied));
        assert!(unusable(denied).downcast_ref::<Failure>().is_none());
    }

    #[test]
    fn the_certificate_of_a_key_lies_beside_it_unless_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["db.key", "db.crt", "other.pem"] {
            std::fs::write(at(name), "").unwrap();
        }
        assert_eq!(signer(&at("db.key"), None).unwrap().certificate, at("db.crt"));
        assert_eq!(signer(&at("db.key"), Some(&at("other.pem"))).unwrap().certificate, at("other.pem"));
        for (key, certificate, missing) in [
            ("no.key", None, "--sign"),
            ("other.pem", None, "--certificate"),
            ("db.key", Some("no.crt"), "--certificate"),
        ] {
            let Err(refused) = signer(&at(key), certificate.map(at).as_deref()) else { panic!("{key} was taken") };
            assert!(refused.to_string().contains(missing), "{refused}");
        }
    }

    #[test]
    fn a_platform_replaces_what_the_image_says() {
        let base = "console=ttyS0 rk.platform=aws quiet";
        assert_eq!(cmdline(base, None, false).unwrap(), base);
        assert_eq!(cmdline(base, Some(Platform::Nocloud), false).unwrap(), "console=ttyS0 quiet");
        assert_eq!(cmdline(base, Some(Platform::Metal), false).unwrap(), "console=ttyS0 quiet rk.platform=metal");
    }

    #[test]
    fn a_config_that_is_built_in_leaves_none_on_the_command_line() {
        let base = "quiet rk.config=https://a/b rk.config.sha256=00 rk.debug rk.config=base64:cm9sZQ==";
        assert_eq!(cmdline(base, None, true).unwrap(), "quiet rk.debug");
        assert_eq!(cmdline(base, None, false).unwrap(), base);
    }

    #[test]
    fn a_command_line_that_no_kernel_reads_to_its_end_is_refused() {
        let refused = cmdline(&"x".repeat(2000), None, false).unwrap_err();
        assert!(refused.to_string().contains("see --config"), "{refused}");
    }
}
