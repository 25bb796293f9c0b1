//! Memory of another process, in bytes.

use anyhow::Context;

fn field(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the kernel does not tell")?;
    let kib: u64 = line.split_whitespace().next().context("no figure")?.parse()?;
    Ok(kib * 1024)
}

/// What it holds now.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmRSS:")
}

/// The most that it held since [`forget_peak`].
pub fn peak(pid: u32) -> anyhow::Result<u64> {
    field(pid, "VmHWM:")
}

/// Forgets the peak so far.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
