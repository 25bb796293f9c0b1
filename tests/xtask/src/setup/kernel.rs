//! The kernel, from the cache or from source.

use crate::paths::Paths;
use crate::report::Step;
use anyhow::Result;
use rk_kernel::{KernelArtifact, Progress};

/// Builds it or finds it.
pub fn build(paths: &Paths, step: &Step) -> Result<(KernelArtifact, String)> {
    let artifact = rk_kernel::build(&paths.cache, &mut |progress| match progress {
        Progress::Source => step.say("looking for the source"),
        Progress::Unpack => step.say("fetching and unpacking the source"),
        Progress::Configure => step.say("configuring"),
        Progress::Compile { done, of } => step.at(done.into(), of.into()),
        Progress::Done { .. } => {}
    })?;
    let note = format!("{} {}", artifact.hash, if artifact.cached { "cached" } else { "built" });
    Ok((artifact, note))
}
