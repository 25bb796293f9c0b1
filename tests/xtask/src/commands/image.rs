//! `image`: builds kernel and image, or media of them, tells where they are, and weighs them.

use super::ImageArgs;
use crate::paths::Paths;
use crate::report::Report;
use crate::setup::{self, Profile, Wanted};
use anyhow::Result;

pub fn run(paths: &Paths, args: &ImageArgs) -> Result<()> {
    if args.format.is_empty() {
        let artifacts = setup::prepare(paths, &Report::new(), args.setup.install(), args.setup.accel, Profile::Image)?;
        say!("\nkernel     {}\ninitramfs  {}", artifacts.kernel.display(), artifacts.initramfs.display());
        return setup::weigh(&[artifacts.kernel, artifacts.initramfs]);
    }
    let wanted = Wanted {
        profile: Profile::Image,
        formats: &args.format,
        out: &args.output,
        cmdline: args.cmdline.as_deref(),
        config: args.config.as_deref(),
    };
    say!("");
    let mut files = Vec::new();
    for artefact in setup::media(paths, &Report::new(), args.setup.install(), &wanted)? {
        let path = args.output.join(&artefact.path);
        say!("{:<6} {:>8.1} MB  {}", artefact.format, artefact.info.bytes as f64 / 1e6, path.display());
        files.push(path);
    }
    // They are there all the same: whoever needs them now has them.
    setup::weigh(&files)
}
