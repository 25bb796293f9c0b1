//! Builds media by hand: `cargo run -p rk-image --example media -- KERNEL BINARIES IMAGE CLOSURES OUT FORMAT…`, where IMAGE is
//! the output folder of the example `build`.

use rk_image::media::{CMDLINE, Inputs, Tools, build};
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [kernel, binaries, image, closures, out, formats @ ..] = args.as_slice() else {
        anyhow::bail!("usage: media KERNEL BINARIES IMAGE CLOSURES OUT FORMAT...");
    };
    let formats: Result<Vec<_>, _> = formats.iter().map(|format| format.to_string_lossy().parse()).collect();
    let inputs = Inputs {
        kernel: std::fs::read(kernel)?,
        starter: rk_image::initramfs::bare(&std::fs::read(binaries.join(rk_image::INIT))?)?,
        root: std::fs::read(image.join("root.erofs"))?,
        signer: None,
        cmdline: CMDLINE.to_owned(),
        tools: Tools::unpacked(closures),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sbom: None,
        out: out.clone(),
    };
    for artefact in build(&inputs, &formats.map_err(anyhow::Error::msg)?)? {
        println!("{:<6} {:>10} {}", artefact.format, artefact.info.bytes, artefact.path.display());
    }
    Ok(())
}
