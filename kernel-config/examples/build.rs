//! Builds the kernel into the shared cache and prints where it is: `cargo run -p rk-kernel --example build`.

fn main() -> anyhow::Result<()> {
    let mut last = 0;
    let kernel = rk_kernel::build(&rk_kernel::cache_dir(), &mut |progress| match progress {
        rk_kernel::Progress::Compile { done, of } if done < last + 100 && done < of => {}
        rk_kernel::Progress::Compile { done, of } => {
            last = done;
            eprintln!("compiled {done} of about {of}");
        }
        other => eprintln!("{other:?}"),
    })?;
    for line in &kernel.dropped {
        eprintln!("not taken by this source: {line}");
    }
    println!("{}", kernel.bzimage.display());
    Ok(())
}
