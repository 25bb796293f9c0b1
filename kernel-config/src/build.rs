//! From source and fragments to an image in the cache.

use crate::artifact::KernelArtifact;
use crate::config::{REQUIRED, merged};
use crate::source::Source;
use crate::{check, run};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes when the way of building changes and cached kernels must not be used any more.
const RECIPE: &str = "1";
/// Files that a build compiles, about; measured, for the progress bar alone.
const EXPECTED_FILES: u32 = 2_700;

/// What a build is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Looking for the source and asking the cache.
    Source,
    /// Downloading and unpacking.
    Unpack,
    /// Configuring.
    Configure,
    /// Compiling: files done, and about how many there are.
    Compile {
        /// Files done.
        done: u32,
        /// Files in all, estimated; never less than `done`.
        of: u32,
    },
    /// The kernel is there.
    Done {
        /// It came from the cache.
        cached: bool,
    },
}

/// The cache that all of rk's tools share: `$RK_CACHE`, else `~/.cache/rk`.
pub fn cache_dir() -> PathBuf {
    match std::env::var_os("RK_CACHE").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/rk"),
    }
}

/// Builds the kernel, or finds it in `<cache_dir>/kernel`.
///
/// Two callers at once take turns; the second finds the first one's result.
///
/// # Errors
/// No source, a required symbol that the config lost (by name), a compiler error (with the end of the log).
pub fn build(cache_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<KernelArtifact> {
    progress(Progress::Source);
    let cache = cache_dir.join("kernel");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let source = Source::find(&cache)?;
    let hash = key(source.sha256());
    let home = cache.join(&hash);
    // Without the lock first: who finds a kernel need not wait for someone who builds another.
    let mut found = KernelArtifact::open(&home, &hash);
    let lock = File::create(cache.join("lock")).context("making the cache's lock")?;
    if found.is_none() {
        lock.lock().context("locking the kernel cache")?;
        found = KernelArtifact::open(&home, &hash);
    }
    if let Some(found) = found {
        progress(Progress::Done { cached: true });
        return Ok(found);
    }
    let work = cache.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    let (tree, out) = (work.join("linux"), work.join("out"));
    progress(Progress::Unpack);
    source.unpack(&cache, &tree)?;
    progress(Progress::Configure);
    let dropped = configure(&tree, &out)?;
    compile(&tree, &out, progress)?;
    publish(&out, &home, &dropped)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    let built = KernelArtifact::open(&home, &hash).context("the kernel vanished from the cache")?;
    progress(Progress::Done { cached: false });
    Ok(KernelArtifact { cached: false, ..built })
}

fn key(source: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [RECIPE, source, &merged(), REQUIRED] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hex::encode(hasher.finalize());
    digest.chars().take(16).collect()
}

/// Writes `out/.config` and returns the fragment lines that did not make it.
fn configure(tree: &Path, out: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let wanted = merged();
    let file = out.join("rk.config");
    fs::write(&file, &wanted).context("writing the fragments")?;
    run::lines(make(tree, out).env("KCONFIG_ALLCONFIG", &file).arg("allnoconfig"), |_| {})?;
    run::lines(make(tree, out).arg("olddefconfig"), |_| {})?;
    let config = fs::read_to_string(out.join(".config")).context("reading the kernel's .config")?;
    let missing = check::missing_symbols(&config, REQUIRED);
    if !missing.is_empty() {
        bail!(
            "the kernel config lost required symbols: {}\n(name the parents that they depend on in kernel-config/fragments)",
            missing.join(", ")
        );
    }
    Ok(check::dropped_lines(&config, &wanted))
}

fn compile(tree: &Path, out: &Path, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let mut done = 0;
    run::lines(make(tree, out).arg(format!("-j{jobs}")).arg("bzImage"), |line| {
        if line.trim_start().starts_with("CC ") || line.trim_start().starts_with("AS ") {
            done += 1;
            progress(Progress::Compile { done, of: EXPECTED_FILES.max(done) });
        }
    })
    .context("building the kernel")
}

fn make(tree: &Path, out: &Path) -> Command {
    let mut command = Command::new("make");
    command.arg("-C").arg(tree).arg(format!("O={}", out.display())).arg("ARCH=x86_64");
    // What the caller's shell says must not reach the kernel's makefiles.
    for name in ["MAKEFLAGS", "MFLAGS", "CFLAGS", "KCFLAGS", "CC", "LD", "ARCH", "CROSS_COMPILE", "LOCALVERSION"] {
        command.env_remove(name);
    }
    command.envs([
        ("LC_ALL", "C"),
        ("SOURCE_DATE_EPOCH", "1735689600"),
        ("KBUILD_BUILD_TIMESTAMP", "2025-01-01 00:00:00 UTC"),
        ("KBUILD_BUILD_USER", "rk"),
        ("KBUILD_BUILD_HOST", "rk"),
        ("KBUILD_BUILD_VERSION", "1"),
    ]);
    command
}

/// Puts image and config in place by rename, so that the cache never shows half a kernel.
fn publish(out: &Path, home: &Path, dropped: &[String]) -> Result<()> {
    let new = home.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).context("removing an unfinished kernel")?;
    }
    fs::create_dir_all(&new).with_context(|| format!("making {}", new.display()))?;
    fs::copy(out.join("arch/x86/boot/bzImage"), new.join("bzImage")).context("copying bzImage")?;
    fs::copy(out.join(".config"), new.join("config")).context("copying the config")?;
    fs::write(new.join("dropped"), dropped.join("\n")).context("writing the dropped lines")?;
    if home.exists() {
        fs::remove_dir_all(home).context("removing a torn kernel")?;
    }
    fs::rename(&new, home).with_context(|| format!("placing {}", home.display()))
}
