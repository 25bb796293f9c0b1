//! What `up`, `test` and `bench` share: from a bare machine to files that boot.

mod binaries;
mod closures;
pub mod demo;
mod image;
mod kernel;
mod media;
pub mod peers;
mod system;
mod test_images;
mod weights;

pub use binaries::Profile;
pub use demo::push_demo;
pub use media::Wanted;
pub use system::Install;
pub use weights::weigh;

use crate::paths::Paths;
use crate::report::Report;
use anyhow::{Context, Result};
use rk_image::media::{Artefact, CMDLINE, Format};
use rk_qemu::accel::{self, Choice};
use rk_qemu::{Accel, Artifacts};
use std::path::{Path, PathBuf};

/// Checks, fetches and builds everything that machines need, and writes down where it is.
pub fn prepare(paths: &Paths, report: &Report, install: Install, accel: Choice, profile: Profile) -> Result<Artifacts> {
    report.step("system packages", |step| system::ensure(step, install))?;
    let kernel = report.step("kernel", |step| kernel::build(paths, step))?;
    let accel = report.step("accelerator", |_| choose(paths, accel, &kernel.bzimage))?;
    let peers = report.step("kubectl, registry, peers", |step| peers::fetch(paths, step))?;
    let images = report.step("demo images", |step| demo::build(paths, step))?;
    let binaries = report.step("guest binaries", |step| binaries::build(paths, step, profile))?;
    if profile != Profile::Image {
        peers::link(&binaries.join("rkctl"), &paths.rk.join("bin/rkctl"))?;
    }
    let parts = image::Parts { kernel: &kernel, binaries: &binaries, profile, config: None };
    let image = report.step("image", |step| image::build(paths, step, &parts))?;
    let artifacts = Artifacts {
        closures: paths.closures(),
        media: paths.media(),
        kernel: image.kernel,
        initramfs: image.initramfs,
        accel,
        binaries,
        registry: peers.registry,
        registry_storage: paths.cache.join("registry"),
        images,
        kubectl: peers.kubectl,
        etcd: peers.etcd,
        cri_api: peers.cri_api,
        cni_plugins: peers.cni_plugins,
        work: paths.rk.join("tests"),
    };
    artifacts.save(&paths.artifacts())?;
    Ok(artifacts)
}

/// Builds media of the image and answers what there is; nothing is fetched that only machines need.
pub fn media(paths: &Paths, report: &Report, install: Install, wanted: &Wanted<'_>) -> Result<Vec<Artefact>> {
    report.step("system packages", |step| system::ensure(step, install))?;
    let kernel = report.step("kernel", |step| kernel::build(paths, step))?;
    let binaries = match wanted.profile {
        // They were built for the tests that ask for media of them.
        Profile::Test => binaries::folder(paths, Profile::Test),
        other => report.step("guest binaries", |step| binaries::build(paths, step, other))?,
    };
    let parts = image::Parts { kernel: &kernel, binaries: &binaries, profile: wanted.profile, config: wanted.config };
    let image = report.step("image", |step| image::build(paths, step, &parts))?;
    report.step("media", |step| media::build(paths, step, &image, &binaries, wanted))
}

/// The media and the firmware that the tests of the tier `media` boot.
pub fn media_for_tests(paths: &Paths, report: &Report) -> Result<()> {
    let out = paths.media();
    let all = Wanted { profile: Profile::Test, formats: &Format::ALL, out: &out, cmdline: None, config: None };
    media(paths, report, Install::No, &all)?;
    // What upgrades are tried with: the same root under other command lines, and one that panics before PID 1.
    let panics = format!("{CMDLINE} panic=1 rdinit=/none").replace(" panic=10", "");
    let next = format!("{CMDLINE} rk.image=next");
    let impatient = format!("{CMDLINE} rk.watchdog=60");
    for (name, cmdline) in [("next", next.as_str()), ("impatient", impatient.as_str()), ("broken", panics.as_str())] {
        let out = paths.media().join(name);
        std::fs::create_dir_all(&out).with_context(|| format!("create {}", out.display()))?;
        let wanted = Wanted { formats: &[Format::Raw], out: &out, cmdline: Some(cmdline), ..all };
        media(paths, report, Install::No, &wanted)?;
    }
    firmware(paths, report)
}

/// Folder of OVMF's files below that of unpacked packages.
pub const FIRMWARE: &str = "ovmf/usr/share/OVMF";

/// The firmware that machines boot media by.
pub fn firmware(paths: &Paths, report: &Report) -> Result<()> {
    report.step("firmware", |step| closures::firmware(paths, step))
}

/// What tests of the host hold encryption against, as variables for them.
pub fn cryptography(paths: &Paths, report: &Report) -> Result<[(&'static str, PathBuf); 2]> {
    report.step("swtpm, cryptsetup", |step| closures::cryptography(paths, step))
}

/// The shells that tests of completions type in.
pub fn shells(paths: &Paths, report: &Report) -> Result<()> {
    report.step("zsh, fish", |step| closures::shells(paths, step))
}

fn choose(paths: &Paths, choice: Choice, kernel: &Path) -> Result<(Accel, String)> {
    let scratch = paths.rk.join("probe");
    std::fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
    let accel = accel::choose(choice, kernel, &scratch)?;
    let note = match (choice, accel) {
        (Choice::Auto, Accel::Kvm) => "kvm: a guest runs under it",
        (Choice::Auto, Accel::Tcg) => "tcg: no guest runs under kvm here",
        (Choice::Only(_), Accel::Kvm) => "kvm, as asked",
        (Choice::Only(_), Accel::Tcg) => "tcg, as asked",
    };
    Ok((accel, note.to_owned()))
}
