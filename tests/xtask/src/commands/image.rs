//! `image`: builds kernel and image and tells where they are.

use super::SetupArgs;
use crate::paths::Paths;
use crate::report::Report;
use crate::setup;
use anyhow::Result;

pub fn run(paths: &Paths, args: &SetupArgs) -> Result<()> {
    let artifacts = setup::prepare(paths, &Report::new(), args.install(), args.accel)?;
    println!("\nkernel     {}\ninitramfs  {}", artifacts.kernel.display(), artifacts.initramfs.display());
    Ok(())
}
