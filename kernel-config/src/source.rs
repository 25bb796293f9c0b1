//! Where the kernel's source comes from.

use crate::apt::Isolated;
use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable that names a source tarball (`linux-*.tar.xz` or the like) to use instead of Debian's.
pub const SOURCE_ENV: &str = "RK_KERNEL_SOURCE";
/// Environment variable that makes the next build look for a newer source package.
const REFRESH_ENV: &str = "RK_KERNEL_REFRESH";
/// Debian's package of the LTS series.
const PACKAGE: &str = "linux-source-6.12";

/// A source that is known by hash, though perhaps not downloaded yet.
#[derive(Debug)]
pub(crate) enum Source {
    /// A tarball that the user named.
    Tarball { path: PathBuf, sha256: String },
    /// A Debian package; `dir` is where it is or will be.
    Debian { dir: PathBuf, file: String, sha256: String },
}

impl Source {
    /// Finds the source. Debian's is looked up once and remembered in the cache, so that a warm build needs no network.
    pub(crate) fn find(cache: &Path) -> Result<Source> {
        if let Some(path) = std::env::var_os(SOURCE_ENV).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            let sha256 = sha256(&path).with_context(|| format!("{SOURCE_ENV} names {}", path.display()))?;
            return Ok(Source::Tarball { path, sha256 });
        }
        let dir = cache.join("source");
        let pin = dir.join("pinned");
        if std::env::var_os(REFRESH_ENV).is_none()
            && let Some((sha256, file)) = fs::read_to_string(&pin).ok().as_deref().and_then(read_pin)
        {
            return Ok(Source::Debian { dir, file, sha256 });
        }
        let (apt, _) = open_suite(cache)?;
        let offer = apt.offer(PACKAGE)?;
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        fs::write(&pin, format!("{} {}\n", offer.sha256, offer.file)).context("remembering the kernel source")?;
        Ok(Source::Debian { dir, file: offer.file, sha256: offer.sha256 })
    }

    /// SHA-256 of the tarball or package, in hex.
    pub(crate) fn sha256(&self) -> &str {
        match self {
            Source::Tarball { sha256, .. } | Source::Debian { sha256, .. } => sha256,
        }
    }

    /// Unpacks the tree into `into` (made new), downloading first when needed.
    pub(crate) fn unpack(&self, cache: &Path, into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
        match self {
            Source::Tarball { path, .. } => untar(path, into),
            Source::Debian { dir, file, sha256: wanted } => {
                let deb = dir.join(file);
                if !deb.is_file() {
                    let (apt, suite) = open_suite(cache)?;
                    apt.download(PACKAGE, dir).with_context(|| format!("from {suite}"))?;
                }
                let found = sha256(&deb).with_context(|| {
                    format!(
                        "the archive has another version by now; delete {} to take it",
                        dir.join("pinned").display()
                    )
                })?;
                if found != *wanted {
                    fs::remove_file(&deb).ok();
                    bail!("{} has SHA-256 {found}, not {wanted}; it was removed, try again", deb.display());
                }
                let unpacked = into.join("deb");
                run::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked))?;
                untar(&unpacked.join(format!("usr/src/{PACKAGE}.tar.xz")), into)?;
                fs::remove_dir_all(&unpacked).context("removing the unpacked package")
            }
        }
    }
}

/// The first suite that has the package: this release's own offer first.
fn open_suite(cache: &Path) -> Result<(Isolated, &'static str)> {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suites = if os.contains("VERSION_CODENAME=bookworm") {
        ["bookworm-backports", "trixie"]
    } else {
        ["trixie", "bookworm-backports"]
    };
    let mut errors = Vec::new();
    for suite in suites {
        match Isolated::open(&cache.join("apt"), suite).and_then(|apt| apt.offer(PACKAGE).map(|_| apt)) {
            Ok(apt) => return Ok((apt, suite)),
            Err(err) => errors.push(format!("{suite}: {err:#}")),
        }
    }
    bail!("no {PACKAGE} found; set {SOURCE_ENV} to a Linux 6.12 tarball\n{}", errors.join("\n"))
}

fn read_pin(text: &str) -> Option<(String, String)> {
    let (sha256, file) = text.trim().split_once(' ')?;
    let plain = !file.contains('/') && sha256.len() == 64;
    plain.then(|| (sha256.to_owned(), file.to_owned()))
}

fn untar(tarball: &Path, into: &Path) -> Result<()> {
    let command = &mut Command::new("tar");
    // `xz` up to 5.4 unpacks the blocks of a tarball one after the other unless it is asked; others do not read this.
    command.env("XZ_OPT", "--threads=0");
    run::output(command.arg("-x").arg("--strip-components=1").arg("-C").arg(into).arg("-f").arg(tarball)).map(|_| ())
}

/// By the system's tool: an unoptimized build of ours would take a minute for 150 MB.
fn sha256(path: &Path) -> Result<String> {
    let said = run::output(Command::new("sha256sum").arg("-b").arg(path))?;
    said.split_whitespace()
        .next()
        .map(|hash| hash.trim_start_matches('\\').to_owned())
        .context("sha256sum said nothing")
}
