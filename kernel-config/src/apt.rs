//! Debian packages through an isolated apt: own lists, cache and (empty) status; the system's mirror, proxy and keyring.
//!
//! Nothing here changes the system; apt still verifies signatures and hashes.

use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian archive as the system's own sources name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Base URI; the one that serves the system's own main suite.
    pub uri: String,
    /// File that its signatures are checked against.
    pub keyring: String,
}

/// Reads the archive that this system uses out of `/etc/apt`; Debian's own when none is named there.
pub fn system_archive() -> Archive {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let found = match file.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => from_deb822(&text),
            _ => from_one_line(&text),
        };
        if let Some(archive) = found {
            return archive;
        }
    }
    Archive { uri: DEFAULT_MIRROR.to_owned(), keyring: DEFAULT_KEYRING.to_owned() }
}

/// Debian proper, by what its archive's path is called on every mirror; not security, not third parties.
fn is_debian(uri: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
}

fn from_deb822(text: &str) -> Option<Archive> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if !field("Types")?.split_whitespace().any(|kind| kind == "deb") {
            return None;
        }
        let uris = field("URIs")?;
        let uri = uris.split_whitespace().find(|uri| is_debian(uri))?.to_owned();
        let keyring = field("Signed-By").filter(|path| path.starts_with('/'));
        Some(Archive { uri, keyring: keyring.unwrap_or_else(|| DEFAULT_KEYRING.to_owned()) })
    })
}

fn from_one_line(text: &str) -> Option<Archive> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let uri = rest.split_whitespace().next().filter(|uri| is_debian(uri))?.to_owned();
        let keyring =
            options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=").map(str::to_owned));
        Some(Archive { uri, keyring: keyring.unwrap_or_else(|| DEFAULT_KEYRING.to_owned()) })
    })
}

/// A package as the archive offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// File name of the package.
    pub file: String,
    /// SHA-256 of the file, from the signed index.
    pub sha256: String,
}

/// An apt of one suite with its own state below one directory.
#[derive(Debug)]
pub struct Isolated {
    dir: PathBuf,
}

impl Isolated {
    /// Sets up state below `dir` for `suite` of the system's archive and fetches its index.
    ///
    /// # Errors
    /// The suite cannot be fetched or its signature is not trusted.
    pub fn open(dir: &Path, suite: &str) -> Result<Isolated> {
        let dir = dir.join(suite);
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("making {}", dir.display()))?;
        }
        fs::write(dir.join("status"), "").context("writing apt status")?;
        let Archive { uri, keyring } = system_archive();
        fs::write(dir.join("sources.list"), format!("deb [signed-by={keyring}] {uri} {suite} main\n"))
            .context("writing apt sources")?;
        let apt = Isolated { dir };
        run::output(apt.command().arg("update").args(["-o", "APT::Update::Error-Mode=any"]))
            .with_context(|| format!("fetching the index of {suite} from {uri}"))?;
        Ok(apt)
    }

    /// What the suite offers under this name.
    ///
    /// # Errors
    /// The suite has no such package.
    pub fn offer(&self, package: &str) -> Result<Offer> {
        let said = run::output(self.command().args(["download", "--print-uris", package]))
            .with_context(|| format!("package {package} is not in this suite"))?;
        parse_print_uris(&said).with_context(|| format!("apt names no file with a SHA256 for {package}: {said:?}"))
    }

    /// Downloads a package into `into` and returns the file; apt checks it against the signed index.
    ///
    /// # Errors
    /// The download or its verification failed.
    pub fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let offer = self.offer(package)?;
        fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
        run::output(self.command().args(["download", package]).current_dir(into))
            .with_context(|| format!("downloading {package}"))?;
        let file = into.join(&offer.file);
        if !file.is_file() {
            bail!("apt downloaded {package} but left no {}", file.display());
        }
        Ok(file)
    }

    /// Downloads a package and all that it depends on into `into` and returns the files; nothing counts as installed.
    ///
    /// # Errors
    /// The suite cannot satisfy the dependencies, or a download failed.
    pub fn download_closure(&self, package: &str, into: &Path) -> Result<Vec<PathBuf>> {
        let partial = into.join("partial");
        fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
        let mut command = self.command();
        command.arg("-o").arg(format!("Dir::Cache::archives={}", into.display()));
        command.args(["install", "--download-only", "--no-install-recommends", "-y", package]);
        run::output(&mut command).with_context(|| format!("downloading {package} and what it depends on"))?;
        let entries = fs::read_dir(into).with_context(|| format!("reading {}", into.display()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|ext| ext == "deb"));
        files.sort();
        Ok(files)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        let at = |name: &str| self.dir.join(name).display().to_string();
        for (key, value) in [
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
            ("Dir::State::status", at("status")),
            ("Dir::State::Lists", at("lists")),
            ("Dir::Cache", at("cache")),
            // As an unprivileged user there is no sandbox user to switch to; as root its warning would be noise.
            ("APT::Sandbox::User", String::new()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        command
    }
}

/// `'<uri>' <file> <size> SHA256:<hex>`
fn parse_print_uris(said: &str) -> Option<Offer> {
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|uri| uri.starts_with('\''))?;
        let file = words.next()?.to_owned();
        let sha256 = words.find_map(|word| word.strip_prefix("SHA256:"))?.to_owned();
        Some(Offer { file, sha256 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_archive_is_read_from_both_source_formats() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: x\n\n\
                      Types: deb\n# note\nURIs: http://mirror.example/debian/\nSuites: bookworm\nSigned-By: /k.gpg\n";
        let wanted = Archive { uri: "http://mirror.example/debian/".to_owned(), keyring: "/k.gpg".to_owned() };
        assert_eq!(from_deb822(deb822), Some(wanted));
        let line = "# x\ndeb https://packages.example/apt cloud main\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main\n";
        let wanted = Archive { uri: "http://m.example/debian".to_owned(), keyring: "/k.gpg".to_owned() };
        assert_eq!(from_one_line(line), Some(wanted));
        assert_eq!(from_one_line("deb https://packages.example/apt cloud main\n"), None);
    }

    #[test]
    fn the_signed_hash_is_read_from_apt() {
        let said = "'http://m/debian/pool/l/x_6.12_all.deb' x_6.12_all.deb 153 SHA256:abc\n";
        assert_eq!(parse_print_uris(said), Some(Offer { file: "x_6.12_all.deb".to_owned(), sha256: "abc".to_owned() }));
        assert_eq!(parse_print_uris("E: nothing\n"), None);
    }
}
