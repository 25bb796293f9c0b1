//! Builds an image by hand: `cargo run -p rk-image --example build -- BINARIES OUT`.

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(binaries), Some(out)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: build BINARIES OUT [MACHINE-CONFIG]");
    };
    let image = rk_image::build(&rk_image::Inputs {
        binaries,
        out,
        packer: rk_image::Packer::default(),
        machine_config: args.next(),
    })?;
    println!("{}", serde_json::to_string_pretty(&image.manifest)?);
    Ok(())
}
